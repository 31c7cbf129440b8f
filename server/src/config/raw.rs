//! The configuration as it is written down: one struct per section, read alike from a file, the environment and flags.
//!
//! Every field is optional, so that "not said" stays different from "said to be the default": a flag that was not given
//! can never override the file. The argument id of each field is its key in the file, which is how the reference in
//! `docs/CONFIG.md` is made from this file.

use std::path::PathBuf;

use serde::Deserialize;

use super::auth::{RawAdmin, RawAuth};
use super::call::RawCall;
use super::objective::RawObjective;
use super::value::{Hidden, Listen, Network, Span};

/// Everything that can be configured.
#[derive(Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Raw {
    /// Name of this machine in usage reports. Default: the host name.
    #[arg(id = "node", long = "node", env = "MOQGATE_NODE", value_name = "NAME")]
    pub(crate) node: Option<String>,
    /// Log filter in the form of `tracing`: a level, or `target=level` pairs. Default: `info`.
    #[arg(id = "log", long = "log", env = "MOQGATE_LOG", value_name = "FILTER")]
    pub(crate) log: Option<String>,
    /// How long a stop waits for sessions to end by themselves: `10s`, `500ms`, `2m`. Default: `10s`.
    #[arg(id = "grace", long = "grace", env = "MOQGATE_GRACE", value_name = "TIME")]
    pub(crate) grace: Option<Span>,
    /// Folder of the database, `moqgate.sqlite`, which outlives a restart; made when missing. Default: none, everything is in memory.
    #[arg(id = "data-dir", long = "data-dir", global = true, env = "MOQGATE_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Broadcast to push to a server elsewhere, and its `srt://`, `rtmp://` or `rtmps://` URL; may be given many times, in a file as `[[push]]` tables. Default: none.
    #[arg(
        id = "push",
        long = "push",
        env = "MOQGATE_PUSH",
        value_name = "PATH=URL",
        value_delimiter = ' ',
        hide_env_values = true
    )]
    pub(crate) push: Option<Vec<RawCall>>,
    /// Broadcast to pull from a server elsewhere, and its URL; may be given many times, in a file as `[[pull]]` tables. Default: none.
    #[arg(
        id = "pull",
        long = "pull",
        env = "MOQGATE_PULL",
        value_name = "PATH=URL",
        value_delimiter = ' ',
        hide_env_values = true
    )]
    pub(crate) pull: Option<Vec<RawCall>>,
    /// Latency that is promised; may be given many times. Default: none.
    #[arg(
        id = "objective",
        long = "objective",
        env = "MOQGATE_OBJECTIVE",
        value_name = "broadcast=PATTERN,below=TIME[,transport=NAME][,percentile=N][,window=TIME]",
        value_delimiter = ';'
    )]
    pub(crate) objective: Option<Vec<RawObjective>>,
    /// Certificate and key.
    #[command(flatten)]
    pub(crate) tls: Tls,
    /// How much of a live broadcast is kept.
    #[command(flatten)]
    pub(crate) retention: Retention,
    /// Native MoQ.
    #[command(flatten)]
    pub(crate) moq: Moq,
    /// SRT.
    #[command(flatten)]
    pub(crate) srt: Srt,
    /// RTMP.
    #[command(flatten)]
    pub(crate) rtmp: Rtmp,
    /// HTTP API.
    #[command(flatten)]
    pub(crate) http: Http,
    /// WebRTC media.
    #[command(flatten)]
    pub(crate) webrtc: Webrtc,
    /// The usage ledger.
    #[command(flatten)]
    pub(crate) usage: Usage,
    /// Who may come in.
    #[command(flatten)]
    pub(crate) auth: RawAuth,
    /// Who may change something.
    #[command(flatten)]
    pub(crate) admin: RawAdmin,
    /// MoQ relays to publish to and to fetch from.
    #[command(flatten)]
    pub(crate) relay: Relay,
}

/// `[tls]`
#[derive(Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Tls {
    /// Certificate chain, PEM, leaf first. Default: a self-signed one of at most 14 days, made at the start.
    #[arg(id = "tls.cert", long = "tls-cert", env = "MOQGATE_TLS_CERT", value_name = "FILE")]
    pub(crate) cert: Option<PathBuf>,
    /// Private key of the certificate, PEM. Default: none; needed with `tls.cert`.
    #[arg(id = "tls.key", long = "tls-key", env = "MOQGATE_TLS_KEY", value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
}

