//! PES packets from transport packet payloads (H.222.0 2.4.3.6).

use super::limits::{
    AUDIO_PES_BYTES_MAX, DATA_PES_BYTES_MAX, END_HINTS_MIN, PES_HEADER_BYTES_MAX, RECYCLED_BYTES_MAX,
    VIDEO_PES_BYTES_MAX,
};
use super::packet::Packet;

/// One PES packet without its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pes {
    pub(crate) pid: u16,
    /// 33 bits at 90 kHz.
    pub(crate) pts: Option<u64>,
    /// 33 bits at 90 kHz; None when it is the PTS.
    pub(crate) dts: Option<u64>,
    /// The header declared a length.
    pub(crate) bounded: bool,
    /// Bytes of this unit are missing.
    pub(crate) damaged: bool,
    /// Packets between the unit before and this one are missing.
    pub(crate) gap: bool,
    pub(crate) payload: Vec<u8>,
}

/// What decides limits and how far a declared length is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Video,
    Audio,
    Data,
}

impl Class {
    fn bytes_max(self) -> usize {
        match self {
            Self::Video => VIDEO_PES_BYTES_MAX,
            Self::Audio => AUDIO_PES_BYTES_MAX,
            Self::Data => DATA_PES_BYTES_MAX,
        }
    }
}

/// Collects the PES packets of one pid.
///
/// ```text
///          unit start              header complete            declared length reached
///   Idle ------------> Header ---------------------> Body --------------------------> Ended
///    ^                   |                            |  end of unit believed (video)   |
///    +-------------------+----------------------------+--------- unit start -----------+
/// ```
#[derive(Debug)]
pub(crate) struct Assembler {
    pid: u16,
    class: Class,
    state: State,
    header: Header,
    /// Header bytes while [`State::Header`], payload while [`State::Body`].
    buffer: Vec<u8>,
    /// Takes over when the buffer leaves with its unit.
    spare: Vec<u8>,
    damaged: bool,
    gap: bool,
    ends: EndHints,
    packets: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Header,
    Body,
    Ended,
}

/// What went wrong inside the assembler, for the statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A unit start without a PES header.
    BadHeader,
    /// A unit beyond the limit of its class.
    Oversized,
    /// A unit whose bytes are missing and that is of no use without them.
    Incomplete,
}

impl Assembler {
    pub(crate) fn new(pid: u16, class: Class) -> Self {
        Self {
            pid,
            class,
            state: State::Idle,
            header: Header::default(),
            buffer: Vec::new(),
            spare: Vec::new(),
            damaged: false,
            gap: false,
            ends: EndHints::default(),
            packets: 0,
        }
    }

    /// Bytes held.
    pub(crate) fn held(&self) -> usize {
        self.buffer.len()
    }

    /// Counts packets, so that two calls tell whether the unit has grown between them; None when none is open.
    pub(crate) fn progress(&self) -> Option<u64> {
        (self.state == State::Body).then_some(self.packets)
    }

    /// Packets of this pid are missing before the next one. `announced` is a discontinuity that the sender declared at
    /// a unit start: what was open is whole then.
    pub(crate) fn lose(&mut self, announced: bool) {
        let whole = announced || self.looks_complete();
        self.gap |= !announced;
        self.damaged |= self.state == State::Body && !whole;
        // A header that cannot be completed, or an end behind which anything may follow now.
        if matches!(self.state, State::Header | State::Ended) {
            self.buffer.clear();
            self.state = State::Idle;
        }
    }

    /// Takes one packet's payload and hands every unit it completes to `each`.
    pub(crate) fn push(
        &mut self,
        packet: &Packet<'_>,
        payload: &[u8],
        each: &mut impl FnMut(Pes),
    ) -> Result<(), Fault> {
        self.packets += 1;
        let mut outcome = Ok(());
        if packet.unit_start {
            outcome = self.finish(each);
            self.state = State::Header;
        }
        let mut body = payload;
        if self.state == State::Header {
            let Some(rest) = self.read_header(payload)? else { return outcome };
            body = rest;
        }
        match self.state {
            State::Idle | State::Header => return outcome,
            // Data or sound behind its declared length is cut off.
            State::Ended if self.class != Class::Video => return outcome,
            State::Ended => self.reopen(),
            State::Body if self.damaged && self.class != Class::Video => {
                // Nothing can be joined behind the hole: give what is in front of it.
                let cut = self.finish(each);
                return outcome.and(cut);
            }
            State::Body => {}
        }
        if self.buffer.len() + body.len() > self.class.bytes_max() {
            self.abandon();
            return Err(Fault::Oversized);
        }
        self.buffer.extend_from_slice(body);
        if self.is_complete(packet.adaptation.stuffed) {
            let ended = self.finish(each);
            self.state = State::Ended;
            return outcome.and(ended);
        }
        outcome
    }

