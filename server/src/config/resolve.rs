//! From what was written to what it means: defaults filled in, limits checked, sections that contradict refused.

use std::path::Path as FilePath;
use std::time::Duration;

use moqgate_core::{Path, Secret};
use url::Url;

use super::auth::{admin_token, auth};
use super::objective::RawObjective;
use super::raw::{self, Raw};
use super::value::{Hidden, Listen, Span};
use super::{Cli, Config, ConfigError, Http, IceServer, Relay, Rtmp, Srt, Tls, Trust, Usage, Webrtc, call};
use crate::ledger::{Export, Token};

const MOQ_PORT: u16 = 4443;
const SRT_PORT: u16 = 9000;
const RTMP_PORT: u16 = 1935;
const WEBRTC_PORT: u16 = 8189;
const HTTP_PORT: u16 = 8080;
/// Schemes of servers that help through a NAT (RFC 7064, RFC 7065).
const ICE_SCHEMES: [&str; 4] = ["stun", "stuns", "turn", "turns"];
/// Long enough for a viewer to follow a GOAWAY, shorter than what orchestrators wait before they kill.
const GRACE: Duration = Duration::from_secs(10);
/// A few groups of an encoder with a keyframe every 2 s, so that a viewer who fell behind by one still finds it.
const RETENTION_AGE: Duration = Duration::from_secs(10);
/// 25 Mbit/s for those 10 s.
const RETENTION_BYTES: usize = 32 << 20;
/// libsrt's own default.
const SRT_LATENCY: Duration = Duration::from_millis(120);
/// The latency travels as 16 bits of milliseconds.
const SRT_LATENCY_MAX: Duration = Duration::from_secs(60);
/// An encoder needs some seconds to start.
const PLAY_WAIT: Duration = Duration::from_secs(10);
/// Browsers that are refused ask again, and a request is not held for long.
const OFFER_WAIT: Duration = Duration::from_secs(2);
/// A player that waits holds a connection.
const PLAY_WAIT_MAX: Duration = Duration::from_secs(3600);
/// What libsrt accepts as a passphrase, in bytes.
const SRT_PASSPHRASE_BYTES: std::ops::RangeInclusive<usize> = 10..=79;
/// What an invoice can bear to lose, and a disk to write.
const USAGE_INTERVAL: Duration = Duration::from_secs(10);
/// Below, a record is as large as what it counts; above, too much is lost with a process.
const USAGE_INTERVALS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(3600);
/// A year and a month to object to its last invoice.
const USAGE_KEEP: Duration = Duration::from_secs(400 * 86_400);
/// A day of an endpoint that is down must not cost a record.
const USAGE_KEEP_MIN: Duration = Duration::from_secs(86_400);
const RELAY_SCHEMES: [&str; 4] = ["https", "http", "moqt", "moql"];

impl Config {
    /// Reads the file that the command line names, if it names one, and puts both together.
    pub(crate) fn load(cli: Cli) -> Result<Self, ConfigError> {
        let file = match &cli.config {
            Some(path) => read(path)?,
            None => Raw::default(),
        };
        Self::resolve(cli.raw.or(file))
    }

    fn resolve(raw: Raw) -> Result<Self, ConfigError> {
        let has_data_dir = raw.data_dir.is_some();
        Ok(Self {
            node: raw.node.map_or_else(|| Ok(host_name()), node)?,
            log: raw.log.unwrap_or_else(|| "info".to_owned()),
            grace: raw.grace.map_or(GRACE, |Span(grace)| grace),
            data_dir: raw.data_dir.clone(),
            objectives: raw
                .objective
                .unwrap_or_default()
                .into_iter()
                .map(RawObjective::resolve)
                .collect::<Result<_, _>>()?,
            trusted_relays: raw.moq.trust_downstream_from.unwrap_or_default(),
            stats: raw.moq.stats.unwrap_or(false),
            tls: tls(raw.tls)?,
            retention_age: raw.retention.age.map_or(RETENTION_AGE, |Span(age)| age),
            retention_bytes: raw.retention.bytes.unwrap_or(RETENTION_BYTES),
            moq: listen(raw.moq.listen, MOQ_PORT).address(),
            srt: srt(raw.srt)?,
            rtmp: rtmp(&raw.rtmp)?,
            webrtc: webrtc(raw.webrtc)?,
            http: http(&raw.http),
            auth: auth(raw.auth, has_data_dir)?,
            admin_token: admin_token(raw.admin)?,
            usage: usage(raw.usage, has_data_dir)?,
            relays: relays(raw.relay)?,
            pushes: call::pushes(raw.push)?,
            pulls: call::pulls(raw.pull)?,
        })
    }
}

