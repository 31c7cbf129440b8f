//! H.264 (ITU-T H.264 sections 7.3 and 7.4.1.2).

mod sps;

use super::bits::Bits;
use super::nal::{self, PARSED_BYTES_MAX};
use super::sets::{ParameterSets, SetKey, SetKind};
use super::video::{Coding, Role, Slice};
use crate::event::VideoConfig;
use sps::Sps;
pub(super) use sps::{read_framerate, read_picture_format};

/// Ids of sequence sets end here (section 7.4.2.1.1).
const SPS_IDS: u32 = 32;

/// Bytes of a slice that hold all of its header that is read, with room for three longest Exp-Golomb codes.
const SLICE_HEADER_BYTES: usize = 32;

/// SEI message: recovery point.
const SEI_RECOVERY_POINT: u32 = 6;

#[derive(Debug, Default)]
pub(crate) struct H264 {
    sets: ParameterSets,
    sps: Vec<Sps>,
    /// The first field of a picture whose second has not come.
    field: Option<Field>,
    /// Nothing is reordered where the sets leave it open.
    ordered: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Field {
    frame_num: u32,
    bottom: bool,
}

impl Coding for H264 {
    fn inspect(&mut self, nal: &[u8]) -> Role {
        let Some(&header) = nal.first() else { return Role::Drop(None) };
        match header & 31 {
            1 | 2 | 5 => self.slice(header, nal).map_or(Role::Drop(Some("slice_invalid")), Role::Slice),
            6 => sei(nal),
            7 => self.sequence_set(nal).map_or(Role::Drop(Some("sps_invalid")), Role::Set),
            8 => self.picture_set(nal).map_or(Role::Drop(Some("pps_invalid")), Role::Set),
            9 => Role::Delimiter,
            12 => Role::Drop(None),
            14..=18 => Role::Prefix,
            _ => Role::Suffix,
        }
    }

    fn begins_unit(nal: &[u8]) -> bool {
        match nal {
            // The first slice of a picture starts at macroblock 0, which is a single 1 bit.
            [header, slice, ..] if matches!(header & 31, 1 | 2 | 5) => slice & 0x80 != 0,
            [header, ..] => matches!(header & 31, 6..=9 | 14..=18),
            [] => false,
        }
    }

    fn unpaired(&self) -> bool {
        self.field.is_some()
    }

    fn sets(&self) -> &ParameterSets {
        &self.sets
    }

    fn config(&self, pps: u8) -> Option<VideoConfig> {
        self.active(pps).map(|sps| sps.config(self.ordered))
    }

    fn reordering(&self, pps: u8) -> Option<u8> {
        self.active(pps).and_then(Sps::reordering)
    }
}

impl H264 {
    /// For streams that are not expected to reorder pictures.
    pub(crate) fn ordered() -> Self {
        Self { ordered: true, ..Self::default() }
    }

    fn active(&self, pps: u8) -> Option<&Sps> {
        let id = self.sets.parent(SetKey { kind: SetKind::Picture, id: pps })?;
        self.sps.iter().find(|sps| sps.id == id)
    }

    fn sequence_set(&mut self, nal: &[u8]) -> Option<SetKey> {
        let rbsp = nal::unescape(nal.get(1..)?, PARSED_BYTES_MAX);
        let sps = Sps::parse(&rbsp)?;
        let key = SetKey { kind: SetKind::Sequence, id: sps.id };
        self.sets.store(key, 0, nal);
        self.sps.retain(|known| known.id != sps.id);
        self.sps.push(sps);
        Some(key)
    }

    fn picture_set(&mut self, nal: &[u8]) -> Option<SetKey> {
        let rbsp = nal::unescape(nal.get(1..)?, SLICE_HEADER_BYTES);
        let mut bits = Bits::new(&rbsp);
        let id = u8::try_from(bits.ue()?).ok()?;
        let sps = bits.ue().filter(|id| *id < SPS_IDS)?;
        let key = SetKey { kind: SetKind::Picture, id };
        self.sets.store(key, u8::try_from(sps).ok()?, nal);
        Some(key)
    }

    fn slice(&mut self, header: u8, nal: &[u8]) -> Option<Slice> {
        let (head, length) = nal::unescape_head::<SLICE_HEADER_BYTES>(&nal[1..]);
        let mut bits = Bits::new(&head[..length]);
        let first = bits.ue()? == 0;
        let kind = bits.ue().filter(|kind| *kind < 10)?;
        let pps = u8::try_from(bits.ue()?).ok()?;
        let field = self.active(pps).and_then(|sps| read_field(&mut bits, sps));
        let second_field = first && self.pairs(field);
        if first {
            self.field = if second_field { None } else { field };
        }
        Some(Slice {
            first,
            second_field,
            pps,
            random_access: header & 31 == 5,
            intra: matches!(kind % 5, 2 | 4),
            skipped: false,
            reference: header & 0x60 != 0,
        })
    }

    /// Whether `field` completes the frame whose first field is waiting.
    fn pairs(&self, field: Option<Field>) -> bool {
        match (self.field, field) {
            (Some(first), Some(second)) => {
                first.frame_num == second.frame_num && first.bottom != second.bottom
            }
            _ => false,
        }
    }
}

fn read_field(bits: &mut Bits<'_>, sps: &Sps) -> Option<Field> {
    if sps.separate_planes {
        bits.skip(2)?;
    }
    let frame_num = bits.read(sps.frame_num_bits)?;
    if sps.frames_only || !bits.flag()? {
        return None;
    }
    Some(Field { frame_num, bottom: bits.flag()? })
}

fn sei(nal: &[u8]) -> Role {
    let rbsp = nal::unescape(&nal[1..], PARSED_BYTES_MAX);
    let frames = nal::sei_payload(&rbsp, SEI_RECOVERY_POINT).and_then(|body| Bits::new(body).ue());
    frames.map_or(Role::Prefix, Role::Recovery)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn survives_anything(nals in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..20)) {
            let mut coding = H264::default();
            for mut nal in nals {
                coding.inspect(&nal);
                if let Some(header) = nal.first_mut() {
                    *header = 0x60 | (*header & 15);
                }
                coding.inspect(&nal);
                H264::begins_unit(&nal);
            }
            for pps in 0..=255 {
                coding.config(pps);
            }
        }
    }

    #[test]
    fn reads_a_recovery_point() {
        assert_eq!(H264::default().inspect(&[6, 6, 1, 0x84, 0x80]), Role::Recovery(0));
        assert_eq!(H264::default().inspect(&[6, 5, 1, 0x84, 0x80]), Role::Prefix);
    }
}