    /// Gives out the open unit: the input ended, or nothing more is expected of it.
    pub(crate) fn finish(&mut self, each: &mut impl FnMut(Pes)) -> Result<(), Fault> {
        if self.state != State::Body {
            self.state = State::Idle;
            return Ok(());
        }
        self.state = State::Idle;
        self.ends.judge(self.buffer.len());
        let short = self.class != Class::Video
            && self.header.declared.is_some_and(|length| self.buffer.len() < length);
        let damaged = std::mem::take(&mut self.damaged) || short;
        if damaged && self.class == Class::Data {
            self.buffer.clear();
            self.gap = true;
            return Err(Fault::Incomplete);
        }
        if self.buffer.is_empty() {
            return Ok(());
        }
        each(Pes {
            pid: self.pid,
            pts: self.header.pts,
            dts: self.header.dts,
            bounded: self.header.declared.is_some(),
            damaged,
            gap: std::mem::take(&mut self.gap),
            payload: std::mem::replace(&mut self.buffer, std::mem::take(&mut self.spare)),
        });
        if damaged { Err(Fault::Incomplete) } else { Ok(()) }
    }

    /// Gives out the open unit at the end of the input, where a connection may have been cut inside of it.
    pub(crate) fn finish_input(&mut self, each: &mut impl FnMut(Pes)) -> Result<(), Fault> {
        self.damaged |= self.looks_unfinished();
        self.finish(each)
    }

    /// Nothing more arrived for the open unit: gives it out, and expects that a late packet may still continue it.
    pub(crate) fn finish_idle(&mut self, each: &mut impl FnMut(Pes)) -> Result<(), Fault> {
        let outcome = self.finish(each);
        self.state = State::Ended;
        outcome
    }

    /// Whether something says that the open unit has come to its end.
    pub(crate) fn looks_complete(&self) -> bool {
        self.ends.at == Some(self.buffer.len())
    }

    /// Whether the ends of units can be told and the open one has not come to its own.
    pub(crate) fn looks_unfinished(&self) -> bool {
        self.ends.are_known() && !self.looks_complete()
    }

    /// Drops the open unit and waits for the next.
    pub(crate) fn abandon(&mut self) {
        self.state = State::Idle;
        self.buffer = Vec::new();
        self.damaged = false;
        self.gap = true;
    }

    /// Takes the buffer of a unit back, so that gathering does not allocate.
    pub(crate) fn recycle(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() <= RECYCLED_BYTES_MAX {
            buffer.clear();
            self.spare = buffer;
        }
    }

    /// The part of `payload` behind the header once that is complete.
    fn read_header<'a>(&mut self, payload: &'a [u8]) -> Result<Option<&'a [u8]>, Fault> {
        let before = self.buffer.len();
        let parsed = if before == 0 {
            Header::parse(payload)
        } else {
            let room = PES_HEADER_BYTES_MAX.saturating_sub(before);
            self.buffer.extend_from_slice(&payload[..payload.len().min(room)]);
            Header::parse(&self.buffer)
        };
        match parsed {
            HeaderParse::Bad => {
                self.state = State::Idle;
                self.buffer.clear();
                self.gap = true;
                Err(Fault::BadHeader)
            }
            HeaderParse::Short => {
                if before == 0 {
                    self.buffer.extend_from_slice(payload);
                }
                Ok(None)
            }
            HeaderParse::Done(header, length) => {
                self.buffer.clear();
                self.header = header;
                self.state = State::Body;
                self.damaged = false;
                self.ends.at = None;
                self.ends.believed = false;
                Ok(Some(payload.get(length - before..).unwrap_or_default()))
            }
        }
    }

    /// A unit that was believed complete goes on: its declared or guessed end was wrong.
    fn reopen(&mut self) {
        self.ends.distrust();
        self.state = State::Body;
        self.damaged = true;
        self.header.pts = None;
        self.header.dts = None;
    }

    fn is_complete(&mut self, stuffed: bool) -> bool {
        let length = self.buffer.len();
        match (self.class, self.header.declared) {
            (Class::Audio | Class::Data, Some(declared)) => {
                self.buffer.truncate(declared);
                length >= declared
            }
            (Class::Video, declared) if declared == Some(length) || stuffed => self.ends.hint(length),
            _ => false,
        }
    }
}