fn read(path: &FilePath) -> Result<Raw, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    toml::from_str(&text).map_err(|error| ConfigError::Parse {
        path: path.to_owned(),
        line: error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1),
        message: error.message().replace('\n', " "),
    })
}

fn listen(said: Option<Listen>, port: u16) -> Listen {
    said.unwrap_or(Listen::Any(port))
}

fn node(name: String) -> Result<String, ConfigError> {
    match name.is_empty() || name.chars().any(char::is_control) {
        true => Err(ConfigError::value("node", "must be a visible name")),
        false => Ok(name),
    }
}

/// The kernel's name of this machine; reports of several machines are told apart by it.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "moqgate".to_owned(),
        name => name.to_owned(),
    }
}

fn tls(raw: raw::Tls) -> Result<Option<Tls>, ConfigError> {
    match (raw.cert, raw.key) {
        (None, None) => Ok(None),
        (Some(cert), Some(key)) => Ok(Some(Tls { cert, key })),
        (Some(_), None) => Err(ConfigError::value("tls.key", "is missing beside tls.cert")),
        (None, Some(_)) => Err(ConfigError::value("tls.cert", "is missing beside tls.key")),
    }
}

fn usage(raw: raw::Usage, has_data_dir: bool) -> Result<Usage, ConfigError> {
    let interval = raw.interval.map_or(USAGE_INTERVAL, |Span(interval)| interval);
    if !USAGE_INTERVALS.contains(&interval) {
        return Err(ConfigError::value("usage.interval", "must lie between 100ms and 1h"));
    }
    let keep = raw.keep.map_or(USAGE_KEEP, |Span(keep)| keep);
    if keep < USAGE_KEEP_MIN {
        return Err(ConfigError::value("usage.keep", "must be at least 24h"));
    }
    if raw.export_url.is_some() && !has_data_dir {
        return Err(ConfigError::value("usage.export-url", "needs data-dir, where records wait"));
    }
    Ok(Usage { interval, keep, export: export(raw)? })
}

fn export(raw: raw::Usage) -> Result<Option<Export>, ConfigError> {
    let token = match (raw.export_token, raw.export_token_file) {
        (None, None) => None,
        (Some(Hidden(secret)), None) => Some(Token::Here(secret)),
        (None, Some(file)) => Some(Token::File(file)),
        (Some(_), Some(_)) => {
            return Err(ConfigError::value("usage.export-token", "contradicts usage.export-token-file"));
        }
    };
    let Some(text) = raw.export_url else { return Ok(None) };
    match Url::parse(&text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {
            Ok(Some(Export { url, token }))
        }
        Ok(_) | Err(_) => Err(ConfigError::value("usage.export-url", format!("{text:?} is not an HTTP URL"))),
    }
}

fn srt(raw: raw::Srt) -> Result<Option<Srt>, ConfigError> {
    let latency = raw.latency.map_or(SRT_LATENCY, |Span(latency)| latency);
    if latency > SRT_LATENCY_MAX {
        return Err(ConfigError::value("srt.latency", "must be at most 60 s"));
    }
    let play_wait = wait("srt.play-wait", raw.play_wait, PLAY_WAIT)?;
    let passphrase = raw.passphrase.map(|Hidden(secret)| secret);
    if passphrase.as_ref().is_some_and(|secret| !SRT_PASSPHRASE_BYTES.contains(&secret.expose().len())) {
        return Err(ConfigError::value("srt.passphrase", "must have 10 to 79 bytes"));
    }
    let default_path = raw.default_path.map(|path| broadcast_path("srt.default-path", &path)).transpose()?;
    let listen = listen(raw.listen, SRT_PORT).address();
    Ok(listen.map(|listen| Srt { listen, latency, play_wait, passphrase, default_path }))
}

fn rtmp(raw: &raw::Rtmp) -> Result<Option<Rtmp>, ConfigError> {
    let play_wait = wait("rtmp.play-wait", raw.play_wait, PLAY_WAIT)?;
    Ok(listen(raw.listen, RTMP_PORT).address().map(|listen| Rtmp { listen, play_wait }))
}

