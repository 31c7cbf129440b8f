//! Wakers of the futures that wait for one shared state.

use std::{num::NonZeroU32, task::Waker};

/// A list of waiting futures, kept under the lock of the state that they wait for.
///
/// A future takes a seat, parks its waker there while it holds the lock under which it saw nothing to do, and so cannot
/// miss what happens next. Parking again in the same seat replaces the waker, so a future that is polled often, or
/// cancelled, costs one slot.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    seats: Vec<Option<Waker>>,
    free: Vec<Seat>,
    parked: usize,
}

/// A place in a [`Waiters`], counted from one. Give it back with [`Waiters::leave`].
#[derive(Debug)]
pub(crate) struct Seat(NonZeroU32);

impl Waiters {
    /// Parks `waker` in the seat, taking one first if there is none.
    pub(crate) fn park(&mut self, seat: &mut Option<Seat>, waker: &Waker) {
        let index = seat.get_or_insert_with(|| self.join()).index();
        let Some(slot) = self.seats.get_mut(index) else { return };
        match slot {
            Some(parked) if parked.will_wake(waker) => {}
            Some(parked) => parked.clone_from(waker),
            None => {
                *slot = Some(waker.clone());
                self.parked += 1;
            }
        }
    }

    /// Gives the seat back.
    pub(crate) fn leave(&mut self, seat: &mut Option<Seat>) {
        let Some(seat) = seat.take() else { return };
        if let Some(slot) = self.seats.get_mut(seat.index()) {
            if slot.take().is_some() {
                self.parked -= 1;
            }
            self.free.push(seat);
        }
    }

    /// Moves every parked waker into `woken`. Wake them once the lock is released.
    pub(crate) fn take(&mut self, woken: &mut Vec<Waker>) {
        if self.parked == 0 {
            return;
        }
        self.parked = 0;
        woken.extend(self.seats.iter_mut().filter_map(Option::take));
    }

    fn join(&mut self) -> Seat {
        self.free.pop().unwrap_or_else(|| {
            self.seats.push(None);
            let taken = u32::try_from(self.seats.len()).ok().and_then(NonZeroU32::new);
            Seat(taken.unwrap_or(NonZeroU32::MAX))
        })
    }
}

impl Seat {
    fn index(&self) -> usize {
        self.0.get() as usize - 1
    }
}

/// Wakes and empties the list, keeping its memory for the next time.
pub(crate) fn wake_all(woken: &mut Vec<Waker>) {
    for waker in woken.drain(..) {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    struct Count(AtomicUsize);

    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_seat_is_woken_once_and_reused() {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&count));
        let (mut waiters, mut woken) = (Waiters::default(), Vec::new());
        let (mut first, mut second) = (None, None);
        waiters.park(&mut first, &waker);
        waiters.park(&mut first, &waker);
        waiters.park(&mut second, &waker);
        waiters.take(&mut woken);
        wake_all(&mut woken);
        assert_eq!(count.0.load(Ordering::Relaxed), 2, "two seats, each woken once");
        waiters.park(&mut first, &waker);
        waiters.leave(&mut first);
        waiters.park(&mut first, &waker);
        assert_eq!(waiters.seats.len(), 2, "a seat that was given back is taken again");
        waiters.leave(&mut first);
        waiters.take(&mut woken);
        assert!(woken.is_empty(), "who has left is not woken");
    }
}
