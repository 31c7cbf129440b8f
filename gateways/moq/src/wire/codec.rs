//! Reading and writing the primitives that every message is made of.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::error::DecodeError;
use super::varint;
use super::version::Version;

/// Longest control message body, in bytes. The longest that a peer has reason to send is a SETUP, capped at the same
/// 64 KiB by its definition; everything else is a few strings.
pub const MESSAGE_LEN_MAX: u64 = 64 * 1024;

/// Longest path or track name on the wire, in bytes. Normalised paths are bounded to 1024 by the model; the rest is
/// room for redundant slashes.
pub const NAME_LEN_MAX: u64 = 2048;

/// A control message: `LEN` and a body, or a type, `LEN` and a body.
///
/// Decoding is incremental: `Ok(None)` means that `buf` holds only a part, nothing was consumed, and the caller should
/// append more. After an error the stream cannot be read on.
pub trait Message: Sized {
    /// Takes one message off the front of `buf`.
    fn decode(buf: &mut BytesMut, version: Version) -> Result<Option<Self>, DecodeError>;

    /// Appends the message.
    fn encode(&self, out: &mut BytesMut, version: Version);

    /// The message alone.
    fn to_bytes(&self, version: Version) -> Bytes {
        let mut out = BytesMut::new();
        self.encode(&mut out, version);
        out.freeze()
    }
}

/// Takes `LEN` and a body of at most `max` bytes, which `parse` must use up.
pub(super) fn take_message<T>(
    buf: &mut BytesMut,
    max: u64,
    parse: impl FnOnce(&mut Reader<'_>) -> Result<T, DecodeError>,
) -> Result<Option<T>, DecodeError> {
    take_after(buf, 0, max, parse)
}

/// Takes a type, `LEN` and a body of at most `max` bytes, which `parse` must use up.
pub(super) fn take_typed<T>(
    buf: &mut BytesMut,
    max: u64,
    parse: impl FnOnce(u64, &mut Reader<'_>) -> Result<T, DecodeError>,
) -> Result<Option<T>, DecodeError> {
    let Some((kind, skip)) = varint::peek(buf) else { return Ok(None) };
    take_after(buf, skip, max, |reader| parse(kind, reader))
}

fn take_after<T>(
    buf: &mut BytesMut,
    skip: usize,
    max: u64,
    parse: impl FnOnce(&mut Reader<'_>) -> Result<T, DecodeError>,
) -> Result<Option<T>, DecodeError> {
    let Some((length, width)) = buf.get(skip..).and_then(varint::peek) else { return Ok(None) };
    if length > max {
        return Err(DecodeError::TooLarge { length, max });
    }
    let start = skip.saturating_add(width);
    let end = start.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
    let Some(body) = buf.get(start..end) else { return Ok(None) };
    let mut reader = Reader::new(body);
    let message = parse(&mut reader)?;
    reader.finish()?;
    buf.advance(end);
    Ok(Some(message))
}

/// Appends `LEN` and the body that `fill` writes.
pub(super) fn put_message(out: &mut BytesMut, fill: impl FnOnce(&mut BytesMut)) {
    let mut body = BytesMut::new();
    fill(&mut body);
    varint::put(out, body.len() as u64);
    out.extend_from_slice(&body);
}

/// Reads the fields of one complete body.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// How many bytes are left, for bounding an element count before allocating for it.
    pub(super) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn bytes(&mut self, length: u64) -> Result<&'a [u8], DecodeError> {
        let length = usize::try_from(length).map_err(|_| DecodeError::Short)?;
        let (head, tail) = self.rest.split_at_checked(length).ok_or(DecodeError::Short)?;
        self.rest = tail;
        Ok(head)
    }

    /// Everything that is left.
    pub(super) fn skip_rest(&mut self) {
        self.rest = &[];
    }

    pub(super) fn varint(&mut self) -> Result<u64, DecodeError> {
        let (value, length) = varint::peek(self.rest).ok_or(DecodeError::Short)?;
        self.bytes(length as u64)?;
        Ok(value)
    }

    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        let (first, tail) = self.rest.split_first().ok_or(DecodeError::Short)?;
        self.rest = tail;
        Ok(*first)
    }

    /// `0` is absent, anything else is one more than the value.
    pub(super) fn optional(&mut self) -> Result<Option<u64>, DecodeError> {
        Ok(self.varint()?.checked_sub(1))
    }

    pub(super) fn millis(&mut self) -> Result<Duration, DecodeError> {
        Ok(Duration::from_millis(self.varint()?))
    }

    pub(super) fn string(&mut self, max: u64) -> Result<String, DecodeError> {
        let length = self.varint()?;
        if length > max {
            return Err(DecodeError::TooLarge { length, max });
        }
        utf8(self.bytes(length)?)
    }

    pub(super) fn name(&mut self) -> Result<String, DecodeError> {
        self.string(NAME_LEN_MAX)
    }

    pub(super) fn finish(&self) -> Result<(), DecodeError> {
        if self.is_empty() { Ok(()) } else { Err(DecodeError::Long) }
    }
}

pub(super) fn utf8(bytes: &[u8]) -> Result<String, DecodeError> {
    Ok(std::str::from_utf8(bytes).map_err(|_| DecodeError::Utf8)?.to_owned())
}

pub(super) fn put_string(out: &mut BytesMut, value: &str) {
    varint::put(out, value.len() as u64);
    out.put_slice(value.as_bytes());
}

pub(super) fn put_optional(out: &mut BytesMut, value: Option<u64>) {
    varint::put(out, value.map_or(0, |value| value.saturating_add(1)));
}

/// Truncates to whole milliseconds, the unit of every duration on the wire.
pub(super) fn put_millis(out: &mut BytesMut, value: Duration) {
    varint::put(out, u64::try_from(value.as_millis()).unwrap_or(varint::MAX));
}