fn wait(key: &'static str, said: Option<Span>, default: Duration) -> Result<Duration, ConfigError> {
    match said.map_or(default, |Span(wait)| wait) {
        wait if wait > PLAY_WAIT_MAX => Err(ConfigError::value(key, "must be at most 1 h")),
        wait => Ok(wait),
    }
}

pub(super) fn broadcast_path(key: &'static str, text: &str) -> Result<Path, ConfigError> {
    match Path::new(text) {
        Ok(path) if path.is_root() => Err(ConfigError::value(key, "must not be empty")),
        Ok(path) => Ok(path),
        Err(error) => Err(ConfigError::value(key, error.to_string())),
    }
}

fn webrtc(raw: raw::Webrtc) -> Result<Option<Webrtc>, ConfigError> {
    let servers = raw.ice_server.unwrap_or_default();
    let ice_servers = servers.iter().map(|Hidden(url)| ice_server(url.expose())).collect::<Result<_, _>>()?;
    let hosts = raw.host.unwrap_or_default();
    if hosts.iter().any(|host| host.is_empty() || host.contains(['/', ' '])) {
        return Err(ConfigError::value("webrtc.host", "must be an address or a name, without a port"));
    }
    let offer_wait = wait("webrtc.offer-wait", raw.offer_wait, OFFER_WAIT)?;
    let play_wait = wait("webrtc.play-wait", raw.play_wait, PLAY_WAIT)?;
    let listen = listen(raw.listen, WEBRTC_PORT).address();
    Ok(listen.map(|listen| Webrtc { listen, hosts, ice_servers, offer_wait, play_wait }))
}

/// `stun:host:port`, or `turn:user:password@host:port?transport=udp`.
fn ice_server(text: &str) -> Result<IceServer, ConfigError> {
    let wrong =
        || ConfigError::value("webrtc.ice-server", "must be stun:host:port or turn:user:password@host:port");
    let (scheme, rest) = text.split_once(':').ok_or_else(wrong)?;
    if !ICE_SCHEMES.contains(&scheme) || rest.is_empty() || rest.starts_with('/') {
        return Err(wrong());
    }
    let Some((login, host)) = rest.rsplit_once('@') else {
        return Ok(IceServer { url: text.to_owned(), login: None });
    };
    let (user, password) = login.split_once(':').ok_or_else(wrong)?;
    let url = format!("{scheme}:{host}");
    Ok(IceServer { url, login: Some((user.to_owned(), Secret::new(password))) })
}

fn http(raw: &raw::Http) -> Option<Http> {
    let listen = listen(raw.listen, HTTP_PORT).address()?;
    Some(Http { listen, metrics_per_broadcast: raw.metrics_per_broadcast.unwrap_or(false) })
}

fn relays(raw: raw::Relay) -> Result<Vec<Relay>, ConfigError> {
    let trust = match (raw.tls_insecure.unwrap_or(false), raw.tls_fingerprint) {
        (false, None) => Trust::System,
        (true, None) => Trust::Anything,
        (false, Some(hex)) => Trust::Fingerprint(fingerprint("relay.tls-fingerprint", &hex)?),
        (true, Some(_)) => {
            return Err(ConfigError::value("relay.tls-insecure", "contradicts relay.tls-fingerprint"));
        }
    };
    let mut relays: Vec<Relay> = Vec::new();
    for text in raw.url.unwrap_or_default() {
        let url = relay_url(&text)?;
        if relays.iter().all(|relay| relay.url != url) {
            relays.push(Relay { url, trust: trust.clone() });
        }
    }
    Ok(relays)
}

fn relay_url(text: &str) -> Result<Url, ConfigError> {
    match Url::parse(text) {
        Ok(url) if RELAY_SCHEMES.contains(&url.scheme()) && url.has_host() => Ok(url),
        _ => Err(ConfigError::value(
            "relay.url",
            format!("{text:?} is not an https://, http://, moqt:// or moql:// address"),
        )),
    }
}

