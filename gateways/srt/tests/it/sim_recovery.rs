//! Loss, reordering and duplication: what is repaired, and what that costs.

use moqgate_srt::engine::{CloseReason, PeerFlags, State};

use crate::sim::{ACKACK, MINUTE, MS, NAK, RECEIVER, SECOND, SENDER, Setup, World, control_type};

/// What must hold of the counters, whatever happened.
fn assert_identities(world: &World) {
    let stats = world.receiver();
    let told =
        stats.pkt_recv_unique + stats.pkt_rcv_duplicate + stats.pkt_rcv_belated + stats.pkt_rcv_undecrypt;
    assert_eq!(stats.pkt_recv, told, "{stats:#?}");
    let sender = world.sender();
    assert_eq!(sender.pkt_sent, sender.pkt_sent_unique + sender.pkt_retrans, "{sender:#?}");
    assert!(sender.pkt_retrans <= sender.pkt_snd_loss, "resent without a NAK: {sender:#?}");
}

fn assert_resends(world: &World, most: f64) {
    let (resent, lost) = (world.sender().pkt_retrans, world.links[SENDER].lost_data);
    assert!(resent as f64 <= lost as f64 * most, "{resent} resent for {lost} lost");
}

#[test]
fn two_percent_loss_with_reordering_at_400_ms() {
    for seed in 1..=5 {
        let mut world = World::new(Setup { seed, ..Setup::default() });
        world.path(20 * MS..24 * MS, 0.02);
        world.run(MINUTE);
        world.finish();
        world.assert_nothing_lost();
        assert!(world.links[SENDER].lost_data > 400);
        assert_resends(&world, 1.3);
        assert_identities(&world);
    }
}

/// Reordering by 4 ms without a hold turns 40 % of what is received into retransmissions.
#[test]
fn a8_reordering_alone_is_not_loss() {
    let mut world = World::new(Setup::default());
    world.path(20 * MS..24 * MS, 0.0);
    // The first round trips are needed to know how long a packet may be late.
    world.run(SECOND);
    let before = world.sender().pkt_retrans;
    world.run(10 * MINUTE);
    assert_eq!(world.sender().pkt_retrans, before);
    world.finish();
    world.assert_nothing_lost();
    assert_identities(&world);
}

/// A clean link must not see a single retransmission, and 2 % loss without reordering hardly more than the losses.
#[test]
fn a8_no_resend_without_a_nak() {
    let mut world = World::new(Setup::default());
    world.path(20 * MS..20 * MS + 1, 0.0);
    world.run(MINUTE);
    assert_eq!((world.sender().pkt_retrans, world.receiver().pkt_sent_nak), (0, 0));
    world.path(20 * MS..20 * MS + 1, 0.02);
    world.run(5 * MINUTE);
    world.finish();
    world.assert_nothing_lost();
    assert_resends(&world, 1.1);
    assert_identities(&world);
}

/// A send buffer of 32 packets wedges for good at 2 % loss and 20 ms.
#[test]
fn a6_the_smallest_flow_window_does_not_wedge() {
    let mut world = World::new(Setup { adjust: |_, params| params.flow_window = 32, ..Setup::default() });
    world.path(20 * MS..20 * MS + 1, 0.02);
    for _ in 0..60 {
        let before = world.delivered.count;
        world.run(SECOND);
        assert!(world.delivered.count > before + 100, "stalled at {before}: {:#?}", world.sender());
    }
    assert_eq!(world.ends[SENDER].state(), State::Open);
    assert_identities(&world);
}

#[test]
fn jitter_of_40_ms_and_loss() {
    let mut world = World::new(Setup { latency: 500 * MS, ..Setup::default() });
    world.path(10 * MS..50 * MS, 0.02);
    world.run(2 * MINUTE);
    world.finish();
    world.assert_nothing_lost();
    assert_identities(&world);
}

#[test]
fn the_round_trip_grows_from_20_to_300_ms() {
    let mut world = World::new(Setup { latency: 1_300 * MS, handshake_delay: 10 * MS, ..Setup::default() });
    world.path(10 * MS..11 * MS, 0.01);
    world.run(MINUTE);
    world.reset_lag();
    world.path(150 * MS..151 * MS, 0.01);
    world.run(2 * MINUTE);
    world.assert_constant_lag();
    world.finish();
    world.assert_nothing_lost();
    let rtt = world.receiver().ms_rtt;
    assert!((295.0..310.0).contains(&rtt), "{rtt}");
    assert_resends(&world, 1.5);
    assert_identities(&world);
}

