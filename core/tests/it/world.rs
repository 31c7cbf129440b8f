//! Conservation: whatever happens, in whatever order, the books balance.

use std::{collections::BTreeMap, time::Instant};

use moqgate_core::{
    BroadcastProducer, GroupConsumer, GroupProducer, OpenAdmission, OriginConfig, Protocol, PublishOptions,
    Session, Subscription, TrackConsumer, TrackProducer,
    usage::{Amounts, Bookkeeping, Clock, Side},
};
use proptest::prelude::*;

use crate::rig::{Kept, Rig, at, track};

/// Everything that can happen, with what it happens to.
#[derive(Debug, Clone)]
enum Step {
    Open(u8),
    Push(u8, u16),
    Roll(u8),
    EndPublisher(u8),
    Join(u8, u8),
    Read(u8, u8),
    Leave(u8),
    Settle,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (0..3_u8).prop_map(Step::Open),
        6 => (0..3_u8, 1..2000_u16).prop_map(|(publisher, bytes)| Step::Push(publisher, bytes)),
        2 => (0..3_u8).prop_map(Step::Roll),
        1 => (0..3_u8).prop_map(Step::EndPublisher),
        3 => (0..5_u8, 0..3_u8).prop_map(|(viewer, path)| Step::Join(viewer, path)),
        6 => (0..5_u8, 0..4_u8).prop_map(|(viewer, credit)| Step::Read(viewer, credit)),
        1 => (0..5_u8).prop_map(Step::Leave),
        1 => Just(Step::Settle),
    ]
}

struct Publisher {
    group: Option<GroupProducer>,
    video: TrackProducer,
    _broadcast: BroadcastProducer,
    _session: Session,
}

struct Viewer {
    sink: Kept,
    group: Option<GroupConsumer>,
    reader: TrackConsumer,
    path: usize,
    session: Session,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Book {
    frames: u64,
    bytes: u64,
}

#[derive(Default)]
struct World {
    publishers: [Option<Publisher>; 3],
    viewers: [Option<Viewer>; 5],
    pushed: [Book; 3],
    accepted: [Book; 3],
    /// What was settled, by path and side.
    settled: BTreeMap<(String, Side), Amounts>,
}

impl World {
    fn settle(&mut self, rig: &Rig) {
        for statement in rig.origin().settle() {
            let sum =
                self.settled.entry((statement.holder.path.to_string(), statement.holder.side)).or_default();
            sum.groups += statement.amounts.groups;
            sum.frames += statement.amounts.frames;
            sum.bytes += statement.amounts.bytes;
        }
    }

    /// The statements of all sessions add up to the rows.
    fn compare(&mut self, rig: &Rig) {
        self.settle(rig);
        for row in rig.origin().usage(None).usage {
            for (side, totals) in [(Side::Ingress, row.ingress), (Side::Egress, row.egress)] {
                let settled = self.settled.get(&(row.path.to_string(), side)).copied().unwrap_or_default();
                let expected = (totals.groups, totals.frames, totals.bytes);
                assert_eq!(
                    (settled.groups, settled.frames, settled.bytes),
                    match side {
                        // The rows of viewers and publishers are told apart by their protocol.
                        Side::Ingress if row.protocol == Protocol::Srt => expected,
                        Side::Egress if row.protocol == Protocol::Moq => expected,
                        Side::Ingress | Side::Egress => continue,
                    }
                );
            }
        }
    }

    async fn step(&mut self, rig: &Rig, step: Step) {
        match step {
            Step::Open(index) => self.open(rig, usize::from(index)).await,
            Step::Push(index, bytes) => self.push(rig, usize::from(index), usize::from(bytes)),
            Step::Roll(index) => {
                if let Some(publisher) = &mut self.publishers[usize::from(index)] {
                    publisher.group.take().into_iter().for_each(GroupProducer::finish);
                }
            }
            Step::EndPublisher(index) => self.publishers[usize::from(index)] = None,
            Step::Join(viewer, path) => self.join(rig, usize::from(viewer), usize::from(path)).await,
            Step::Read(viewer, credit) => self.read(usize::from(viewer), usize::from(credit)).await,
            Step::Leave(viewer) => self.viewers[usize::from(viewer)] = None,
            Step::Settle => self.settle(rig),
        }
    }