/// `[retention]`
#[derive(Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Retention {
    /// How long groups are kept for late viewers and fetches. Default: `10s`.
    #[arg(id = "retention.age", long = "retention-age", env = "MOQGATE_RETENTION_AGE", value_name = "TIME")]
    pub(crate) age: Option<Span>,
    /// How many payload bytes a track keeps beside its newest group. Default: `33554432`.
    #[arg(
        id = "retention.bytes",
        long = "retention-bytes",
        env = "MOQGATE_RETENTION_BYTES",
        value_name = "BYTES"
    )]
    pub(crate) bytes: Option<usize>,
}

/// `[moq]`
#[derive(Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Moq {
    /// Where MoQ listens: QUIC and WebTransport on UDP, `/certificate.sha256` on TCP. Default: `4443`.
    #[arg(id = "moq.listen", long = "moq-listen", env = "MOQGATE_MOQ_LISTEN", value_name = "ADDR")]
    pub(crate) listen: Option<Listen>,
    /// Addresses of relays whose word is taken for how many viewers are behind them; may be given many times. Everybody else is one viewer; relays that are dialled are believed. Default: none.
    #[arg(
        id = "moq.trust-downstream-from",
        long = "moq-trust-downstream-from",
        env = "MOQGATE_MOQ_TRUST_DOWNSTREAM_FROM",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    pub(crate) trust_downstream_from: Option<Vec<Network>>,
    /// Publish usage as the broadcast `.stats/node/NODE`, with the tracks of `moq-relay`, to whoever may watch that path. Default: `false`.
    #[arg(
        id = "moq.stats",
        long = "moq-stats",
        env = "MOQGATE_MOQ_STATS",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub(crate) stats: Option<bool>,
}

/// `[srt]`
#[derive(Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Srt {
    /// Where SRT listens, UDP. Default: `9000`.
    #[arg(id = "srt.listen", long = "srt-listen", env = "MOQGATE_SRT_LISTEN", value_name = "ADDR")]
    pub(crate) listen: Option<Listen>,
    /// Receiver latency; the larger of this and the caller's is used. At most 60 s. Default: `120ms`.
    #[arg(id = "srt.latency", long = "srt-latency", env = "MOQGATE_SRT_LATENCY", value_name = "TIME")]
    pub(crate) latency: Option<Span>,
    /// How long a player waits for a broadcast that nobody publishes yet, or whose publisher left; `0s` does not wait. At most 1 h. Default: `10s`.
    #[arg(id = "srt.play-wait", long = "srt-play-wait", env = "MOQGATE_SRT_PLAY_WAIT", value_name = "TIME")]
    pub(crate) play_wait: Option<Span>,
    /// Passphrase of 10 to 79 bytes that every caller must have. Default: none, callers are not encrypted.
    #[arg(
        id = "srt.passphrase",
        long = "srt-passphrase",
        env = "MOQGATE_SRT_PASSPHRASE",
        value_name = "SECRET",
        hide_env_values = true
    )]
    pub(crate) passphrase: Option<Hidden>,
    /// Broadcast that a caller without a stream id publishes to. Default: none, such callers are refused.
    #[arg(
        id = "srt.default-path",
        long = "srt-default-path",
        env = "MOQGATE_SRT_DEFAULT_PATH",
        value_name = "PATH"
    )]
    pub(crate) default_path: Option<String>,
}

/// `[rtmp]`
#[derive(Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Rtmp {
    /// Where RTMP listens, TCP; with a certificate RTMPS too, on the same port. By default `1935`.
    #[arg(id = "rtmp.listen", long = "rtmp-listen", env = "MOQGATE_RTMP_LISTEN", value_name = "ADDR")]
    pub(crate) listen: Option<Listen>,
    /// How long a player waits for a broadcast that nobody publishes yet, or whose publisher left; `0s` does not wait. At most 1 h. Default: `10s`.
    #[arg(
        id = "rtmp.play-wait",
        long = "rtmp-play-wait",
        env = "MOQGATE_RTMP_PLAY_WAIT",
        value_name = "TIME"
    )]
    pub(crate) play_wait: Option<Span>,
}

