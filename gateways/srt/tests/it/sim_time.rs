//! Hours on the clock: wraps, drift, jitter, silence.

use crate::sim::{MINUTE, MS, RECEIVER, SECOND, Setup, World};

/// The 32-bit timestamp wraps after this long.
const WRAP: i64 = 1 << 32;

/// A clock that is only corrected while the link is quiet runs out after 2^31 us (35.8 min) of jitter, and loses half
/// of the stream from then on.
#[test]
fn line_35_a5_three_hours_of_jitter_lose_nothing() {
    let mut world = World::new(Setup { latency: 250 * MS, period: 20 * MS, ..Setup::default() });
    world.path(10 * MS..50 * MS, 0.0);
    world.run(2 * MINUTE);
    world.reset_lag();
    world.run(178 * MINUTE);
    world.assert_constant_lag();
    world.finish();
    assert!(world.pushed > 539_000);
    world.assert_nothing_lost();
    assert_eq!(world.receiver().ignored, Default::default());
}

#[test]
fn timestamp_wraps_under_loss() {
    let mut world =
        World::new(Setup { latency: 600 * MS, period: 25 * MS, age: 60 * MINUTE, ..Setup::default() });
    world.path(20 * MS..24 * MS, 0.02);
    world.run(MINUTE);
    world.reset_lag();
    world.run(90 * MINUTE);
    world.assert_constant_lag();
    world.finish();
    world.assert_nothing_lost();
    assert!(world.links[0].lost_data > 4_000);
}

#[test]
fn drift_of_200_ppm_either_way_is_followed() {
    for skew in [-200, 200] {
        let mut world = World::new(Setup { period: 20 * MS, skew, ..Setup::default() });
        world.path(20 * MS..30 * MS, 0.001);
        world.run(3 * MINUTE);
        world.reset_lag();
        world.run(30 * MINUTE);
        world.assert_constant_lag();
        world.finish();
        world.assert_nothing_lost();
        // 33 minutes at 200 ppm are 0.4 s.
        let drift = world.receiver().us_drift;
        assert!((drift + skew * 33 * 60).abs() < 20_000, "{drift}");
    }
}

#[test]
fn a_minute_of_silence_over_the_wrap() {
    let mut world = World::new(Setup { age: WRAP - 40 * SECOND, ..Setup::default() });
    world.path(20 * MS..22 * MS, 0.0);
    world.run(10 * SECOND);
    world.reset_lag();
    world.pushing = false;
    world.run(60 * SECOND);
    world.resume();
    world.run(30 * SECOND);
    world.assert_constant_lag();
    world.finish();
    world.assert_nothing_lost();
}

#[test]
fn line_34_a_handshake_that_was_late_or_early_does_not_cost_packets() {
    for handshake_delay in [10 * MS, 50 * MS] {
        let mut world = World::new(Setup { latency: 200 * MS, handshake_delay, ..Setup::default() });
        world.path(10 * MS..50 * MS, 0.0);
        world.run(2 * MINUTE);
        world.reset_lag();
        world.run(MINUTE);
        let (least, most) = world.delivered.lag.expect("delivered");
        // Latency and the mean way, and the grid of deliveries.
        assert!(least > 225 * MS && most < 240 * MS, "{least} {most}");
        world.finish();
        world.assert_nothing_lost();
    }
}

#[test]
fn a_stream_costs_few_wake_ups() {
    let mut world = World::new(Setup::default());
    world.run(10 * SECOND);
    world.wake_ups = 0;
    world.run(100 * SECOND);
    let rate = world.wake_ups / 100;
    assert!(rate <= 210, "{rate} timer wake-ups a second for both ends");
    world.pushing = false;
    world.run(10 * SECOND);
    world.wake_ups = 0;
    world.run(100 * SECOND);
    assert!(world.wake_ups <= 220, "{} wake-ups in 100 s of silence", world.wake_ups);
    assert!(world.ends[RECEIVER].closed().is_none());
}