    async fn open(&mut self, rig: &Rig, index: usize) {
        if self.publishers[index].is_some() {
            return;
        }
        let session = rig.session(Protocol::Srt, 1).await;
        let path = at(&format!("cam{index}"));
        let broadcast = session.publisher().publish(&path, PublishOptions::default(), rig.start).unwrap();
        let video = track(&broadcast, "video");
        self.publishers[index] =
            Some(Publisher { group: None, video, _broadcast: broadcast, _session: session });
    }

    fn push(&mut self, rig: &Rig, index: usize, bytes: usize) {
        let Some(publisher) = &mut self.publishers[index] else { return };
        let video = &publisher.video;
        let group = publisher.group.get_or_insert_with(|| video.append_group().unwrap());
        group.push(rig.frame(self.pushed[index].frames, bytes)).unwrap();
        self.pushed[index].frames += 1;
        self.pushed[index].bytes += bytes as u64;
    }

    async fn join(&mut self, rig: &Rig, index: usize, path: usize) {
        if self.viewers[index].is_some() {
            return;
        }
        let session = rig.session(Protocol::Moq, 9).await;
        let Some(watched) = session.consumer().consume(&at(&format!("cam{path}"))) else { return };
        let reader = watched.subscribe("video", Subscription::default()).await.unwrap();
        let sink = Kept::default();
        self.viewers[index] = Some(Viewer { sink, group: None, reader, path, session });
    }

    async fn read(&mut self, index: usize, credit: usize) {
        let Some(viewer) = &mut self.viewers[index] else { return };
        viewer.sink.credit = credit;
        let before = viewer.sink.frames.len();
        if viewer.group.is_none() {
            let next = tokio::time::timeout(std::time::Duration::ZERO, viewer.reader.next_group()).await;
            viewer.group = next.ok().and_then(Result::ok).flatten();
        }
        if let Some(group) = &mut viewer.group {
            let forward =
                tokio::time::timeout(std::time::Duration::ZERO, group.forward(&mut viewer.sink)).await;
            if !matches!(forward, Err(_) | Ok(Ok(moqgate_core::Forwarded::Frames(_)))) {
                viewer.group = None;
            }
        }
        let new = viewer.sink.frames.iter().skip(before);
        let book = &mut self.accepted[viewer.path];
        for frame in new {
            book.frames += 1;
            book.bytes += frame.payload.len() as u64;
        }
        assert!(viewer.session.id().starts_with("moq-"));
    }

    fn check(&self, rig: &Rig) {
        for path in 0..3 {
            let name = format!("cam{path}");
            let (ingress, egress) = (rig.ingress(&name), rig.egress(&name));
            assert_eq!(Book { frames: ingress.frames, bytes: ingress.bytes }, self.pushed[path]);
            assert_eq!(Book { frames: egress.frames, bytes: egress.bytes }, self.accepted[path]);
            let watching = self.viewers.iter().flatten().filter(|viewer| viewer.path == path).count();
            assert_eq!(egress.active.live(), watching as u64);
            assert_eq!(ingress.announced.live(), u64::from(self.publishers[path].is_some()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_books_balance_after_every_step(steps in prop::collection::vec(step(), 1..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let bookkeeping = Some(Bookkeeping { clock: Clock::new(Instant::now), ended_max: 2 });
            let config = OriginConfig { bookkeeping, ..OriginConfig::default() };
            let (rig, mut world) = (Rig::with(config, OpenAdmission), World::default());
            for step in steps {
                world.step(&rig, step).await;
                world.check(&rig);
            }
            world.viewers = Default::default();
            world.publishers = Default::default();
            world.check(&rig);
            world.compare(&rig);
            for session in rig.origin().usage(None).sessions {
                assert_eq!(session.sessions.live(), 0);
            }
        });
    }
}
