//! Tags in a file.

use bytes::{Buf, BufMut, Bytes};

use super::{Tag, TagKind};

const HEADER_BYTES: usize = 9;
const TAG_HEADER_BYTES: usize = 11;
const TRAILER_BYTES: usize = 4;

/// Why bytes are no FLV file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It does not begin with `FLV` and a version.
    #[error("not an FLV file")]
    Signature,
}

/// The tags of a file that is in memory. Ends at the first tag that is cut off or of no known type.
#[derive(Clone, Debug)]
pub struct File {
    rest: Bytes,
}

impl File {
    /// Reads the header. Its flags are not believed: they lie.
    ///
    /// # Errors
    /// [`FileError::Signature`] when there is none.
    pub fn new(mut data: Bytes) -> Result<Self, FileError> {
        if data.len() < HEADER_BYTES || !data.starts_with(b"FLV\x01") {
            return Err(FileError::Signature);
        }
        let header = u32::from_be_bytes([data[5], data[6], data[7], data[8]]) as usize;
        data.advance(data.len().min(header.max(HEADER_BYTES) + TRAILER_BYTES));
        Ok(Self { rest: data })
    }
}

impl Iterator for File {
    type Item = Tag;

    fn next(&mut self) -> Option<Tag> {
        let head: [u8; TAG_HEADER_BYTES] = *self.rest.first_chunk()?;
        let kind = match head[0] & 0x1f {
            8 => TagKind::Audio,
            9 => TagKind::Video,
            18 => TagKind::Script,
            _ => return None,
        };
        let size = u32::from_be_bytes([0, head[1], head[2], head[3]]) as usize;
        let timestamp_ms = u32::from_be_bytes([head[7], head[4], head[5], head[6]]);
        if self.rest.len() < TAG_HEADER_BYTES + size {
            return None;
        }
        self.rest.advance(TAG_HEADER_BYTES);
        let body = self.rest.split_to(size);
        self.rest.advance(self.rest.len().min(TRAILER_BYTES));
        Some(Tag { kind, timestamp_ms, body })
    }
}

/// The start of a file that has sound and pictures.
pub fn file_header() -> [u8; HEADER_BYTES + TRAILER_BYTES] {
    *b"FLV\x01\x05\0\0\0\x09\0\0\0\0"
}

/// Appends a tag as a file has it. Bodies end at 16 MiB - 1, where the format does.
pub fn write_tag(tag: &Tag, out: &mut Vec<u8>) {
    const BODY_MAX: usize = (1 << 24) - 1;
    let body = &tag.body[..tag.body.len().min(BODY_MAX)];
    out.push(match tag.kind {
        TagKind::Audio => 8,
        TagKind::Video => 9,
        TagKind::Script => 18,
    });
    out.put_uint(body.len() as u64, 3);
    out.put_uint(u64::from(tag.timestamp_ms & 0xff_ffff), 3);
    out.put_uint(u64::from(tag.timestamp_ms >> 24), 1);
    out.put_uint(0, 3);
    out.extend_from_slice(body);
    out.put_uint((body.len() + TAG_HEADER_BYTES) as u64, 4);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let tag = |kind, timestamp_ms| Tag { kind, timestamp_ms, body: Bytes::from_static(b"\xaf\x01\x21") };
        let tags = [tag(TagKind::Audio, 0xfedc_ba98), tag(TagKind::Video, 1), tag(TagKind::Script, 0)];
        let mut data = file_header().to_vec();
        tags.iter().for_each(|tag| write_tag(tag, &mut data));
        let data = Bytes::from(data);
        assert_eq!(File::new(data.clone()).unwrap().collect::<Vec<_>>(), tags);
        let cut = data.slice(..data.len() - 6);
        assert_eq!(File::new(cut).unwrap().count(), 2);
        assert_eq!(File::new(Bytes::from_static(b"FLX\x01\0\0\0\0\x09")).unwrap_err(), FileError::Signature);
    }
}