#[test]
fn half_of_the_ackacks_lost() {
    let mut world = World::new(Setup::default());
    world.path(20 * MS..24 * MS, 0.02);
    world.links[SENDER].lose_control(ACKACK, 0.5);
    world.run(2 * MINUTE);
    world.finish();
    world.assert_nothing_lost();
    assert_resends(&world, 1.3);
    let rtt = world.receiver().ms_rtt;
    assert!((40.0..50.0).contains(&rtt), "{rtt}");
}

#[test]
fn half_of_the_naks_lost() {
    // Eight periods of NAKs: (1/2)^8 of the losses would be gone with 400 ms.
    let mut world = World::new(Setup { latency: 1_000 * MS, ..Setup::default() });
    world.path(20 * MS..24 * MS, 0.02);
    world.links[RECEIVER].lose_control(NAK, 0.5);
    world.run(2 * MINUTE);
    world.finish();
    world.assert_nothing_lost();
    assert_resends(&world, 1.3);
    assert_identities(&world);
}

#[test]
fn bursts_of_200() {
    let mut world = World::new(Setup { period: 500, ..Setup::default() });
    let mut count = 0u64;
    world.links[SENDER].loses = Box::new(move |datagram, _, _| {
        count += u64::from(control_type(datagram).is_none());
        (5_000..5_200).contains(&(count % 10_000))
    });
    world.run(MINUTE);
    world.finish();
    world.assert_nothing_lost();
    assert!(world.links[SENDER].lost_data >= 2_000);
    assert_resends(&world, 1.3);
    assert_identities(&world);
}

#[test]
fn duplicates_are_told_from_news() {
    let mut world = World::new(Setup::default());
    world.path(20 * MS..24 * MS, 0.01);
    world.links[SENDER].duplicate = 0.3;
    world.links[RECEIVER].duplicate = 0.3;
    world.run(MINUTE);
    world.finish();
    world.assert_nothing_lost();
    let stats = world.receiver();
    assert_eq!(stats.pkt_recv_unique, world.pushed);
    assert!(stats.pkt_rcv_duplicate > world.pushed / 4);
    assert_identities(&world);
}

#[test]
fn the_last_packet_before_a_pause() {
    for (pause, lost) in [(200 * MS, 0), (10 * SECOND, 1)] {
        let mut world = World::new(Setup::default());
        world.run(SECOND);
        world.links[SENDER].loses = Box::new(|datagram, _, _| control_type(datagram).is_none());
        world.run(2_440);
        world.pushing = false;
        world.links[SENDER].loses = Box::new(|_, _, _| false);
        world.run(pause);
        world.resume();
        world.run(SECOND);
        world.finish();
        assert_eq!((world.delivered.missing, world.receiver().pkt_rcv_drop), (lost, lost), "pause {pause}");
        assert_eq!(world.delivered.count + lost, world.pushed);
        assert_eq!(world.receiver().pkt_rcv_buf, 0);
    }
}

#[test]
fn sequence_numbers_wrap_under_loss() {
    let mut world = World::new(Setup { first_seq: 0x7FFF_FF00, ..Setup::default() });
    world.path(20 * MS..24 * MS, 0.05);
    world.run(5 * SECOND);
    world.finish();
    world.assert_nothing_lost();
    assert_identities(&world);
}

#[test]
fn an_outage_longer_than_the_latency_costs_only_itself() {
    let mut world = World::new(Setup::default());
    world.run(10 * SECOND);
    world.path(20 * MS..20 * MS + 1, 1.0);
    world.run(3 * SECOND);
    world.path(20 * MS..20 * MS + 1, 0.0);
    world.run(10 * SECOND);
    world.finish();
    let missing = world.delivered.missing;
    // 410 packets a second; what the latency reaches back to is repaired.
    assert!((900..1_300).contains(&missing), "{missing} missing");
    assert_eq!(world.receiver().pkt_rcv_drop, missing);
    assert_eq!(world.delivered.count + missing, world.pushed);
    assert_identities(&world);
}

#[test]
fn peers_without_nak_reports_get_what_was_lost_resent_on_a_timeout() {
    let adjust = |end, params: &mut moqgate_srt::engine::Params| {
        if end == SENDER {
            params.peer_flags =
                PeerFlags { drops_too_late: false, nak_report: false, marks_retransmissions: false };
        }
    };
    let mut world = World::new(Setup { latency: 1_500 * MS, adjust, ..Setup::default() });
    world.path(20 * MS..20 * MS + 1, 0.01);
    world.links[RECEIVER].lose_control(NAK, 1.0);
    world.run(MINUTE);
    world.finish();
    world.assert_nothing_lost();
    assert_eq!(world.receiver().pkt_rcv_retrans, 0, "the R bit is not for this peer");
}