/// `[http]`
#[derive(Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Http {
    /// Where the HTTP API, the metrics and the dashboard listen, TCP. Default: `8080`.
    #[arg(id = "http.listen", long = "http-listen", env = "MOQGATE_HTTP_LISTEN", value_name = "ADDR")]
    pub(crate) listen: Option<Listen>,
    /// Also label metrics by broadcast and session, which grows without end on a busy machine. Default: `false`.
    #[arg(
        id = "http.metrics-per-broadcast",
        long = "metrics-per-broadcast",
        env = "MOQGATE_METRICS_PER_BROADCAST",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub(crate) metrics_per_broadcast: Option<bool>,
}

/// `[webrtc]`
#[derive(Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Webrtc {
    /// Where WebRTC media comes in, UDP and TCP of the same number; offers and answers go over HTTP. Default: `8189`.
    #[arg(id = "webrtc.listen", long = "webrtc-listen", env = "MOQGATE_WEBRTC_LISTEN", value_name = "ADDR")]
    pub(crate) listen: Option<Listen>,
    /// Address or name at which this machine is reached from outside its NAT; names are looked up again every minute. May be given many times. Default: none.
    #[arg(
        id = "webrtc.host",
        long = "webrtc-host",
        env = "MOQGATE_WEBRTC_HOST",
        value_name = "HOST",
        value_delimiter = ','
    )]
    pub(crate) host: Option<Vec<String>>,
    /// STUN or TURN server that browsers are told to use: `stun:host:port`, `turn:user:password@host:port`; may be given many times. Default: none.
    #[arg(
        id = "webrtc.ice-server",
        long = "webrtc-ice-server",
        env = "MOQGATE_WEBRTC_ICE_SERVER",
        value_name = "URL",
        value_delimiter = ',',
        hide_env_values = true
    )]
    pub(crate) ice_server: Option<Vec<Hidden>>,
    /// How long an offer to watch waits for a broadcast that nobody publishes yet, before it is refused; `0s` does not wait. At most 1 h. Default: `2s`.
    #[arg(
        id = "webrtc.offer-wait",
        long = "webrtc-offer-wait",
        env = "MOQGATE_WEBRTC_OFFER_WAIT",
        value_name = "TIME"
    )]
    pub(crate) offer_wait: Option<Span>,
    /// How long a player whose publisher left waits for the next one; `0s` does not wait. At most 1 h. Default: `10s`.
    #[arg(
        id = "webrtc.play-wait",
        long = "webrtc-play-wait",
        env = "MOQGATE_WEBRTC_PLAY_WAIT",
        value_name = "TIME"
    )]
    pub(crate) play_wait: Option<Span>,
}

/// `[usage]`
#[derive(Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Usage {
    /// How often usage is written to the ledger in `data-dir`; a process that is killed loses at most that. 100 ms to 1 h. Default: `10s`.
    #[arg(
        id = "usage.interval",
        long = "usage-interval",
        env = "MOQGATE_USAGE_INTERVAL",
        value_name = "TIME"
    )]
    pub(crate) interval: Option<Span>,
    /// How long records are kept, at least `24h`. What is not exported yet is kept anyway. Default: `9600h`, 400 days.
    #[arg(id = "usage.keep", long = "usage-keep", env = "MOQGATE_USAGE_KEEP", value_name = "TIME")]
    pub(crate) keep: Option<Span>,
    /// HTTP endpoint that gets every record as a CloudEvent 1.0 (JSON batch), such as OpenMeter's `/api/v1/events`. Needs `data-dir`. Default: none.
    #[arg(
        id = "usage.export-url",
        long = "usage-export-url",
        env = "MOQGATE_USAGE_EXPORT_URL",
        value_name = "URL"
    )]
    pub(crate) export_url: Option<String>,
    /// Bearer token for `export-url`. Default: none.
    #[arg(
        id = "usage.export-token",
        long = "usage-export-token",
        env = "MOQGATE_USAGE_EXPORT_TOKEN",
        value_name = "SECRET",
        hide_env_values = true
    )]
    pub(crate) export_token: Option<Hidden>,
    /// File that holds the bearer token; it is read for every request. Default: none.
    #[arg(
        id = "usage.export-token-file",
        long = "usage-export-token-file",
        env = "MOQGATE_USAGE_EXPORT_TOKEN_FILE",
        value_name = "FILE"
    )]
    pub(crate) export_token_file: Option<PathBuf>,
}

