//! One track on its way to a player.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Waker};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use moqgate_core::{BroadcastConsumer, Subscription, Timestamp, TrackConsumer, TrackError, monotonic_now};
use moqgate_mux::catalog::Catalog;
use moqgate_mux::play::{Bounds, Reader};
use moqgate_mux::rtp::{Codec, ExportConfig, Exporter, Reordering};

use super::SUBSCRIBE_LIMIT;
use super::adapt::{Measure, Step};
use super::choice::Choice;
use super::clock::Clock;
use super::common::Common;
use super::next::Next;
use crate::engine::{Peer, Report, Sending, ntp};
use crate::sdp::Payload;
use crate::sessions::Live;
use crate::transcode::Job;

/// What may lie between the model and the exporter. It is sent in the same turn in which it was taken.
const SOUND: Bounds = Bounds { frames: 64, bytes: 1 << 20 };
/// Pictures are taken one by one: whether there is room is asked before each.
pub(super) const PICTURES: Bounds = Bounds { frames: 1, bytes: 1 << 20 };
/// How often a player whose link is too slow may have a keyframe made for it: all who watch get it.
const ASK_INTERVAL: Duration = Duration::from_secs(3);
/// How much faster than live the time before the live edge passes.
const HURRY: u64 = 64;
/// What lies at least between two frames of different tracks: a tick of the coarsest clock.
const STEP_MIN: Duration = Duration::from_millis(1);

/// What became of the change to another rendition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// There was none, or it takes longer.
    Nothing,
    /// It is sent from now on.
    Done(Step),
    /// No keyframe of it came.
    Lost,
}

/// One stream of packets to a player, and the track that it is made of.
pub(super) struct Lane {
    payload: Payload,
    ssrc: u32,
    exporter: Exporter,
    source: Source,
    /// When the newest frame is shown that was sent.
    newest: Timestamp,
    /// What was sent by an earlier source ends here.
    floor: Timestamp,
    /// What is read next, once its keyframe has come.
    next: Option<Next>,
    packets: u32,
    bytes: u32,
}

/// A track, and how it is read.
#[derive(Default)]
struct Source {
    track: String,
    reader: Option<Reader>,
    /// The newest frame when the player began; what is older is shown in a hurry.
    edge: Timestamp,
    gone: bool,
    /// The newest time that was taken, of the track's own clock.
    taken: Timestamp,
    /// When that was.
    came: Option<Instant>,
    /// What it needs.
    measure: Measure,
    /// The least that the player was behind, microseconds.
    least: Option<i64>,
    /// The group at hand was left; the player waits for another one.
    left: bool,
    asked: Option<Instant>,
    /// The AudioSpecificConfig of AAC that is made Opus.
    aac: Option<Bytes>,
    /// Keeps that going.
    job: Option<Arc<Job>>,
}

impl Source {
    fn of(choice: &Choice) -> Self {
        Self { track: choice.track.clone(), aac: choice.aac.clone(), ..Self::default() }
    }
}

impl Lane {
    /// A lane for a track. `None` when RTP has no form for it.
    pub(super) fn new(catalog: &Catalog, choice: &Choice) -> Option<Self> {
        let config = export_config();
        let ssrc = config.ssrc;
        let exporter = match &choice.aac {
            Some(_) => Exporter::with_codec(Codec::Opus, config),
            None => Exporter::new(catalog, &choice.track, config)?,
        };
        Some(Self {
            payload: choice.payload.clone(),
            ssrc,
            exporter,
            source: Source::of(choice),
            newest: Timestamp::ZERO,
            floor: Timestamp::ZERO,
            next: None,
            packets: 0,
            bytes: 0,
        })
    }

    /// Nothing is read any more.
    pub(super) fn rest(&mut self) {
        self.source = Source { gone: true, ..Source::default() };
        self.next = None;
    }

    /// Goes on with another track in the same stream of packets, after [`Lane::begin`]. Whether that is possible.
    pub(super) fn switch(&mut self, catalog: &Catalog, choice: &Choice) -> bool {
        match &choice.aac {
            Some(_) => self.exporter.restart(),
            None if self.exporter.switch(catalog, &choice.track) => {}
            None => return false,
        }
        self.floor = self.newest.checked_add(STEP_MIN).unwrap_or(self.newest);
        (self.source, self.next) = (Source::of(choice), None);
        true
    }

