//! Lines of memory of many readers, side by side.

use std::{
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::reader::Line;

/// Lines that are taken from the system at once: a page of memory.
const LINES: usize = 64;

/// The lines of all readers of an origin.
///
/// A frame goes to its readers in about the order in which they came, and so through neighbouring lines: the processor fetches
/// the next one before it is asked for, which it cannot where each lies somewhere else. Lines that nobody uses are kept for the
/// next readers.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    free: Mutex<Vec<Place>>,
}

/// Where a line lies. It is its user's as long as [`ReaderCell`](super::ReaderCell) is.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    page: Arc<[Line; LINES]>,
    index: usize,
}

impl Pool {
    /// An empty line.
    pub(super) fn take(&self) -> Place {
        let mut free = self.lock();
        free.pop().unwrap_or_else(|| {
            let page = Arc::new(std::array::from_fn(|_| Line::default()));
            free.extend((1..LINES).rev().map(|index| Place { page: Arc::clone(&page), index }));
            Place { page, index: 0 }
        })
    }

    /// Takes back a line that is empty again.
    pub(super) fn give_back(&self, place: Place) {
        self.lock().push(place);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Place>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deref for Place {
    type Target = Line;

    fn deref(&self) -> &Line {
        &self.page[self.index % LINES]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reader_has_a_line_of_its_own_beside_the_one_before() {
        let pool = Pool::default();
        let places: Vec<_> = (0..3 * LINES).map(|_| pool.take()).collect();
        let mut lines: Vec<_> = places.iter().map(|place| std::ptr::from_ref::<Line>(place).addr()).collect();
        let neighbours = lines.windows(2).filter(|pair| pair[1] == pair[0] + size_of::<Line>()).count();
        assert_eq!(neighbours, 3 * (LINES - 1));
        lines.sort_unstable();
        lines.dedup();
        assert_eq!(lines.len(), 3 * LINES);
        places.into_iter().for_each(|place| pool.give_back(place));
        assert_eq!(pool.lock().len(), 3 * LINES, "nothing is lost");
        let _again = pool.take();
        assert_eq!(pool.lock().len(), 3 * LINES - 1, "and what is free is taken first");
    }
}
