//! `onMetaData`: which tracks the sender announces. A hint and no more, because it is often missing or wrong.

/// Objects within objects; `onMetaData` has two levels.
const DEPTH_MAX: u32 = 8;

/// Values that are looked at in one message.
const VALUES_MAX: u32 = 4096;

/// How many tracks of each kind are announced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Announced {
    pub(super) video: usize,
    pub(super) audio: usize,
}

/// Reads the body of a script tag. `None` when it is another message, or announces no track at all.
pub(super) fn read(body: &[u8]) -> Option<Announced> {
    let mut reader = Reader { data: body, values: 0 };
    let mut name = reader.string_value()?;
    if name == b"@setDataFrame" {
        name = reader.string_value()?;
    }
    if name != b"onMetaData" {
        return None;
    }
    let mut announced = Announced::default();
    // A message that is cut off still says what stands before the cut.
    let _whole = reader.top(&mut announced);
    (announced != Announced::default()).then_some(announced)
}

struct Reader<'a> {
    data: &'a [u8],
    values: u32,
}

impl<'a> Reader<'a> {
    fn top(&mut self, announced: &mut Announced) -> Option<()> {
        match self.byte()? {
            3 => {}
            8 => drop(self.take(4)?),
            _ => return None,
        }
        while let Some(key) = self.key()? {
            match key {
                b"videocodecid" => announced.video = announced.video.max(1),
                b"audiocodecid" => announced.audio = announced.audio.max(1),
                _ => {}
            }
            let entries = self.value(0)?;
            match key {
                b"videoTrackIdInfoMap" => announced.video = entries as usize + 1,
                b"audioTrackIdInfoMap" => announced.audio = entries as usize + 1,
                _ => {}
            }
        }
        Some(())
    }

    /// Skips a value; gives how many entries an object has.
    fn value(&mut self, depth: u32) -> Option<u32> {
        self.values += 1;
        if depth > DEPTH_MAX || self.values > VALUES_MAX {
            return None;
        }
        match self.byte()? {
            0 => self.take(8).map(|_| 0),
            1 => self.take(1).map(|_| 0),
            2 => self.short_text().map(|_| 0),
            3 => self.entries(depth),
            5 | 6 | 13 => Some(0),
            7 => self.take(2).map(|_| 0),
            8 => {
                self.take(4)?;
                self.entries(depth)
            }
            10 => {
                let count = u32::from_be_bytes(*self.take(4)?.first_chunk()?);
                for _ in 0..count {
                    self.value(depth + 1)?;
                }
                Some(count)
            }
            11 => self.take(10).map(|_| 0),
            12 | 15 => {
                let length = u32::from_be_bytes(*self.take(4)?.first_chunk()?);
                self.take(length as usize).map(|_| 0)
            }
            16 => {
                self.short_text()?;
                self.entries(depth)
            }
            _ => None,
        }
    }

    fn entries(&mut self, depth: u32) -> Option<u32> {
        let mut count = 0;
        while self.key()?.is_some() {
            self.value(depth + 1)?;
            count += 1;
        }
        Some(count)
    }

    /// The next key, `Some(None)` at the end of the object.
    fn key(&mut self) -> Option<Option<&'a [u8]>> {
        let key = self.short_text()?;
        if key.is_empty() && self.data.first() == Some(&9) {
            self.take(1)?;
            return Some(None);
        }
        Some(Some(key))
    }

    fn string_value(&mut self) -> Option<&'a [u8]> {
        if self.byte()? == 2 { self.short_text() } else { None }
    }

    fn short_text(&mut self) -> Option<&'a [u8]> {
        let length = u16::from_be_bytes(*self.take(2)?.first_chunk()?);
        self.take(usize::from(length))
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.data.split_at_checked(count)?;
        self.data = rest;
        Some(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_is_announced() {
        let mut body = b"\x02\0\x0d@setDataFrame\x02\0\x0aonMetaData\x08\0\0\0\x03".to_vec();
        body.extend(b"\0\x0cvideocodecid\0\x41\xda\x1d\x98\xcc\x40\0\0");
        body.extend(b"\0\x04junk\x0a\0\0\0\x02\x05\x0b\0\0\0\0\0\0\0\0\0\0");
        body.extend(b"\0\x13audioTrackIdInfoMap\x03\0\x011\x03\0\0\x09\0\x012\x05\0\0\x09");
        body.extend(b"\0\0\x09");
        assert_eq!(read(&body), Some(Announced { video: 1, audio: 3 }));
        for end in 0..body.len() {
            read(&body[..end]);
        }
        assert_eq!(read(b"\x02\0\x09onTextData"), None);
    }

    #[test]
    fn a_bomb_is_cut() {
        let mut body = b"\x02\0\x0aonMetaData\x03\0\x01a".to_vec();
        body.extend(b"\x0a\xff\xff\xff\xff".repeat(100_000));
        assert_eq!(read(&body), None);
        let mut body = b"\x02\0\x0aonMetaData\x03\0\x0caudiocodecid".to_vec();
        body.extend(b"\x0a\xff\xff\xff\xff".repeat(3));
        body.extend(vec![5; 100_000]);
        assert_eq!(read(&body), Some(Announced { video: 0, audio: 1 }));
    }
}
