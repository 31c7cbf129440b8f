//! Trickled candidates and ICE restarts (RFC 8840).

use super::answer::{self, Candidate};
use super::attribute;

/// Longest fragment, bytes.
const TEXT_MAX: usize = 16 << 10;

/// What a client sends while it connects, or to connect anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fragment {
    /// `ice-ufrag` and `ice-pwd`, when it has both.
    pub credentials: Option<(String, String)>,
    /// How many candidates it brings. They need not be known: an ICE lite agent is checked and never checks.
    pub candidates: usize,
}

impl Fragment {
    /// Reads a fragment. `None`: it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let lines = || text.lines().map(str::trim_end).filter(|line| !line.is_empty());
        if text.len() > TEXT_MAX || !lines().all(|line| line.as_bytes().get(1) == Some(&b'=')) {
            return None;
        }
        let value = |name| lines().find_map(|line| attribute(line, name)).map(str::to_owned);
        let is_ice = |text: &String| {
            (4..=256).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/')
        };
        let credentials = value("ice-ufrag").filter(is_ice).zip(value("ice-pwd").filter(is_ice));
        let candidates = lines().filter(|line| attribute(line, "candidate").is_some()).count();
        Some(Self { credentials, candidates })
    }

    /// The answer to a restart, from the engine's answer.
    pub fn answer(answer: &str, candidates: &[Candidate]) -> Option<String> {
        answer::fragment(answer, candidates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_counted_and_credentials_read() {
        let text = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\n\
                    a=mid:0\r\na=candidate:1 1 udp 2130706431 x.local 10000 typ host\r\na=end-of-candidates\r\n";
        let fragment = Fragment::parse(text).expect("a fragment");
        let credentials = ("EsAw".to_owned(), "P2uYro0UCOQ4zxjKXaWCBui1".to_owned());
        assert_eq!(fragment, Fragment { credentials: Some(credentials), candidates: 1 });
        assert_eq!(Fragment::parse("hello"), None);
        assert_eq!(Fragment::parse(&"a=x\n".repeat(10_000)), None);
        assert_eq!(Fragment::parse("a=ice-ufrag:a\r\na=ice-pwd:b c").and_then(|f| f.credentials), None);
    }
}