    /// Goes on with what another broadcast has for it, or rests where that is nothing: a name means something else there.
    pub(super) fn resume(&mut self, catalog: &Catalog, choice: Option<&Choice>) {
        if !choice.is_some_and(|choice| self.switch(catalog, choice)) {
            self.rest();
        }
    }

    pub(super) fn track(&self) -> &str {
        &self.source.track
    }

    pub(super) fn payload(&self) -> &Payload {
        &self.payload
    }

    /// The newest frame when the player began with the track.
    pub(super) fn edge(&self) -> Timestamp {
        self.source.edge
    }

    pub(super) fn ssrc(&self) -> u32 {
        self.ssrc
    }

    pub(super) fn sending(&self) -> Sending {
        Sending { payload: self.payload.clone(), ssrc: self.ssrc }
    }

    /// Subscribes at the live end. Nothing is to be done for a lane that rests.
    pub(super) async fn begin(&mut self, live: &Live, broadcast: &BroadcastConsumer) -> Result<(), String> {
        if self.source.gone {
            return Ok(());
        }
        let track = self.subscribe(live, broadcast).await.inspect_err(|_| self.source.gone = true)?;
        self.source.edge = track.newest_timestamp().unwrap_or_default();
        let video = self.is_video();
        let name = self.source.track.clone();
        let bounds = if video { PICTURES } else { SOUND };
        let reader = Reader::new(name, video, 0, Timestamp::ZERO, bounds, monotonic_now, track);
        self.source.reader = Some(reader);
        Ok(())
    }

    async fn subscribe(
        &mut self,
        live: &Live,
        broadcast: &BroadcastConsumer,
    ) -> Result<TrackConsumer, String> {
        let Source { track, aac, job, .. } = &mut self.source;
        if let Some(aac) = aac {
            let (shared, path, epoch) = (&live.shared, broadcast.info().path(), broadcast.info().epoch());
            let making = shared.transcodes.get(shared, path, epoch, track, aac).await?;
            live.link.transcoded.store(1, Relaxed);
            let made = broadcast.subscribe_derived(&making.track, Subscription::default());
            self.exporter.share(None);
            *job = Some(making);
            return Ok(made);
        }
        self.exporter.share(Some(live.shared.common.of(broadcast.info().epoch(), track)));
        let track = broadcast.subscribe(track, Subscription::default());
        let track = tokio::time::timeout(SUBSCRIBE_LIMIT, track).await.unwrap_or(Err(TrackError::Unroutable));
        track.map_err(|error| error.to_string())
    }

    /// Whether it has pictures.
    pub(super) fn is_video(&self) -> bool {
        self.payload.format.codec().is_video()
    }

    /// What the track needs, bits per second, once enough of it was seen.
    pub(super) fn needs(&self) -> Option<u64> {
        self.source.measure.rate()
    }

    /// Begins to change to another rendition of the same broadcast. The one at hand goes on until a keyframe of the other
    /// one has come.
    pub(super) fn change(&mut self, step: Step, choice: Choice, broadcast: &BroadcastConsumer, now: Instant) {
        if self.next.is_none() {
            let floor = self.source.taken.checked_add(STEP_MIN).unwrap_or(self.source.taken);
            self.next = Some(Next::new(step, choice, broadcast.clone(), floor, now));
        }
    }

    /// Changes, if the keyframe has come.
    pub(super) fn changed(&mut self, catalog: &Catalog, now: Instant) -> Change {
        let Some(next) = self.next.take() else { return Change::Nothing };
        if !next.is_ready() {
            self.next = Some(next).filter(|next| !next.is_lost(now));
            return if self.next.is_some() { Change::Nothing } else { Change::Lost };
        }
        let step = next.step;
        match next.take() {
            Some((choice, reader)) if self.switch(catalog, &choice) => {
                self.source.reader = Some(reader);
                Change::Done(step)
            }
            _ => Change::Lost,
        }
    }

