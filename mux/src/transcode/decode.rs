//! AAC to samples.

use symphonia_codec_aac::AacDecoder;
use symphonia_core::audio::{Audio, GenericAudioBufferRef};
use symphonia_core::codecs::audio::well_known::CODEC_ID_AAC;
use symphonia_core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia_core::packet::PacketRef;
use symphonia_core::units::{Duration, Timestamp};

use super::TranscodeError;
use crate::codec::aac::RATES;
use crate::codec::bits::BitWriter;
use crate::codec::latm::{self, Core};

/// `audioObjectType` of Low Complexity.
const LC: u32 = 2;

/// Samples of the units that can be decoded.
const SAMPLES: u32 = 1024;

/// Decodes the Low Complexity core.
pub(super) struct Decoder {
    aac: AacDecoder,
    core: Core,
}

impl Decoder {
    pub(super) fn new(specific_config: &[u8]) -> Result<Self, TranscodeError> {
        let core = latm::read_core(specific_config).ok_or(TranscodeError::Config)?;
        let unsupported = |reason| Err(TranscodeError::Unsupported(reason));
        if core.object != LC {
            return unsupported("its object type is not Low Complexity");
        }
        if core.channels > 2 {
            return unsupported("it has more than two channels");
        }
        if core.samples != SAMPLES {
            return unsupported("its frames have 960 samples");
        }
        let mut parameters = AudioCodecParameters::new();
        parameters.for_codec(CODEC_ID_AAC).with_extra_data(low_complexity(core).into());
        let aac = AacDecoder::try_new(&parameters, &AudioDecoderOptions::default());
        let aac = aac.map_err(|_error| TranscodeError::Unsupported("the decoder does not know it"))?;
        Ok(Self { aac, core })
    }

    /// Hertz.
    pub(super) fn rate(&self) -> u32 {
        self.core.rate
    }

    pub(super) fn channels(&self) -> usize {
        if self.core.channels == 1 { 1 } else { 2 }
    }

    /// Samples per channel of a unit.
    pub(super) fn samples(&self) -> u32 {
        SAMPLES
    }

    /// Something is added to the core that is not decoded: band replication or parametric stereo.
    pub(super) fn is_core_only(&self) -> bool {
        self.core.declared != LC
    }

    /// Appends the samples of a unit, channel by channel in turns. False when it cannot be decoded; silence then stands
    /// for it.
    pub(super) fn decode(&mut self, unit: &[u8], out: &mut Vec<f32>) -> bool {
        let begin = out.len();
        let expected = SAMPLES as usize * self.channels();
        let packet = PacketRef::new(0, Timestamp::ZERO, Duration::ZERO, unit);
        if let Ok(GenericAudioBufferRef::F32(decoded)) = self.aac.decode_ref(&packet) {
            out.extend(decoded.iter_interleaved());
        }
        let whole = out.len() - begin == expected;
        out.resize(begin + expected, 0.0);
        whole
    }
}

/// An AudioSpecificConfig of the core alone.
fn low_complexity(core: Core) -> Vec<u8> {
    const EXPLICIT: u32 = 15;
    let mut bits = BitWriter::default();
    bits.write(LC, 5);
    match RATES.iter().zip(0..).find(|(rate, _)| **rate == core.rate) {
        Some((_, index)) => bits.write(index, 4),
        None => {
            bits.write(EXPLICIT, 4);
            bits.write(core.rate, 24);
        }
    }
    bits.write(core.channels, 4);
    bits.write(0, 3);
    bits.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(config: &[u8]) -> Option<TranscodeError> {
        Decoder::new(config).err()
    }

    #[test]
    fn what_cannot_be_decoded_is_said() {
        assert_eq!(refusal(&[]), Some(TranscodeError::Config));
        assert_eq!(
            refusal(&[0x11, 0xb0]),
            Some(TranscodeError::Unsupported("it has more than two channels"))
        );
        assert_eq!(refusal(&[0x11, 0x94]), Some(TranscodeError::Unsupported("its frames have 960 samples")));
        let main = Some(TranscodeError::Unsupported("its object type is not Low Complexity"));
        assert_eq!(refusal(&[0x09, 0x90]), main);
        for (config, rate, channels) in [([0x12, 0x10], 44_100, 2), ([0x11, 0x88], 48_000, 1)] {
            let decoder = Decoder::new(&config).unwrap();
            assert_eq!((decoder.rate(), decoder.channels(), decoder.is_core_only()), (rate, channels, false));
        }
    }

    #[test]
    fn of_he_aac_the_core_is_decoded() {
        // Object type 5 over 24 kHz, to 48 kHz, stereo; and 29.
        for config in [[0x2b, 0x11, 0x88, 0x00], [0xeb, 0x09, 0x88, 0x00]] {
            let decoder = Decoder::new(&config).unwrap();
            assert_eq!((decoder.rate(), decoder.is_core_only()), (24_000, true));
        }
    }

    #[test]
    fn damage_is_silence() {
        let mut decoder = Decoder::new(&[0x12, 0x10]).unwrap();
        let mut out = Vec::new();
        assert!(!decoder.decode(&[0x5f; 40], &mut out));
        assert_eq!(out, vec![0.0; 2048]);
    }
}