/// `[relay]`
#[derive(Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Relay {
    /// MoQ relay to publish every local broadcast to; may be given many times. Default: none.
    #[arg(
        id = "relay.url",
        long = "relay",
        env = "MOQGATE_RELAY",
        value_name = "URL",
        value_delimiter = ','
    )]
    pub(crate) url: Option<Vec<String>>,
    /// Trust only the relay certificate with this SHA-256, 64 hex digits. Default: those of the system's authorities.
    #[arg(
        id = "relay.tls-fingerprint",
        long = "relay-tls-fingerprint",
        env = "MOQGATE_RELAY_TLS_FINGERPRINT",
        value_name = "HEX"
    )]
    pub(crate) tls_fingerprint: Option<String>,
    /// Trust any relay certificate. For trials only. Default: `false`.
    #[arg(
        id = "relay.tls-insecure",
        long = "relay-tls-insecure",
        env = "MOQGATE_RELAY_TLS_INSECURE",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub(crate) tls_insecure: Option<bool>,
}

/// Takes the field of the first that has it, for each of the fields named.
macro_rules! first_said {
    ($first:ident, $second:ident, $($field:ident),+) => {
        Self { $($field: $first.$field.or($second.$field)),+ }
    };
}

impl Raw {
    /// What `self` says, and what `other` says where `self` is silent.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            node: self.node.or(other.node),
            log: self.log.or(other.log),
            grace: self.grace.or(other.grace),
            data_dir: self.data_dir.or(other.data_dir),
            push: self.push.or(other.push),
            pull: self.pull.or(other.pull),
            objective: self.objective.or(other.objective),
            tls: self.tls.or(other.tls),
            retention: self.retention.or(other.retention),
            moq: self.moq.or(other.moq),
            srt: self.srt.or(other.srt),
            rtmp: self.rtmp.or(other.rtmp),
            http: self.http.or(other.http),
            webrtc: self.webrtc.or(other.webrtc),
            usage: self.usage.or(other.usage),
            auth: self.auth.or(other.auth),
            admin: self.admin.or(other.admin),
            relay: self.relay.or(other.relay),
        }
    }
}

impl Tls {
    fn or(self, other: Self) -> Self {
        first_said!(self, other, cert, key)
    }
}

impl Moq {
    fn or(self, other: Self) -> Self {
        first_said!(self, other, listen, trust_downstream_from, stats)
    }
}

impl Retention {
    fn or(self, other: Self) -> Self {
        first_said!(self, other, age, bytes)
    }
}

impl Rtmp {
    fn or(self, other: Self) -> Self {
        first_said!(self, other, listen, play_wait)
    }
}

impl Srt {
    fn or(self, other: Self) -> Self {
        first_said!(self, other, listen, latency, play_wait, passphrase, default_path)
    }
}

impl Http {
    fn or(self, other: Self) -> Self {
        first_said!(self, other, listen, metrics_per_broadcast)
    }
}

impl Usage {
    fn or(self, other: Self) -> Self {
        first_said!(self, other, interval, keep, export_url, export_token, export_token_file)
    }
}

impl RawAuth {
    fn or(self, other: Self) -> Self {
        first_said!(self, other, mode, jwt_key, url, timeout, cache, fail_open, anonymous_play, kick_time)
    }
}

impl RawAdmin {
    /// A token and a file are one thing said in two ways.
    fn or(self, other: Self) -> Self {
        if self.token.is_some() || self.token_file.is_some() { self } else { other }
    }
}

impl Webrtc {
    fn or(self, other: Self) -> Self {
        first_said!(self, other, listen, host, ice_server, offer_wait, play_wait)
    }
}

impl Relay {
    fn or(self, other: Self) -> Self {
        first_said!(self, other, url, tls_fingerprint, tls_insecure)
    }
}