    /// Has payloads in common with the other players of its track.
    pub(super) fn share(&mut self, common: &Common, epoch: u64) {
        self.exporter.share(Some(common.of(epoch, &self.source.track)));
    }

    /// Nothing has come of the track for so long, although it is listed.
    pub(super) fn is_silent(&self, time: Duration, now: Instant) -> bool {
        self.source.came.is_some_and(|came| now.saturating_duration_since(came) >= time)
    }

    /// It has no track.
    pub(super) fn is_resting(&self) -> bool {
        self.source.gone && self.next.is_none()
    }

    /// Takes frames out of the model, pictures where there is `room`. Whether there is something to do.
    pub(super) fn fill(&mut self, room: bool, cx: &mut Context<'_>) -> bool {
        let mut more = false;
        if let Some(next) = &mut self.next {
            more |= next.fill(cx);
        }
        let video = self.is_video();
        if let Some(reader) = self.source.reader.as_mut().filter(|reader| !reader.is_over()) {
            more |= (room || !video) && reader.fill(i64::MAX, cx);
        }
        more
    }

    /// Goes on with a newer group when the player is further behind than `max`; where its link is `short`, also if there is
    /// none yet. By how much it was.
    pub(super) fn skip(&mut self, max: Duration, short: bool, now: Instant) -> Option<Duration> {
        let video = self.is_video();
        let source = &mut self.source;
        let reader = source.reader.as_mut()?;
        let behind = reader.backlog().max(0);
        if source.left
            && source.asked.is_none_or(|asked| now.saturating_duration_since(asked) >= ASK_INTERVAL)
        {
            source.asked = Some(now);
            reader.request_keyframe();
        }
        let past = |least: i64| Duration::from_micros(behind.saturating_sub(least).unsigned_abs()) > max;
        if past(0) && reader.is_behind() {
            reader.skip_to_newest(&mut Context::from_waker(Waker::noop()))?;
            (source.left, source.least) = (false, None);
            return Some(Duration::from_micros(behind.unsigned_abs()));
        }
        // Who has joined in the middle of a group is behind at first.
        let least = source.least.map_or(behind, |least| least.min(behind));
        source.least = Some(least);
        if !video || !short || source.left || !past(least) || !reader.leave_group() {
            return None;
        }
        source.left = true;
        Some(Duration::from_micros(behind.unsigned_abs()))
    }

    /// Sends what was taken. `edge` is the newest time of the broadcast when the player began with it. Whether that was
    /// anything.
    pub(super) fn send(&mut self, peer: &Peer, clock: &mut Clock, edge: Timestamp) -> bool {
        let video = self.is_video();
        let Some(reader) = &mut self.source.reader else { return false };
        let mut sent = false;
        while let Some(frame) = reader.pop() {
            self.source.measure.push(frame.pts, frame.payload.len());
            self.source.taken = self.source.taken.max(frame.pts);
            self.source.came = Some(Instant::now());
            self.source.left &= !frame.keyframe;
            let time = clock.place(hurried(frame.pts, self.source.edge), edge, SystemTime::now());
            let time = time.max(self.floor);
            self.newest = self.newest.max(time);
            self.exporter.push(time, frame.keyframe, &frame.payload);
            if reordered(&self.exporter) {
                return sent;
            }
            while let Some(packet) = self.exporter.poll() {
                self.packets = self.packets.wrapping_add(1);
                self.bytes = self.bytes.wrapping_add(packet.payload.len() as u32);
                let send = if video { Peer::send_paced } else { Peer::send };
                send(peer, packet, self.payload.number);
                sent = true;
            }
        }
        sent
    }

    /// There is a new catalog. A track that is something else now ends here.
    pub(super) fn update(&mut self, catalog: &Catalog) {
        let same = match &self.source.aac {
            Some(aac) => {
                let audio = catalog.audio.renditions.get(&self.source.track);
                audio.is_some_and(|audio| audio.description.as_ref() == Some(aac))
            }
            None => self.exporter.update(catalog),
        };
        if !same {
            self.rest();
        }
    }