pub(super) fn fingerprint(key: &'static str, hex: &str) -> Result<[u8; 32], ConfigError> {
    let wrong = || ConfigError::value(key, "a certificate's SHA-256 must have 64 hex digits");
    let digits: Vec<u8> = hex
        .chars()
        .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()))
        .collect::<Option<_>>()
        .ok_or_else(wrong)?;
    let pairs = digits.chunks_exact(2);
    let bytes: Vec<u8> = pairs.map(|pair| pair.iter().fold(0, |sum, digit| sum * 16 + digit)).collect();
    bytes.try_into().map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn written(flags: &[&str], file: &str) -> Raw {
        let cli = Cli::try_parse_from(["moqgate"].iter().chain(flags)).expect("the flags parse");
        cli.raw.or(toml::from_str(file).expect("the file parses"))
    }

    fn config(flags: &[&str], file: &str) -> Result<Config, ConfigError> {
        Config::resolve(written(flags, file))
    }

    fn refusal(flags: &[&str], file: &str) -> String {
        config(flags, file).expect_err("a refusal").to_string()
    }

    #[test]
    fn nothing_said_is_everything_on() {
        let config = config(&[], "").expect("defaults are right");
        assert_eq!(config.moq.map(|address| address.port()), Some(4443));
        assert_eq!(config.srt.as_ref().map(|srt| srt.listen.port()), Some(9000));
        assert_eq!(config.srt.map(|srt| srt.latency), Some(Duration::from_millis(120)));
        assert_eq!(config.rtmp.map(|rtmp| rtmp.listen.port()), Some(1935));
        assert_eq!(config.webrtc.map(|webrtc| webrtc.listen.port()), Some(8189));
        assert_eq!(
            config.http.map(|http| (http.listen.port(), http.metrics_per_broadcast)),
            Some((8080, false))
        );
        assert_eq!(config.grace, Duration::from_secs(10));
        assert!(config.tls.is_none() && config.relays.is_empty() && !config.node.is_empty());
    }

    #[test]
    fn a_flag_wins_over_the_file_and_its_default_does_not() {
        let file = "node = 'file'\n[srt]\nlisten = '127.0.0.1:7001'\nlatency = '1s'\n[http]\nlisten = 'off'";
        let config = config(&["--srt-listen", "127.0.0.1:7002"], file).expect("a right configuration");
        let srt = config.srt.expect("SRT is on");
        assert_eq!(srt.listen.port(), 7002);
        assert_eq!(srt.latency, Duration::from_secs(1));
        assert_eq!(config.node, "file");
        assert!(config.http.is_none());
    }

    #[test]
    fn servers_for_clients_are_told_apart_from_their_passwords() {
        let flags = ["--webrtc-ice-server", "stun:stun.example.net:3478,turn:me:se@cret@turn.example.net"];
        let servers = config(&flags, "").expect("right servers").webrtc.expect("it is on").ice_servers;
        let login = Some(("me".to_owned(), Secret::new("se@cret")));
        assert_eq!(
            servers,
            [
                IceServer { url: "stun:stun.example.net:3478".into(), login: None },
                IceServer { url: "turn:turn.example.net".into(), login },
            ]
        );
    }

    #[test]
    fn values_that_make_no_sense_name_their_key() {
        for (flags, key) in [
            (&["--tls-cert", "a.pem"][..], "tls.key"),
            (&["--tls-key", "a.pem"], "tls.cert"),
            (&["--srt-passphrase", "short"], "srt.passphrase"),
            (&["--srt-latency", "61s"], "srt.latency"),
            (&["--srt-play-wait", "61m"], "srt.play-wait"),
            (&["--rtmp-play-wait", "61m"], "rtmp.play-wait"),
            (&["--webrtc-offer-wait", "61m"], "webrtc.offer-wait"),
            (&["--webrtc-play-wait", "61m"], "webrtc.play-wait"),
            (&["--srt-default-path", "/"], "srt.default-path"),
            (&["--relay", "relay.example.com"], "relay.url"),
            (&["--relay", "https://"], "relay.url"),
            (&["--relay-tls-fingerprint", "abc"], "relay.tls-fingerprint"),
            (&["--relay-tls-insecure", "--relay-tls-fingerprint", "x"], "relay.tls-insecure"),
            (&["--relay", "srt://host"], "relay.url"),
            (&["--webrtc-ice-server", "http://host"], "webrtc.ice-server"),
            (&["--webrtc-host", "a/b"], "webrtc.host"),
            (&["--node", ""], "node"),
            (&["--push", "=rtmp://h/app/key"], "push"),
            (&["--push", "live/a=http://h/app/key"], "push"),
            (&["--push", "live/a=rtmp://h/app"], "push"),
            (&["--pull", "live/a=srt://h"], "pull"),
            (
                &["--pull", "live/a=srt://h:1", "--pull", "live/a=rtmp://h/a/b"],
                "pull: live/a has two sources",
            ),
            (&["--usage-interval", "99ms"], "usage.interval"),
            (&["--usage-keep", "23h"], "usage.keep"),
            (&["--auth", "keys"], "auth.mode"),
            (&["--auth", "jwt"], "auth.mode"),
            (&["--auth", "webhook"], "auth.mode"),
            (&["--auth-url", "ftp://host"], "auth.url"),
            (&["--auth-url", "http://host", "--auth-timeout", "11s"], "auth.timeout"),
            (&["--anonymous-play", "a**"], "auth.anonymous-play"),
            (&["--admin-token", "short"], "admin.token"),
            (&["--usage-export-url", "http://a"], "usage.export-url"),
            (&["--data-dir", "/tmp", "--usage-export-url", "ftp://a"], "usage.export-url"),
            (&["--usage-export-token", "a", "--usage-export-token-file", "b"], "usage.export-token"),
        ] {
            assert!(refusal(flags, "").starts_with(key), "{flags:?}: {}", refusal(flags, ""));
        }
    }

    #[test]
    fn relays_are_listed_once_each_with_their_trust() {
        let relays = config(
            &["--relay", "https://a/x", "--relay", "moqt://b,https://a/x", "--relay-tls-insecure"],
            "[relay]\nurl = ['https://file']",
        )
        .expect("right relays")
        .relays;
        let urls: Vec<_> = relays.iter().map(|relay| relay.url.as_str()).collect();
        assert_eq!(urls, ["https://a/x", "moqt://b"]);
        assert!(relays.iter().all(|relay| relay.trust == Trust::Anything));
    }

    #[test]
    fn servers_to_call_are_tables_or_words() {
        let file = "[[push]]\npath = 'live/a'\nurl = 'rtmps://h/app/k3y'\ntls-fingerprint = '".to_owned()
            + &"00".repeat(32)
            + "'\n[[push]]\npath = 'live/a'\nurl = 'srt://h:9000?streamid=#!::r=a,m=publish'\n";
        let right = config(&["--pull", "live/b=rtmp://u:p@h/app/key?x=y"], &file).expect("right calls");
        assert!(matches!(&right.pushes[..], [rtmps, srt]
            if rtmps.trust == Trust::Fingerprint([0; 32]) && matches!(&srt.remote, call::Remote::Srt(_))));
        assert!(matches!(&right.pulls[..], [pull] if pull.path.as_str() == "live/b"));
        let said = refusal(&[], "[[push]]\npath = 'live/a'\nurl = 'rtmp://h/k3y'\n");
        assert!(!said.contains("k3y") && said.contains("live/a"), "{said}");
        let odd = "[[pull]]\npath = 'a'\nurl = 'srt://h:1'\ntls-fingerprint = '00'\n";
        assert!(refusal(&[], odd).starts_with("pull"));
    }

    #[test]
    fn a_fingerprint_is_32_bytes() {
        let sum = fingerprint("x", &"0aFF".repeat(16)).expect("64 digits");
        assert_eq!(sum[..2], [0x0a, 0xff]);
        assert!(fingerprint("x", &"00".repeat(31)).is_err());
        assert!(fingerprint("x", &"zz".repeat(32)).is_err());
    }

    #[test]
    fn a_switch_does_not_take_the_next_word() {
        let cli = Cli::try_parse_from(["moqgate", "--metrics-per-broadcast", "demo"]).expect("it parses");
        assert_eq!(cli.mode, Some(super::super::Mode::Demo));
        assert_eq!(cli.raw.http.metrics_per_broadcast, Some(true));
    }

    #[test]
    fn the_file_names_the_line_of_an_unknown_key() {
        let folder = std::env::temp_dir().join(format!("moqgate-config-{}", std::process::id()));
        std::fs::write(&folder, "node = 'a'\n\n[srt]\nlitsen = '1'\n").expect("a file is written");
        let error = read(&folder).expect_err("an unknown key").to_string();
        std::fs::remove_file(&folder).expect("the file was there");
        assert!(error.contains("line 4: unknown field `litsen`"), "{error}");
        assert!(!error.contains('\n'));
    }
}
