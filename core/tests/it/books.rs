//! What is written down session by session.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use moqgate_core::{
    KillReason, OpenAdmission, OriginConfig, Protocol, Subscription,
    usage::{Amounts, Backlog, Bookkeeping, Clock, EndReason, Side, Statement},
};

use crate::rig::{Kept, Rig, at, track};

/// A clock that stands still until it is told.
#[derive(Clone)]
struct Hand {
    start: Instant,
    millis: Arc<AtomicU64>,
}

impl Hand {
    fn new() -> Self {
        Self { start: Instant::now(), millis: Arc::default() }
    }

    fn advance(&self, millis: u64) {
        self.millis.fetch_add(millis, Relaxed);
    }

    fn clock(&self) -> Clock {
        let hand = self.clone();
        Clock::new(move || hand.start + Duration::from_millis(hand.millis.load(Relaxed)))
    }
}

fn rig(hand: &Hand, ended_max: usize) -> Rig {
    let bookkeeping = Some(Bookkeeping { clock: hand.clock(), ended_max });
    Rig::with(OriginConfig { bookkeeping, ..OriginConfig::default() }, OpenAdmission)
}

fn sum(statements: &[Statement], side: Side) -> Amounts {
    let of_side = statements.iter().filter(|statement| statement.holder.side == side);
    of_side.fold(Amounts::default(), |sum, statement| {
        let more = statement.amounts;
        Amounts {
            groups: sum.groups + more.groups,
            frames: sum.frames + more.frames,
            bytes: sum.bytes + more.bytes,
            fetches: sum.fetches + more.fetches,
            datagrams: sum.datagrams + more.datagrams,
            active_ms: sum.active_ms + more.active_ms,
        }
    })
}

#[tokio::test]
async fn each_interval_is_given_out_once_and_the_last_with_its_reason() {
    let hand = Hand::new();
    let rig = rig(&hand, 10);
    let (session, broadcast) = rig.publish(1, "cam").await;
    let video = track(&broadcast, "video");
    let mut group = video.append_group().unwrap();
    hand.advance(1000);
    group.push(rig.frame(0, 10)).unwrap();
    let first = rig.origin().settle();
    assert_eq!(first.len(), 1);
    let expected = Amounts { groups: 1, frames: 1, bytes: 10, active_ms: 1000, ..Amounts::default() };
    assert_eq!((first[0].amounts, first[0].reason()), (expected, None));
    assert_eq!(first[0].to - first[0].from, Duration::from_millis(1000));
    assert_eq!((&first[0].holder.session, &first[0].holder.path), (session.id(), &at("cam")));
    assert!(rig.origin().settle().is_empty(), "nothing was used since");

    hand.advance(500);
    group.push(rig.frame(1, 20)).unwrap();
    drop((group, video, broadcast));
    session.ending(EndReason::Lost);
    drop(session);
    hand.advance(7000);
    let last = rig.origin().settle();
    let expected = Amounts { frames: 1, bytes: 20, active_ms: 500, ..Amounts::default() };
    assert_eq!((last[0].amounts, last[0].reason()), (expected, Some(EndReason::Lost)));
    assert_eq!(last[0].from, first[0].to);
    assert_eq!(last[0].to - last[0].from, Duration::from_millis(500));
    assert!(rig.origin().settle().is_empty(), "it has ended");
}

#[tokio::test]
async fn time_counts_while_at_least_one_track_is_read() {
    let hand = Hand::new();
    let rig = rig(&hand, 10);
    let (_publisher, broadcast) = rig.publish(1, "cam").await;
    let _tracks = (track(&broadcast, "video"), track(&broadcast, "audio"));
    let session = rig.session(Protocol::Moq, 2).await;
    let watched = session.consumer().consume(&at("cam")).unwrap();
    hand.advance(1000);
    let video = watched.subscribe("video", Subscription::default()).await.unwrap();
    hand.advance(1000);
    let audio = watched.subscribe("audio", Subscription::default()).await.unwrap();
    hand.advance(1000);
    drop(video);
    hand.advance(1000);
    drop(audio);
    hand.advance(1000);
    let statements = rig.origin().settle();
    assert_eq!(sum(&statements, Side::Egress).active_ms, 3000);
    assert_eq!(sum(&statements, Side::Ingress).active_ms, 5000);
}

#[tokio::test]
async fn pieces_of_milliseconds_are_not_lost() {
    let micros = Arc::new(AtomicU64::new(0));
    let (start, hand) = (Instant::now(), Arc::clone(&micros));
    let clock = Clock::new(move || start + Duration::from_micros(hand.load(Relaxed)));
    let bookkeeping = Some(Bookkeeping { clock, ended_max: 1 });
    let rig = Rig::with(OriginConfig { bookkeeping, ..OriginConfig::default() }, OpenAdmission);
    let (_session, broadcast) = rig.publish(1, "cam").await;
    let _video = track(&broadcast, "video");
    let mut total = 0;
    for _ in 0..10 {
        micros.fetch_add(1700, Relaxed);
        total += sum(&rig.origin().settle(), Side::Ingress).active_ms;
    }
    assert_eq!(total, 17);
}