    /// The player lost what it needs to go on. A publisher that can makes a keyframe; where none can, the player goes on with
    /// the newest group if that is not yet the one at hand, and otherwise waits for the next.
    pub(super) fn request_keyframe(&mut self) {
        if let Some(reader) = &mut self.source.reader {
            reader.request_keyframe();
            if reader.is_behind() {
                reader.skip_to_newest(&mut Context::from_waker(Waker::noop()));
            }
        }
    }

    /// What this lane's clock shows at `now`.
    pub(super) fn report(&self, clock: &Clock, now: SystemTime) -> Option<Report> {
        let time = clock.at(now)?;
        (self.packets > 0).then(|| Report {
            ssrc: self.ssrc,
            ntp: ntp(now),
            rtp: self.exporter.timestamp_of(time),
            packets: self.packets,
            bytes: self.bytes,
        })
    }

    /// Pictures come in another order than they are shown in.
    pub(super) fn is_reordered(&self) -> bool {
        reordered(&self.exporter)
    }

    /// Nothing more will be sent.
    pub(super) fn is_over(&self) -> bool {
        self.source.gone || self.source.reader.as_ref().is_some_and(Reader::is_over)
    }
}

fn reordered(exporter: &Exporter) -> bool {
    exporter.reordering() == Reordering::Observed
}

/// A source that nobody can guess (RFC 3550 section 5.1, RFC 3711 section 3.3.1).
fn export_config() -> ExportConfig {
    ExportConfig {
        ssrc: rand::random(),
        sequence: rand::random::<u16>() >> 1,
        timestamp: rand::random(),
        ..ExportConfig::default()
    }
}

