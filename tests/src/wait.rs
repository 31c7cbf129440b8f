//! Waiting for something to become true.

use std::time::{Duration, Instant};

/// How long a poll pauses between two looks: short against any deadline, long enough to leave the processor to the
/// processes under test.
const PAUSE: Duration = Duration::from_millis(20);

/// How long anything that only needs processing may take. Generous: a busy machine must not fail a test, and a
/// passing test never waits it out.
pub const SOON: Duration = Duration::from_secs(20);

/// Calls `probe` until it gives a value.
///
/// # Panics
///
/// When `limit` has passed without one, naming `what`.
#[track_caller]
pub fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what}: not within {limit:?}");
        std::thread::park_timeout(PAUSE);
    }
}

/// Waits until `probe` holds; see [`until`].
#[track_caller]
pub fn until_true(what: &str, limit: Duration, mut probe: impl FnMut() -> bool) {
    until(what, limit, || probe().then_some(()));
}
