//! PROBE: the publisher's reports on the path to the subscriber.

use bytes::BytesMut;

use super::codec::{MESSAGE_LEN_MAX, Message, put_message, take_message};
use super::error::DecodeError;
use super::varint;
use super::version::Version;

/// One report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Probe {
    /// Estimated bit/s toward the subscriber; 0 = unknown, a known zero is sent as 1.
    pub bitrate: u64,
    /// Smoothed round-trip time in milliseconds; 0 = unknown. Not on the wire before 04.
    pub rtt_ms: u64,
}

impl Message for Probe {
    fn decode(buf: &mut BytesMut, version: Version) -> Result<Option<Self>, DecodeError> {
        take_message(buf, MESSAGE_LEN_MAX, |reader| {
            let bitrate = reader.varint()?;
            let rtt_ms = if version.has_probe_rtt() { reader.varint()? } else { 0 };
            Ok(Self { bitrate, rtt_ms })
        })
    }

    fn encode(&self, out: &mut BytesMut, version: Version) {
        put_message(out, |body| {
            varint::put(body, self.bitrate);
            if version.has_probe_rtt() {
                varint::put(body, self.rtt_ms);
            }
        });
    }
}
