//! What a log hears of damage.

use std::time::{Duration, Instant};

use moqgate_mux::{Damage, Told};

const INTERVAL: Duration = Duration::from_secs(1);

#[test]
fn a_flood_is_a_line_a_second_and_the_rest_is_not_lost() {
    let (mut damage, start) = (Damage::default(), Instant::now());
    assert_eq!(damage.poll(start), None);
    damage.note("one");
    assert_eq!(damage.poll(start), Some(Told { new: 1, total: 1, last: "one" }));
    damage.note("two");
    damage.note("three");
    assert_eq!(damage.poll(start + INTERVAL / 2), None);
    assert_eq!(damage.poll(start + INTERVAL), Some(Told { new: 2, total: 3, last: "three" }));
    assert_eq!(damage.poll(start + 3 * INTERVAL), None);
    damage.update(7, "four");
    assert_eq!(damage.rest(), Some(Told { new: 4, total: 7, last: "four" }));
    assert_eq!(damage.rest(), None);
}