/// The time at which a frame is shown: its own, or just before the live edge.
fn hurried(time: Timestamp, edge: Timestamp) -> Timestamp {
    let behind = edge.as_micros().saturating_sub(time.as_micros());
    Timestamp::from_micros(edge.as_micros().max(time.as_micros()) - behind / HURRY)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::task::Poll;

    use moqgate_core::{
        Credential, Direction, Frame, Gate, Grant, GroupProducer, Identity, OpenAdmission, Origin,
        OriginConfig, Path, Protocol, PublishOptions, Request, Session, TrackInfo, TrackProducer,
    };
    use moqgate_mux::rtp::Format;

    use super::*;

    fn catalog(name: &str) -> Catalog {
        let text = format!(r#"{{"video":{{"renditions":{{"{name}":{{"codec":"vp8"}}}}}}}}"#);
        Catalog::from_json(text.as_bytes()).expect("a catalog")
    }

    fn choice(name: &str) -> Choice {
        let format = Format::new(Codec::Vp8, "");
        let payload = Payload { number: 96, format, parameters: String::new(), channels: 0 };
        Choice { track: name.to_owned(), payload, aac: None }
    }

    fn lane(name: &str) -> (Lane, TrackProducer, Session) {
        let gate = Gate::new(Origin::new(OriginConfig::default()), Arc::new(OpenAdmission));
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let path = Path::new("live/cam0").expect("a path");
        let request = Request {
            protocol: Protocol::Srt,
            direction: Direction::Both,
            path: path.clone(),
            credential: Credential::None,
            peer,
        };
        let grant = Grant::everything(Identity::Anonymous(peer.ip()));
        let session = gate.open(request, grant, SystemTime::now(), None);
        let broadcast = session.publisher().publish(&path, PublishOptions::default(), Instant::now());
        let broadcast = broadcast.expect("the path is free");
        let max_age = Duration::from_secs(60);
        let info = TrackInfo { name: name.into(), timescale: 1_000_000, priority: 1, max_age };
        let track = broadcast.create_track(info).expect("a track");
        let consumer = session.consumer().consume(&path).expect("it is live");
        let reading = consumer.subscribe(name, Subscription::default());
        let mut reading = std::pin::pin!(reading);
        let Poll::Ready(Ok(reading)) = reading.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
            panic!("the track is there");
        };
        let mut lane = Lane::new(&catalog(name), &choice(name)).expect("VP8 has a form");
        let reader = Reader::new(name.to_owned(), true, 0, Timestamp::ZERO, PICTURES, monotonic_now, reading);
        lane.source.reader = Some(reader);
        std::mem::forget(broadcast);
        (lane, track, session)
    }

    fn push(group: &mut GroupProducer, millis: u64) {
        let micros = millis * 1000;
        let payload = Bytes::copy_from_slice(&(micros | 0b11 << 62).to_be_bytes());
        let timestamp = Timestamp::from_micros(micros);
        group.push(Frame { timestamp, received: Instant::now(), payload }).expect("it is open");
    }

    /// What the lane takes next, milliseconds.
    fn taken(lane: &mut Lane) -> Vec<u64> {
        let mut times = Vec::new();
        while lane.fill(true, &mut Context::from_waker(Waker::noop())) {
            let reader = lane.source.reader.as_mut().expect("it reads");
            times.extend(std::iter::from_fn(|| reader.pop()).map(|frame| frame.pts.as_micros() / 1000));
        }
        times
    }

    /// An encoder that makes no keyframes when asked, such as one that pushes over SRT or RTMP.
    #[test]
    fn who_lost_a_picture_goes_on_with_a_newer_keyframe_or_waits_for_one() {
        let (mut lane, track, _session) = lane("v");
        let mut first = track.append_group().expect("it is live");
        [0, 40, 80].into_iter().for_each(|at| push(&mut first, at));
        assert_eq!(taken(&mut lane), [0, 40, 80]);
        lane.request_keyframe();
        push(&mut first, 120);
        assert_eq!(taken(&mut lane), [120], "the newest keyframe was sent already");
        push(&mut first, 160);
        let mut second = track.append_group().expect("it is live");
        push(&mut second, 200);
        lane.request_keyframe();
        assert_eq!(taken(&mut lane), [200], "what lies before the newer keyframe is of no use");
    }

    #[test]
    fn a_link_that_is_too_slow_leaves_groups_out_and_never_who_has_just_joined() {
        let (mut lane, track, _session) = lane("v");
        let (max, now) = (Duration::from_secs(1), Instant::now());
        let mut cx = Context::from_waker(Waker::noop());
        let mut first = track.append_group().expect("it is live");
        (0..100).for_each(|frame| push(&mut first, frame * 40));
        assert!(lane.fill(true, &mut cx) && lane.source.reader.as_mut().expect("it reads").pop().is_some());
        assert_eq!(lane.skip(max, true, now), None, "four seconds behind, as it has joined");
        (100..130).for_each(|frame| push(&mut first, frame * 40));
        assert_eq!(lane.skip(max, false, now), None, "a link that carries everything catches up");
        assert!(lane.skip(max, true, now).is_some());
        assert_eq!(lane.skip(max, true, now), None, "once");
        assert_eq!(taken(&mut lane), Vec::<u64>::new(), "the rest of the group is left out");
        let mut second = track.append_group().expect("it is live");
        push(&mut second, 5200);
        assert_eq!(taken(&mut lane), [5200]);
    }

    #[test]
    fn a_broadcast_that_has_nothing_for_a_lane_lets_it_rest_until_one_has() {
        let (mut lane, track, _session) = lane("v");
        let mut group = track.append_group().expect("it is live");
        push(&mut group, 0);
        lane.resume(&catalog("w"), None);
        assert!(lane.is_resting(), "v is another track now, if it is there at all");
        assert_eq!(taken(&mut lane), Vec::<u64>::new());
        lane.resume(&catalog("w"), Some(&choice("w")));
        assert_eq!((lane.is_resting(), lane.track()), (false, "w"));
        lane.resume(&catalog("w"), Some(&choice("gone")));
        assert!(lane.is_resting(), "listed for it, but not in the catalog");
    }

    #[test]
    fn what_lies_before_the_live_edge_passes_in_a_hurry() {
        let at =
            |micros| hurried(Timestamp::from_micros(micros), Timestamp::from_micros(2_000_000)).as_micros();
        assert_eq!(
            (at(0), at(1_360_000), at(2_000_000), at(2_040_000)),
            (1_968_750, 1_990_000, 2_000_000, 2_040_000)
        );
    }
}