#[test]
fn a_dead_path_ends_both_sides_after_five_seconds() {
    let mut world = World::new(Setup::default());
    world.run(SECOND);
    world.pushing = false;
    world.path(20 * MS..20 * MS + 1, 1.0);
    world.run(4_900 * MS);
    assert_eq!(world.ends.each_ref().map(|end| end.closed()), [None, None]);
    world.run(200 * MS);
    assert_eq!(world.ends.each_ref().map(|end| end.closed()), [Some(CloseReason::Idle); 2]);
    assert_eq!(world.ends[RECEIVER].poll_timeout(), None);
}

#[test]
fn a_shutdown_lets_out_what_is_due() {
    let mut world = World::new(Setup::default());
    world.run(SECOND);
    world.pushing = false;
    // What was pushed arrives, then the shutdown.
    world.run(30 * MS);
    let local = world.local(SENDER);
    world.ends[SENDER].close(local);
    let shutdown = world.ends[SENDER].poll_transmit().expect("one shutdown");
    assert_eq!(world.ends[SENDER].poll_transmit(), None);
    assert_eq!(world.ends[SENDER].closed(), Some(CloseReason::Local));
    world.inject(RECEIVER, shutdown);
    assert_eq!(world.ends[RECEIVER].state(), State::Draining(CloseReason::PeerShutdown));
    world.run(SECOND);
    assert_eq!(world.ends[RECEIVER].closed(), Some(CloseReason::PeerShutdown));
    world.assert_nothing_lost();
}

#[test]
fn idle_connections_stay_open_and_exchange_nothing_but_keepalives() {
    let mut world = World::new(Setup::default());
    world.run(SECOND);
    world.pushing = false;
    world.run(5 * SECOND);
    let carried = world.links[SENDER].carried + world.links[RECEIVER].carried;
    world.run(100 * SECOND);
    let carried = world.links[SENDER].carried + world.links[RECEIVER].carried - carried;
    assert!((190..=202).contains(&carried), "{carried}");
    assert_eq!(world.ends.each_ref().map(|end| end.closed()), [None, None]);
}

/// Statistics that stand still or mislead: every figure an operator looks at moves.
#[test]
fn a9_statistics_move_and_agree_with_the_link() {
    let mut world = World::new(Setup { payload: 1316, ..Setup::default() });
    world.path(20 * MS..20 * MS + 1, 0.02);
    world.run(30 * SECOND);
    let (sender, receiver) = (world.sender(), world.receiver());
    for rtt in [sender.ms_rtt, receiver.ms_rtt] {
        assert!((39.0..42.0).contains(&rtt), "{rtt}");
    }
    assert_eq!((receiver.ms_rcv_tsbpd_delay, sender.ms_snd_tsbpd_delay), (400, 400));
    // 410 packets a second over 400 ms.
    assert!((150..=180).contains(&receiver.pkt_rcv_buf), "{}", receiver.pkt_rcv_buf);
    assert!((370..=420).contains(&receiver.ms_rcv_buf), "{}", receiver.ms_rcv_buf);
    assert!((10..=40).contains(&sender.pkt_snd_buf), "{}", sender.pkt_snd_buf);
    assert_eq!(sender.pkt_flight_size, sender.pkt_snd_buf);
    assert!((4.3..4.7).contains(&receiver.mbps_recv_rate), "{}", receiver.mbps_recv_rate);
    assert!((4.3..4.7).contains(&sender.mbps_send_rate), "{}", sender.mbps_send_rate);
    assert!((29_900..=30_000).contains(&receiver.ms_time_stamp));
    world.finish();
    let (sender, receiver) = (world.sender(), world.receiver());
    // Every loss but that of a retransmission leaves a gap.
    let lost = world.links[SENDER].lost_data;
    let first_losses = sender.pkt_sent_unique - (receiver.pkt_recv - receiver.pkt_rcv_retrans);
    assert!(receiver.pkt_rcv_loss.abs_diff(first_losses) <= 2, "{receiver:#?}");
    assert!(lost >= first_losses && receiver.pkt_rcv_retrans <= sender.pkt_retrans);
    assert_eq!(receiver.pkt_recv_unique, world.pushed);
    assert!(receiver.pkt_recv_ackack > 1_000 && receiver.pkt_sent_ack >= receiver.pkt_recv_ackack);
    assert!(sender.pkt_recv_ack > 1_000 && sender.pkt_recv_nak > 100);
    assert_identities(&world);
}