#[tokio::test]
async fn who_only_looks_at_the_listing_has_no_statement() {
    let hand = Hand::new();
    let rig = rig(&hand, 10);
    let (_publisher, _broadcast) = rig.publish(1, "cam").await;
    let session = rig.session(Protocol::Moq, 2).await;
    let watched = session.consumer().consume(&at("cam")).unwrap();
    hand.advance(1000);
    drop((watched, session));
    assert!(rig.origin().settle().is_empty());
}

#[tokio::test]
async fn the_first_reason_counts() {
    let hand = Hand::new();
    let rig = rig(&hand, 10);
    let ended = async |end: &dyn Fn(&moqgate_core::Session)| {
        let (session, broadcast) = rig.publish(1, "cam").await;
        let video = track(&broadcast, "video");
        hand.advance(10);
        end(&session);
        drop((video, broadcast, session));
        rig.origin().settle()[0].reason()
    };
    assert_eq!(ended(&|_| ()).await, Some(EndReason::Left));
    let kill = |session: &moqgate_core::Session| {
        assert!(rig.origin().kill(session.id(), KillReason::Operator));
        session.ending(EndReason::Failed);
    };
    assert_eq!(ended(&kill).await, Some(EndReason::Killed(KillReason::Operator)));
    rig.origin().stopping();
    assert_eq!(ended(&|_| ()).await, Some(EndReason::Stopped));
    let (session, broadcast) = rig.publish(1, "cam").await;
    drop(track(&broadcast, "video"));
    hand.advance(10);
    let watcher = rig.session(Protocol::Moq, 2).await;
    let watched = watcher.consumer().consume(&at("cam")).unwrap();
    assert_eq!(watched.fetch("video", 0).await.err(), Some(moqgate_core::TrackError::NotFound));
    let _audio = track(&broadcast, "audio");
    let reader = watched.subscribe("audio", Subscription::default()).await.unwrap();
    hand.advance(10);
    drop((reader, watched));
    let gone = rig.origin().settle();
    let of_watcher = gone.iter().find(|statement| statement.holder.side == Side::Egress).unwrap();
    assert_eq!(of_watcher.reason(), Some(EndReason::Finished), "its session goes on");
    drop((session, watcher));
}

#[tokio::test]
async fn what_nobody_takes_is_put_together_and_stays_in_the_sum() {
    let hand = Hand::new();
    let rig = rig(&hand, 2);
    let (_publisher, broadcast) = rig.publish(1, "cam").await;
    let video = track(&broadcast, "video");
    video.append_group().unwrap().push(rig.frame(0, 10)).unwrap();
    for _ in 0..20 {
        let session = rig.session(Protocol::Moq, 2).await;
        let watched = session.consumer().consume(&at("cam")).unwrap();
        let mut reader = watched.subscribe("video", Subscription::default()).await.unwrap();
        let mut group = reader.next_group().await.unwrap().unwrap();
        group.forward(&mut Kept::unlimited()).await.unwrap();
        hand.advance(5);
    }
    assert_eq!(rig.origin().folded(), 18);
    let statements = rig.origin().settle();
    let egress: Vec<_> = statements.iter().filter(|line| line.holder.side == Side::Egress).collect();
    assert_eq!(egress.len(), 3);
    let together: Vec<_> = egress.iter().filter(|line| line.holder.session.is_empty()).collect();
    assert_eq!(together.len(), 1);
    assert_eq!((together[0].amounts.frames, together[0].reason()), (18, Some(EndReason::Folded)));
    let sum = sum(&statements, Side::Egress);
    assert_eq!((sum.frames, sum.bytes, sum.active_ms), (20, 200, 100));
    assert_eq!(rig.egress("cam").bytes, 200);
}

#[tokio::test]
async fn a_backlog_adds_up_by_holder_and_gives_everything_back() {
    let hand = Hand::new();
    let rig = rig(&hand, 10);
    let (session, broadcast) = rig.publish(1, "cam").await;
    let video = track(&broadcast, "video");
    let mut group = video.append_group().unwrap();
    let mut backlog = Backlog::new(1);
    for _ in 0..5 {
        hand.advance(100);
        group.push(rig.frame(0, 10)).unwrap();
        rig.origin().settle().into_iter().for_each(|statement| backlog.add(statement));
    }
    assert_eq!(backlog.len(), 1);
    drop((group, video, broadcast, session));
    rig.origin().settle().into_iter().for_each(|statement| backlog.add(statement));
    let all = backlog.take();
    assert!(backlog.is_empty() && backlog.folded() == 0);
    assert_eq!(
        (all.len(), all[0].amounts.bytes, all[0].amounts.active_ms, all[0].is_final),
        (1, 50, 500, true)
    );
    assert_eq!(all[0].to - all[0].from, Duration::from_millis(500));
}