/// Learns whether the end of a video unit can be told before the next unit starts: from its declared length, or because
/// a muxer fills the last packet of a unit up with adaptation field stuffing and no other packet.
///
/// Without it every picture of an unbounded PES waits for the next one.
#[derive(Debug, Default)]
struct EndHints {
    /// Where the open unit seemed to end.
    at: Option<usize>,
    /// Units in a row for which that was right.
    right: u8,
    /// The unit was given out because of it.
    believed: bool,
    distrusted: bool,
}

impl EndHints {
    /// Something says that the unit ends here; true when that is believed.
    fn hint(&mut self, length: usize) -> bool {
        self.at = Some(length);
        self.believed = self.are_known();
        self.believed
    }

    fn are_known(&self) -> bool {
        self.right >= END_HINTS_MIN && !self.distrusted
    }

    /// The unit really ended at `length`.
    fn judge(&mut self, length: usize) {
        match self.at.take() {
            Some(at) if at == length => self.right = self.right.saturating_add(1),
            Some(_) => self.right = 0,
            None => {}
        }
    }

    /// The unit went on.
    fn distrust(&mut self) {
        self.distrusted |= self.believed;
    }
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Header {
    pts: Option<u64>,
    dts: Option<u64>,
    /// Payload bytes that the length field announces.
    declared: Option<usize>,
}

#[derive(Debug, PartialEq, Eq)]
enum HeaderParse {
    /// More bytes are needed.
    Short,
    Bad,
    /// The header and its length.
    Done(Header, usize),
}

impl Header {
    fn parse(bytes: &[u8]) -> HeaderParse {
        let start = [0, 0, 1];
        if bytes.iter().zip(&start).any(|(byte, want)| byte != want) {
            return HeaderParse::Bad;
        }
        let &[_, _, _, stream_id, length_high, length_low, ref rest @ ..] = bytes else {
            return HeaderParse::Short;
        };
        let declared = usize::from(u16::from_be_bytes([length_high, length_low]));
        // Stream map, padding, private 2, ECM, EMM, DSM-CC, H.222.1 type E and directory have no further header.
        if matches!(stream_id, 0xbc | 0xbe | 0xbf | 0xf0..=0xf2 | 0xf8 | 0xff) {
            return HeaderParse::Done(Self { pts: None, dts: None, declared: Some(declared) }, 6);
        }
        let &[marks, flags, header_length, ref fields @ ..] = rest else { return HeaderParse::Short };
        if marks & 0xc0 != 0x80 || marks & 0x30 != 0 {
            return HeaderParse::Bad;
        }
        let header_length = usize::from(header_length);
        let Some(fields) = fields.get(..header_length) else { return HeaderParse::Short };
        // Fields behind the timestamps are skipped by the header's length, never parsed.
        let pts = if flags & 0x80 != 0 { fields.first_chunk().map(timestamp) } else { None };
        let dts = if flags & 0xc0 == 0xc0 {
            fields.get(5..).and_then(|rest| rest.first_chunk()).map(timestamp)
        } else {
            None
        };
        // Zero, or too short for its own header: unbounded.
        let declared = declared.checked_sub(3 + header_length);
        HeaderParse::Done(Self { pts, dts, declared }, 9 + header_length)
    }
}

/// 33 bits in five bytes; wrong marker bits are tolerated.
fn timestamp(bytes: &[u8; 5]) -> u64 {
    let [a, b, c, d, e] = bytes.map(u64::from);
    (a >> 1 & 7) << 30 | b << 22 | c >> 1 << 15 | d << 7 | e >> 1
}

#[cfg(test)]
mod tests;
