//! The smallest elementary streams that a parser accepts.

/// H.264 baseline 320x240, written bit by bit.
pub(crate) mod h264 {
    use super::Bits;

    pub(crate) const START: [u8; 4] = [0, 0, 0, 1];

    pub(crate) fn sps() -> Vec<u8> {
        sps_of(19, 14)
    }

    /// Sizes in macroblocks, minus one.
    pub(crate) fn sps_of(width: u32, height: u32) -> Vec<u8> {
        let mut bits = Bits::new(&[0x67, 66, 0xc0, 30]);
        // id 0, frame_num of 4 bits, POC type 2, 1 reference
        bits.ue(0).ue(0).ue(2).ue(1).u(1, 0).ue(width).ue(height);
        // frames only, direct 8x8, no crop, no VUI
        bits.u(1, 1).u(1, 1).u(1, 0).u(1, 0);
        bits.finish()
    }

    /// Main profile, which does not say how far it reorders pictures.
    pub(crate) fn sps_main() -> Vec<u8> {
        let mut bits = Bits::new(&[0x67, 77, 0x40, 30]);
        // id 0, frame_num of 4 bits, POC type 0 of 4 bits, 1 reference
        bits.ue(0).ue(0).ue(0).ue(0).ue(1).u(1, 0).ue(19).ue(14);
        bits.u(1, 1).u(1, 1).u(1, 0).u(1, 0);
        bits.finish()
    }

    pub(crate) fn pps(id: u32) -> Vec<u8> {
        let mut bits = Bits::new(&[0x68]);
        bits.ue(id).ue(0).u(2, 0).ue(0).ue(0).ue(0).u(3, 0).ue(0).ue(0).ue(0).u(3, 0b100);
        bits.finish()
    }

    /// The first slice of an IDR picture, or a later slice of it.
    pub(crate) fn idr(first_mb: u32) -> Vec<u8> {
        let mut bits = Bits::new(&[0x65]);
        bits.ue(first_mb).ue(7).ue(0).u(4, 0).ue(0);
        bits.tail()
    }

    /// An intra picture that is no IDR.
    pub(crate) fn intra(frame: u32) -> Vec<u8> {
        let mut bits = Bits::new(&[0x41]);
        bits.ue(0).ue(7).ue(0).u(4, frame);
        bits.tail()
    }

    pub(crate) fn inter(frame: u32, first_mb: u32) -> Vec<u8> {
        let mut bits = Bits::new(&[0x41]);
        bits.ue(first_mb).ue(5).ue(0).u(4, frame);
        bits.tail()
    }

    /// Recovery point SEI with recovery_frame_cnt 0.
    pub(crate) fn recovery_point() -> Vec<u8> {
        vec![0x06, 6, 1, 0b1100_0100, 0x80]
    }

    pub(crate) fn aud() -> Vec<u8> {
        vec![0x09, 0xf0]
    }

    pub(crate) fn unit(nals: &[Vec<u8>]) -> Vec<u8> {
        nals.iter().flat_map(|nal| START.into_iter().chain(nal.iter().copied())).collect()
    }

    /// An access unit with AUD and parameter sets.
    pub(crate) fn key() -> Vec<u8> {
        unit(&[aud(), sps(), pps(0), idr(0)])
    }

    pub(crate) fn delta(frame: u32) -> Vec<u8> {
        unit(&[aud(), inter(frame % 16, 0)])
    }

    /// The NAL units of an Annex B unit, without start codes.
    pub(crate) fn split(unit: &[u8]) -> Vec<Vec<u8>> {
        let mut nals: Vec<Vec<u8>> = Vec::new();
        let mut rest = unit;
        while let Some(at) = rest.windows(3).position(|three| three == [0, 0, 1]) {
            if let Some(open) = nals.last_mut() {
                open.extend(&rest[..at]);
                while open.last() == Some(&0) {
                    open.pop();
                }
            }
            nals.push(Vec::new());
            rest = &rest[at + 3..];
        }
        if let Some(open) = nals.last_mut() {
            open.extend(rest);
        }
        nals
    }

    pub(crate) fn types(unit: &[u8]) -> Vec<u8> {
        split(unit).iter().map(|nal| nal[0] & 0x1f).collect()
    }
}

/// AAC-LC in ADTS.
pub(crate) mod adts {
    /// One frame at 48 kHz with a payload of `fill` bytes.
    pub(crate) fn frame(fill: u8, length: usize, channels: u8) -> Vec<u8> {
        let size = (length + 7) as u32;
        let mut bytes = vec![
            0xff,
            0xf1,
            0x4c | channels >> 2,
            channels << 6 | (size >> 11) as u8,
            (size >> 3) as u8,
            (size << 5) as u8 | 0x1f,
            0xfc,
        ];
        bytes.extend(std::iter::repeat_n(fill, length));
        bytes
    }

    /// Ticks of one frame.
    pub(crate) const TICKS: i64 = 1920;
}

/// Writes bits and Exp-Golomb codes.
pub(crate) struct Bits {
    bytes: Vec<u8>,
    used: u32,
}

impl Bits {
    fn new(head: &[u8]) -> Self {
        Self { bytes: head.to_vec(), used: 0 }
    }

    fn u(&mut self, count: u32, value: u32) -> &mut Self {
        for bit in (0..count).rev() {
            if self.used == 0 {
                self.bytes.push(0);
            }
            *self.bytes.last_mut().unwrap() |= ((value >> bit & 1) as u8) << (7 - self.used);
            self.used = (self.used + 1) % 8;
        }
        self
    }

    fn ue(&mut self, value: u32) -> &mut Self {
        let length = 32 - (value + 1).leading_zeros();
        self.u(length - 1, 0).u(length, value + 1)
    }

    /// rbsp_trailing_bits.
    fn finish(&mut self) -> Vec<u8> {
        self.u(1, 1);
        self.bytes.clone()
    }

    /// Slice data: anything without zeros.
    fn tail(&mut self) -> Vec<u8> {
        self.u(1, 1).u(8, 0xa5).u(8, 0x5a).u(8, 0x77);
        let mut bytes = self.bytes.clone();
        bytes.extend([0x5a; 12]);
        bytes
    }
}
