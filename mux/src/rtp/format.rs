//! What is negotiated about a payload: the coding and its format parameters.

use bytes::Bytes;

/// Codings with an RTP payload format here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// H.264 (RFC 6184).
    H264,
    /// H.265 (RFC 7798).
    H265,
    /// VP8 (RFC 7741).
    Vp8,
    /// VP9 (RFC 9628).
    Vp9,
    /// AV1 (AOM).
    Av1,
    /// Opus (RFC 7587).
    Opus,
}

impl Codec {
    /// The coding of an `a=rtpmap` encoding name, whose case does not matter.
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Self::H264, Self::H265, Self::Vp8, Self::Vp9, Self::Av1, Self::Opus];
        all.into_iter().find(|codec| codec.name().eq_ignore_ascii_case(name))
    }

    /// The encoding name.
    pub fn name(self) -> &'static str {
        match self {
            Self::H264 => "H264",
            Self::H265 => "H265",
            Self::Vp8 => "VP8",
            Self::Vp9 => "VP9",
            Self::Av1 => "AV1",
            Self::Opus => "opus",
        }
    }

    /// Ticks per second of its timestamps.
    pub fn clock_rate(self) -> u32 {
        if self.is_video() { 90_000 } else { 48_000 }
    }

    /// Pictures, not sound.
    pub fn is_video(self) -> bool {
        self != Self::Opus
    }
}

/// A payload format as offered or answered: one `a=rtpmap` with its `a=fmtp`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    codec: Codec,
    /// Names in lower case.
    parameters: Vec<(String, String)>,
}

impl Format {
    /// `codec` with the parameters of an `a=fmtp` line, without its payload type: `profile-level-id=42e01f;packetization-mode=1`.
    pub fn new(codec: Codec, fmtp: &str) -> Self {
        let parameters = fmtp
            .split(';')
            .filter_map(|parameter| {
                let (name, value) = parameter.trim().split_once('=').unwrap_or((parameter.trim(), ""));
                (!name.is_empty()).then(|| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
            })
            .collect();
        Self { codec, parameters }
    }

    /// The coding.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// The value of a parameter, whose name is given in lower case.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Parameter sets that were given beside the stream (`sprop-parameter-sets` of RFC 6184, `sprop-vps`, `sprop-sps`
    /// and `sprop-pps` of RFC 7798), without start codes. What is no base64 is left out.
    pub fn parameter_sets(&self) -> Vec<Bytes> {
        ["sprop-vps", "sprop-sps", "sprop-pps", "sprop-parameter-sets"]
            .into_iter()
            .filter_map(|name| self.parameter(name))
            .flat_map(|sets| sets.split(','))
            .filter_map(base64)
            .filter(|set| !set.is_empty())
            .map(Bytes::from)
            .take(SETS_MAX)
            .collect()
    }
}

/// Parameter sets that are taken from a session description; real ones have three.
const SETS_MAX: usize = 32;

/// Decodes base64 (RFC 4648 section 4), with or without padding.
fn base64(text: &str) -> Option<Vec<u8>> {
    let (mut bits, mut held, mut bytes) = (0u32, 0, Vec::with_capacity(text.len()));
    for letter in text.trim().trim_end_matches('=').bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.extend(u8::try_from(bits >> held & 0xff));
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_as_they_come() {
        let format =
            Format::new(Codec::H264, " profile-level-id=42e01f; Packetization-Mode=1;;x-google-flag ;");
        assert_eq!(format.parameter("profile-level-id"), Some("42e01f"));
        assert_eq!(format.parameter("packetization-mode"), Some("1"));
        assert_eq!(format.parameter("x-google-flag"), Some(""));
        assert_eq!(format.parameter("stereo"), None);
        assert_eq!(Codec::from_name("VP8"), Some(Codec::Vp8));
        assert_eq!(Codec::from_name("OPUS"), Some(Codec::Opus));
        assert_eq!(Codec::from_name("rtx"), None);
    }

    #[test]
    fn line_57_sets_may_stand_in_the_description() {
        // The example of RFC 6184 section 8.2.1.
        let format = Format::new(Codec::H264, "sprop-parameter-sets=Z0IACpZTBYmI,aMljiA==");
        let sets = format.parameter_sets();
        assert_eq!(sets, [&b"\x67\x42\0\x0a\x96\x53\x05\x89\x88"[..], b"\x68\xc9\x63\x88"]);
        assert!(Format::new(Codec::H264, "sprop-parameter-sets=!,").parameter_sets().is_empty());
        let many = format!("sprop-sps={}", "QgE,".repeat(1000));
        assert_eq!(Format::new(Codec::H265, &many).parameter_sets().len(), SETS_MAX);
    }
}
