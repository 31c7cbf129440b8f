//! H.265 (ITU-T H.265 sections 7.3 and 7.4.2.4.4).

mod sps;

use super::bits::Bits;
use super::nal::{self, PARSED_BYTES_MAX};
use super::sets::{ParameterSets, SetKey, SetKind};
use super::video::{Coding, Role, Slice};
use crate::event::VideoConfig;
use sps::Sps;

/// Ids of sequence sets end here (section 7.4.3.2.1).
const SPS_IDS: u32 = 16;

/// Bytes of a slice or picture set that are looked at.
const HEADER_BYTES: usize = 24;

const HEADER: usize = 2;

#[derive(Debug, Default)]
pub(crate) struct H265 {
    sets: ParameterSets,
    sps: Vec<Sps>,
}

impl Coding for H265 {
    fn inspect(&mut self, nal: &[u8]) -> Role {
        let &[first, second, ..] = nal else { return Role::Drop(None) };
        let kind = first >> 1 & 63;
        if first & 1 != 0 || second & 0xf8 != 0 {
            // Enhancement layers ride with their base picture.
            return Role::Suffix;
        }
        match kind {
            0..=31 => slice(kind, nal).map_or(Role::Drop(Some("slice_invalid")), Role::Slice),
            32 => self.video_set(nal).map_or(Role::Drop(Some("vps_invalid")), Role::Set),
            33 => self.sequence_set(nal).map_or(Role::Drop(Some("sps_invalid")), Role::Set),
            34 => self.picture_set(nal).map_or(Role::Drop(Some("pps_invalid")), Role::Set),
            35 => Role::Delimiter,
            38 => Role::Drop(None),
            39 | 41..=44 | 48..=55 => Role::Prefix,
            _ => Role::Suffix,
        }
    }

    fn begins_unit(nal: &[u8]) -> bool {
        match nal {
            [first, _, slice, ..] if first >> 1 & 63 < 32 => slice & 0x80 != 0,
            [first, ..] => matches!(first >> 1 & 63, 32..=35 | 39 | 41..=44 | 48..=55),
            [] => false,
        }
    }

    fn sets(&self) -> &ParameterSets {
        &self.sets
    }

    fn config(&self, pps: u8) -> Option<VideoConfig> {
        let id = self.sets.parent(SetKey { kind: SetKind::Picture, id: pps })?;
        let sps = self.sps.iter().find(|sps| sps.id == id)?;
        Some(sps.config())
    }
}

impl H265 {
    fn video_set(&mut self, nal: &[u8]) -> Option<SetKey> {
        let key = SetKey { kind: SetKind::Video, id: nal.get(HEADER)? >> 4 };
        self.sets.store(key, 0, nal);
        Some(key)
    }

    fn sequence_set(&mut self, nal: &[u8]) -> Option<SetKey> {
        let rbsp = nal::unescape(&nal[HEADER..], PARSED_BYTES_MAX);
        let sps = Sps::parse(&rbsp)?;
        let key = SetKey { kind: SetKind::Sequence, id: sps.id };
        self.sets.store(key, rbsp[0] >> 4, nal);
        self.sps.retain(|known| known.id != sps.id);
        self.sps.push(sps);
        Some(key)
    }

    fn picture_set(&mut self, nal: &[u8]) -> Option<SetKey> {
        let rbsp = nal::unescape(&nal[HEADER..], HEADER_BYTES);
        let mut bits = Bits::new(&rbsp);
        let id = bits.ue().filter(|id| *id < 64)?;
        let sps = bits.ue().filter(|id| *id < SPS_IDS)?;
        let key = SetKey { kind: SetKind::Picture, id: u8::try_from(id).ok()? };
        self.sets.store(key, u8::try_from(sps).ok()?, nal);
        Some(key)
    }
}

fn slice(kind: u8, nal: &[u8]) -> Option<Slice> {
    let (head, length) = nal::unescape_head::<HEADER_BYTES>(&nal[HEADER..]);
    let mut bits = Bits::new(&head[..length]);
    let first = bits.flag()?;
    let random_access = (16..=23).contains(&kind);
    if random_access {
        bits.flag()?; // no_output_of_prior_pics_flag
    }
    let pps = u8::try_from(bits.ue()?).ok()?;
    Some(Slice {
        first,
        second_field: false,
        pps,
        random_access,
        // Which slices are intra stands behind fields of the picture set; random access points are what counts here.
        intra: random_access,
        skipped: matches!(kind, 8 | 9),
        // Even types below 16 are no reference for pictures of their own temporal layer.
        reference: kind >= 16 || kind % 2 == 1,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn survives_anything(nals in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..120), 0..20)) {
            let mut coding = H265::default();
            for mut nal in nals {
                coding.inspect(&nal);
                if let [first, second, ..] = nal.as_mut_slice() {
                    *first = (32 + (*first & 3)) << 1;
                    *second = 1;
                }
                coding.inspect(&nal);
                H265::begins_unit(&nal);
            }
            for pps in 0..=255 {
                coding.config(pps);
            }
        }
    }

    #[test]
    fn tells_roles_apart() {
        let mut coding = H265::default();
        assert_eq!(coding.inspect(&[35 << 1, 1, 0x50]), Role::Delimiter);
        assert_eq!(coding.inspect(&[39 << 1, 1, 0x50]), Role::Prefix);
        assert_eq!(coding.inspect(&[40 << 1, 1, 0x50]), Role::Suffix);
        assert_eq!(coding.inspect(&[38 << 1, 1, 0x50]), Role::Drop(None));
        assert_eq!(coding.inspect(&[32 << 1 | 1, 1, 0x50]), Role::Suffix);
        let Role::Slice(rasl) = coding.inspect(&[9 << 1, 1, 0xe0]) else { panic!("no slice") };
        assert!(rasl.first && rasl.skipped && rasl.reference && !rasl.random_access);
        let Role::Slice(cra) = coding.inspect(&[21 << 1, 1, 0xe0]) else { panic!("no slice") };
        assert!(cra.random_access && !cra.skipped);
    }
}
