//! What moqgate says once every port is bound: one line for programs, a few for people.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::SocketAddr;

/// What listens where.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bound {
    /// UDP, and TCP of the same number.
    pub(crate) moq: Option<SocketAddr>,
    /// UDP.
    pub(crate) srt: Option<SocketAddr>,
    /// TCP.
    pub(crate) rtmp: Option<SocketAddr>,
    /// UDP and TCP.
    pub(crate) webrtc: Option<SocketAddr>,
    /// TCP.
    pub(crate) http: Option<SocketAddr>,
    /// Whether an authority vouches for the certificate, as far as we know.
    pub(crate) is_certificate_configured: bool,
}

impl Bound {
    /// `ready`, and each listener as `key=address`.
    pub(crate) fn line(&self) -> String {
        let listeners = [
            ("moq", self.moq),
            ("srt", self.srt),
            ("rtmp", self.rtmp),
            ("webrtc", self.webrtc),
            ("http", self.http),
        ];
        listeners
            .into_iter()
            .filter_map(|(name, at)| Some((name, at?)))
            .fold("ready".to_owned(), |line, (name, at)| format!("{line} {name}={at}"))
    }

    /// What a browser on the same machine dials.
    pub(crate) fn moq_url(&self, host: &str) -> Option<String> {
        // Browsers fetch `/certificate.sha256` when the scheme is http, and believe what it names.
        let scheme = if self.is_certificate_configured { "https" } else { "http" };
        self.moq.map(|at| format!("{scheme}://{host}:{}/", at.port()))
    }

    /// Lines to paste, for the broadcast `name`.
    fn hints(&self, name: &str, is_playing: bool) -> String {
        let mut text = String::new();
        let host = |at: SocketAddr| match at.ip().is_unspecified() {
            true => format!("127.0.0.1:{}", at.port()),
            false => at.to_string(),
        };
        if let Some(at) = self.srt.map(host).filter(|_| !is_playing) {
            let _ = writeln!(
                text,
                "  ffmpeg   ffmpeg -re -i INPUT -c:v libx264 -c:a aac -f mpegts 'srt://{at}?streamid=publish:{name}'\n  \
                 OBS      Settings > Stream > Custom, Server: srt://{at}?streamid=publish:{name}"
            );
        }
        if let (Some(at), Some((app, key))) =
            (self.rtmp.map(host).filter(|_| !is_playing), name.rsplit_once('/'))
        {
            let _ = writeln!(text, "           or       Server: rtmp://{at}/{app}   Stream Key: {key}");
        }
        if let Some(url) = self.moq_url("127.0.0.1") {
            let _ = writeln!(
                text,
                "  browser  <moq-watch url=\"{url}\" name=\"{name}\"><canvas></canvas></moq-watch>"
            );
        }
        if let Some(at) = self.http.map(host) {
            let _ = writeln!(text, "  look     http://{at}/   watch: http://{at}/watch?name={name}");
        }
        text
    }

    /// Tells programs on standard output and people on standard error.
    pub(crate) fn announce(&self, playing: Option<&str>) -> io::Result<()> {
        let mut output = io::stdout().lock();
        writeln!(output, "{}", self.line())?;
        output.flush()?;
        let hints = self.hints(playing.unwrap_or("live/cam0"), playing.is_some());
        write!(io::stderr().lock(), "moqgate {} is ready\n{hints}", env!("CARGO_PKG_VERSION"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound() -> Bound {
        let at = |text: &str| text.parse().ok();
        Bound {
            moq: at("[::]:4443"),
            srt: at("127.0.0.1:9000"),
            rtmp: at("127.0.0.1:1935"),
            webrtc: at("127.0.0.1:8189"),
            http: None,
            is_certificate_configured: false,
        }
    }

    #[test]
    fn the_line_names_what_listens() {
        assert_eq!(
            bound().line(),
            "ready moq=[::]:4443 srt=127.0.0.1:9000 rtmp=127.0.0.1:1935 webrtc=127.0.0.1:8189"
        );
        assert_eq!(Bound::default().line(), "ready");
    }

    #[test]
    fn hints_can_be_pasted() {
        let hints = bound().hints("live/cam0", false);
        assert!(hints.contains("'srt://127.0.0.1:9000?streamid=publish:live/cam0'"), "{hints}");
        assert!(hints.contains("Server: rtmp://127.0.0.1:1935/live   Stream Key: cam0"), "{hints}");
        assert!(hints.contains("url=\"http://127.0.0.1:4443/\" name=\"live/cam0\""), "{hints}");
        assert!(!hints.contains("look"), "{hints}");
        let trusted = Bound { is_certificate_configured: true, ..bound() };
        assert_eq!(trusted.moq_url("a.example").as_deref(), Some("https://a.example:4443/"));
    }
}
