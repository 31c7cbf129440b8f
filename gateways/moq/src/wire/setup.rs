//! SETUP: what each side says about itself, once, on a stream of its own (05 and later).

use bytes::{Bytes, BytesMut};

use super::codec::{Message, Reader, put_message, take_message, utf8};
use super::error::DecodeError;
use super::varint;
use super::version::Version;

/// Most parameters in one SETUP.
pub const PARAMETERS_MAX: u64 = 64;

/// Longest SETUP body, in bytes.
pub const SETUP_LEN_MAX: u64 = 64 * 1024;

const PROBE: u64 = 0x1;
const PATH: u64 = 0x2;
const ROLE: u64 = 0x3;
const COST: u64 = 0x4;
const HOP: u64 = 0x5;
/// Private: audience counts on SUBSCRIBE. Far from the ids that upstream versions will take next.
const DOWNSTREAM: u64 = 0x1d76_6577;
const DOWNSTREAM_VERSION: u64 = 1;

/// A SETUP message. Parameters are kept as they came, in their order, unknown ones included.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Setup {
    parameters: Vec<(u64, Bytes)>,
}

impl Setup {
    /// The raw value of a parameter.
    pub fn get(&self, id: u64) -> Option<&Bytes> {
        self.parameters.iter().find(|(known, _)| *known == id).map(|(_, value)| value)
    }

    /// Sets a parameter, replacing an earlier one of the same id.
    pub fn set(&mut self, id: u64, value: Bytes) {
        match self.parameters.iter_mut().find(|(known, _)| *known == id) {
            Some(parameter) => parameter.1 = value,
            None => self.parameters.push((id, value)),
        }
    }

    /// Whether the sender can answer PROBE.
    pub fn probe(&self) -> ProbeSupport {
        match self.integer(PROBE) {
            None | Some(0) => ProbeSupport::None,
            Some(1) => ProbeSupport::Report,
            Some(_) => ProbeSupport::Pad,
        }
    }

    /// Path and query of the URL dialled, where the transport has no other place for it. `None` when absent.
    pub fn path(&self) -> Option<&str> {
        self.get(PATH).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// What the client is going to do.
    pub fn role(&self) -> Role {
        match self.integer(ROLE) {
            Some(1) => Role::Publisher,
            Some(2) => Role::Subscriber,
            _ => Role::Both,
        }
    }

    /// Price of pulling from the sender.
    pub fn cost(&self) -> u64 {
        self.integer(COST).unwrap_or(1)
    }

    /// The sender's hop id.
    pub fn hop(&self) -> Option<u64> {
        self.integer(HOP).filter(|hop| *hop != 0)
    }

    /// Whether the sender reads audience counts on SUBSCRIBE and SUBSCRIBE_UPDATE.
    pub fn downstream(&self) -> bool {
        self.integer(DOWNSTREAM) == Some(DOWNSTREAM_VERSION)
    }

    /// Says that we answer PROBE.
    pub fn set_probe(&mut self, support: ProbeSupport) {
        self.set_integer(PROBE, support as u64);
    }

    /// Says which URL was dialled: path and query. Only for clients on raw QUIC.
    pub fn set_path(&mut self, path: &str) {
        self.set(PATH, Bytes::copy_from_slice(path.as_bytes()));
    }

    /// Says what we are going to do. Only for clients.
    pub fn set_role(&mut self, role: Role) {
        self.set_integer(ROLE, role as u64);
    }

    /// Says what pulling from us costs.
    pub fn set_cost(&mut self, cost: u64) {
        self.set_integer(COST, cost);
    }

    /// Says our hop id.
    pub fn set_hop(&mut self, hop: u64) {
        self.set_integer(HOP, hop);
    }

    /// Says that we read audience counts.
    pub fn set_downstream(&mut self) {
        self.set_integer(DOWNSTREAM, DOWNSTREAM_VERSION);
    }

    fn integer(&self, id: u64) -> Option<u64> {
        self.get(id).and_then(|value| varint::peek(value)).map(|(value, _)| value)
    }

    fn set_integer(&mut self, id: u64, value: u64) {
        let mut bytes = BytesMut::new();
        varint::put(&mut bytes, value);
        self.set(id, bytes.freeze());
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = reader.varint()?;
        if count > PARAMETERS_MAX {
            return Err(DecodeError::TooLarge { length: count, max: PARAMETERS_MAX });
        }
        let mut setup = Self::default();
        for _ in 0..count {
            let id = reader.varint()?;
            let length = reader.varint()?;
            let value = reader.bytes(length)?;
            check(id, value)?;
            if setup.get(id).is_some() {
                return Err(DecodeError::Duplicate(id));
            }
            setup.parameters.push((id, Bytes::copy_from_slice(value)));
        }
        Ok(setup)
    }
}

/// Whether a side can answer PROBE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProbeSupport {
    /// It cannot.
    #[default]
    None = 0,
    /// It reports what it knows.
    Report = 1,
    /// It can also send padding to find out more.
    Pad = 2,
}

/// What a client is going to do. It narrows what happens on the session, it never widens rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    /// Publish and subscribe.
    #[default]
    Both = 0,
    /// Publish only: it wants no announcements.
    Publisher = 1,
    /// Subscribe only: it has none to give.
    Subscriber = 2,
}

fn check(id: u64, value: &[u8]) -> Result<(), DecodeError> {
    match id {
        PROBE | ROLE | COST | HOP | DOWNSTREAM => {
            let mut reader = Reader::new(value);
            reader.varint()?;
            reader.finish()
        }
        PATH => utf8(value).map(|_| ()),
        _ => Ok(()),
    }
}

impl Message for Setup {
    fn decode(buf: &mut BytesMut, _: Version) -> Result<Option<Self>, DecodeError> {
        take_message(buf, SETUP_LEN_MAX, Self::parse)
    }

    fn encode(&self, out: &mut BytesMut, _: Version) {
        put_message(out, |body| {
            varint::put(body, self.parameters.len() as u64);
            for (id, value) in &self.parameters {
                varint::put(body, *id);
                varint::put(body, value.len() as u64);
                body.extend_from_slice(value);
            }
        });
    }
}
