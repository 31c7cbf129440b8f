//! The monotonic clock, at the price of what is asked once for every frame and viewer.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

/// How long a reading of the system's clock is built upon: the speed of the processor's counter is known to a few hundredths
/// where it was measured on a busy machine.
const ANCHOR_AGE: Duration = Duration::from_micros(100);

/// What two clocks may take to be read: who is interrupted in between has read two moments.
const READING: Duration = Duration::from_micros(1);

thread_local! {
    static ANCHOR: Cell<Option<Anchor>> = const { Cell::new(None) };
}

/// One moment, on both clocks.
#[derive(Clone, Copy)]
struct Anchor {
    counter: quanta::Instant,
    time: Instant,
}

/// The time of [`Instant::now`], within a few microseconds, for sinks to say [when they accepted](crate::FrameSink::now).
///
/// It counts on from the thread's latest reading of the system's clock with the processor's counter, for a tenth of a
/// millisecond at most, so that neither the counter's drift nor a jump of it has time to matter. Where the processor has no
/// steady counter it costs what the system's clock does.
#[must_use]
pub fn monotonic_now() -> Instant {
    let counter = quanta::Instant::now();
    let counted = ANCHOR.get().and_then(|anchor| {
        let age = counter.checked_duration_since(anchor.counter)?;
        (age < ANCHOR_AGE).then(|| anchor.time + age)
    });
    counted.unwrap_or_else(|| read(counter))
}

#[cold]
#[expect(
    clippy::disallowed_methods,
    reason = "what the rest of this crate is given as an argument comes from here"
)]
fn read(counter: quanta::Instant) -> Instant {
    let time = Instant::now();
    let took = quanta::Instant::now().checked_duration_since(counter);
    ANCHOR.set(took.is_some_and(|took| took < READING).then_some(Anchor { counter, time }));
    time
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the system's clock is what it is compared with")]
mod tests {
    use super::*;

    /// What the two may differ by: a tenth of what is counted.
    const APART: Duration = Duration::from_micros(10);

    #[test]
    fn it_tells_the_time_of_the_system() {
        let mut latest = monotonic_now();
        let begin = Instant::now();
        let mut counted = 0;
        while begin.elapsed() < 100 * ANCHOR_AGE {
            let (before, now, after) = (Instant::now(), monotonic_now(), Instant::now());
            assert!(before <= now + APART && now <= after + APART, "{before:?} {now:?} {after:?}");
            assert!(latest <= now + APART, "{latest:?} {now:?}");
            latest = now;
            counted += 1;
        }
        assert!(counted > 200, "a machine that takes so long for each shows nothing");
    }

    #[test]
    fn it_does_not_stand_still_while_nobody_asks() {
        let before = monotonic_now();
        std::sync::mpsc::channel::<()>().1.recv_timeout(3 * ANCHOR_AGE).expect_err("nobody sends");
        assert!(monotonic_now() >= before + 2 * ANCHOR_AGE);
    }
}
