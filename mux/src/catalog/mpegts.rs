//! The root section `mpegts`: what a transport stream needs beyond what players do.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Container, text};
use crate::event::TsOrigin;

/// How tracks lay in a transport stream, by track name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mpegts {
    /// Every track that came from one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tracks: BTreeMap<String, MpegtsTrack>,
}

impl Mpegts {
    /// Nothing came from a transport stream.
    pub fn is_empty(&self) -> bool {
        self.tracks.is_empty()
    }
}

/// One elementary stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MpegtsTrack {
    /// Packet identifier.
    pub pid: u16,
    /// Its descriptors in the program map.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub descriptors: Vec<Descriptor>,
    /// Present when the track stands neither under `video` nor under `audio`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verbatim: Option<Verbatim>,
    /// What it is, in one word: `ac-3`, `mp2`, `klv`. Only for tracks with `verbatim`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codec: Option<String>,
}

/// A descriptor of the program map (H.222.0 section 2.6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// Its tag.
    pub tag: u8,
    /// Its content, without tag and length.
    #[serde(with = "text::base64")]
    pub data: Bytes,
}

/// How to put a track back into a transport stream as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verbatim {
    /// `stream_type` of the program map.
    pub stream_type: u8,
    /// What a frame is.
    #[serde(default)]
    pub framing: Framing,
    /// How frames are wrapped.
    #[serde(default)]
    pub container: Container,
}

/// What one frame of a verbatim track is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Framing {
    /// The payload of a PES packet, or a whole access unit of it.
    #[default]
    Pes,
    /// A section.
    Section,
}

impl MpegtsTrack {
    /// A track that players find under `video` or `audio`.
    pub fn playable(origin: &TsOrigin) -> Self {
        Self { pid: origin.pid, descriptors: descriptors(&origin.descriptors), verbatim: None, codec: None }
    }

    /// A track of `codec` that only a transport stream can use.
    pub fn verbatim(origin: &TsOrigin, framing: Framing, codec: &str) -> Self {
        let container = Container::Legacy;
        Self {
            verbatim: Some(Verbatim { stream_type: origin.stream_type, framing, container }),
            codec: Some(codec.to_owned()),
            ..Self::playable(origin)
        }
    }
}

/// Takes a descriptor loop apart; what is cut off at its end is left out.
fn descriptors(data: &Bytes) -> Vec<Descriptor> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(&[tag, length]) = data.get(at..at + 2) {
        let (start, end) = (at + 2, at + 2 + usize::from(length));
        if end > data.len() {
            break;
        }
        found.push(Descriptor { tag, data: data.slice(start..end) });
        at = end;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_descriptors_are_left_out() {
        let loop_ = Bytes::from_static(&[0x0a, 4, b'e', b'n', b'g', 0, 0x52, 1, 7, 0x05, 4, b'C']);
        let found = descriptors(&loop_);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].tag, &found[0].data[..3]), (0x0a, &b"eng"[..]));
        assert_eq!((found[1].tag, &found[1].data[..]), (0x52, &[7][..]));
        assert!(descriptors(&Bytes::from_static(&[5])).is_empty());
    }
}
