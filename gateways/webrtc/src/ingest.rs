//! Packets of one publisher to frames of one broadcast.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Waker};
use std::time::{Duration, Instant, SystemTime};

use moqgate_core::{BroadcastProducer, Path};
use moqgate_mux::catalog::wall_ms;
use moqgate_mux::event::Event;
use moqgate_mux::publisher::{PublishError, Publisher, PublisherConfig};
use moqgate_mux::rtp::{ImportConfig, Importer, Output};
use moqgate_mux::{Damage, Told};
use tracing::warn;

use crate::engine::{Inbound, Peer};
use crate::link::Link;
use crate::sdp::{Kind, Offer, Section};
use crate::sessions::{End, Live, Notice};
use crate::streams::{Asker, Streams};

/// Of a publisher that has said over HTTP that it ends media is taken until none has come for so long: what it had sent before
/// comes another way, and is read later by a machine that is busy.
const LAST_WORDS: Duration = Duration::from_millis(300);
/// But not for longer than this.
const LAST_WORDS_MAX: Duration = Duration::from_secs(1);

/// Imports until the session is over.
pub(crate) async fn ingest(mut live: Live, mut media: Ingest) {
    let mut arrived = VecDeque::new();
    let end = loop {
        let peer = Arc::clone(&live.peer);
        let timeout = media.timeout();
        let news = tokio::select! {
            biased;
            notice = live.notice() => match notice {
                Notice::Connected => continue,
                Notice::Over(end) => break end,
            },
            () = media.publisher.broadcast().revoked() => break End::Replaced,
            () = peer.receive(&mut arrived) => true,
            () = sleep_until(timeout) => false,
        };
        let now = Instant::now();
        let took = match news {
            true => arrived.drain(..).try_for_each(|inbound| media.push(inbound)),
            false => Ok(()),
        };
        if took.and_then(|()| media.handle_timeout(now)).is_err() {
            break End::Replaced;
        }
        media.ask(&peer, now);
    };
    media.rest(&live.peer, &mut arrived, end).await;
    media.finish(Instant::now());
    live.close(end);
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// A publisher's broadcast.
pub(crate) struct Ingest {
    importer: Importer,
    publisher: Publisher,
    streams: Streams,
    asker: Asker,
    path: Path,
    damage: Damage,
    link: Arc<Link>,
}

impl Ingest {
    /// A broadcast that is filled by what `offer` sends.
    pub(crate) fn new(broadcast: BroadcastProducer, offer: &Offer, link: Arc<Link>) -> Self {
        let path = broadcast.info().path().clone();
        let sends = |kind| {
            let sections = offer.sections().iter();
            let of = |section: &&Section| section.kind == kind && section.direction.sends();
            sections.filter(|section| section.is_media()).filter(of).count()
        };
        let mut importer = Importer::new(ImportConfig::default());
        importer.expect(sends(Kind::Video), sends(Kind::Audio));
        Self {
            importer,
            publisher: Publisher::new(broadcast, PublisherConfig::default()),
            streams: Streams::new(offer),
            asker: Asker::default(),
            path,
            damage: Damage::default(),
            link,
        }
    }

    fn push(&mut self, inbound: Inbound) -> Result<(), PublishError> {
        match inbound {
            Inbound::Media { packet, payload_type, mid, rid, now } => {
                let source = packet.ssrc;
                let place = self.streams.place(source, payload_type, mid, rid, &mut self.importer);
                let Some((stream, video)) = place else { return Ok(()) };
                self.asker.saw(source, video);
                self.importer.push(stream, packet, now);
                self.drain(now)
            }
            Inbound::SenderReport { ssrc, ntp, rtp } => {
                self.importer.sender_report(ssrc, ntp, rtp);
                Ok(())
            }
            Inbound::ReceiverReport { .. } | Inbound::KeyframeRequest { .. } => Ok(()),
        }
    }

    /// Takes what the peer had sent before its end became known.
    async fn rest(&mut self, peer: &Peer, arrived: &mut VecDeque<Inbound>, end: End) {
        let (quiet, most) = match end {
            End::Deleted => (LAST_WORDS, LAST_WORDS_MAX),
            End::Gone => (Duration::ZERO, Duration::ZERO),
            End::Unconnected
            | End::Stopping
            | End::Killed(_)
            | End::Replaced
            | End::Finished
            | End::Unplayable => return,
        };
        let deadline = tokio::time::Instant::now() + most;
        loop {
            let until = deadline.min(tokio::time::Instant::now() + quiet);
            if tokio::time::timeout_at(until, peer.receive(arrived)).await.is_err() {
                return;
            }
            if arrived.drain(..).try_for_each(|inbound| self.push(inbound)).is_err() {
                return;
            }
        }
    }

    /// When [`Ingest::handle_timeout`] has something to do.
    fn timeout(&self) -> Option<Instant> {
        [self.importer.poll_timeout(), self.asker.due()].into_iter().flatten().min()
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), PublishError> {
        self.importer.handle_timeout(now);
        self.drain(now)
    }

    fn drain(&mut self, now: Instant) -> Result<(), PublishError> {
        while let Some(output) = self.importer.poll() {
            match output {
                Output::Event(event) => {
                    if let Event::Problem(problem) = &event {
                        self.damage.note(problem.reason);
                        self.link.problems.fetch_add(1, Relaxed);
                    }
                    self.publisher.apply(event, now, wall_ms(SystemTime::now()))?;
                }
                Output::KeyframeNeeded { ssrc, .. } => self.asker.lost(ssrc, now),
            }
        }
        tell(&self.path, self.damage.poll(now));
        Ok(())
    }

    /// Asks the publisher for keyframes that viewers or the importer want.
    fn ask(&mut self, peer: &Peer, now: Instant) {
        let mut cx = Context::from_waker(Waker::noop());
        while self.publisher.poll_keyframe_wanted(&mut cx).is_ready() {
            self.asker.wanted(now);
        }
        for source in self.asker.take(now) {
            self.link.keyframes_asked.fetch_add(1, Relaxed);
            peer.request_keyframe(source);
        }
        self.measure();
    }

    fn measure(&self) {
        let stats = self.streams.ids().filter_map(|stream| self.importer.stats(stream));
        let (mut packets, mut lost, mut dropped) = (0, 0, 0);
        for stats in stats {
            packets += stats.packets;
            lost += stats.lost;
            dropped += stats.frames_dropped;
        }
        self.link.packets.store(packets, Relaxed);
        self.link.lost.store(lost, Relaxed);
        self.link.frames_dropped.store(dropped, Relaxed);
    }

    /// Gives out the rest and ends every track and the broadcast.
    fn finish(mut self, now: Instant) {
        self.importer.finish(now);
        // Somebody else's broadcast takes nothing of the rest, and needs no end from here.
        self.drain(now).ok();
        tell(&self.path, self.damage.rest());
        self.publisher.finish();
    }
}

fn tell(path: &Path, told: Option<Told>) {
    if let Some(Told { new, total, last }) = told {
        warn!(%path, new, total, last, "damage in the RTP stream");
    }
}
