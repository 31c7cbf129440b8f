//! How moqgate starts, and how it says that it cannot.

use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;

use crate::gateway::{Gateway, command, run};

/// Asserts one line on standard error, nothing on standard output, exit code 2.
fn refusal(flags: &[&str]) -> String {
    let output = run(flags);
    let text = output.stderr;
    assert_eq!(output.code, Some(2), "{text}");
    assert!(output.stdout.is_empty());
    assert_eq!(text.trim_end().lines().count(), 1, "{text}");
    assert!(text.starts_with("moqgate: "), "{text}");
    text
}

/// A file in a folder of its own, which goes with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, text: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()));
        std::fs::write(&path, text).expect("a file is written");
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

const ALL_OFF: [&str; 10] = [
    "--moq-listen",
    "off",
    "--srt-listen",
    "off",
    "--rtmp-listen",
    "off",
    "--webrtc-listen",
    "off",
    "--http-listen",
    "off",
];

fn with_off(flags: &[&str], on: &str) -> Vec<String> {
    let off = ALL_OFF.chunks(2).filter(|pair| pair[0] != on).flatten();
    off.chain(flags).map(|&flag| flag.to_owned()).collect()
}

#[test]
fn a_port_that_is_taken_is_one_line() {
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let tcp_port = tcp.local_addr().expect("an address").to_string();
    let udp_port = udp.local_addr().expect("an address").to_string();
    for (flag, port) in [
        ("--http-listen", &tcp_port),
        ("--rtmp-listen", &tcp_port),
        ("--srt-listen", &udp_port),
        ("--webrtc-listen", &udp_port),
        ("--webrtc-listen", &tcp_port),
        ("--moq-listen", &udp_port),
    ] {
        let flags = with_off(&[flag, port], flag);
        let text = refusal(&flags.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(text.contains("cannot listen for") && text.contains(port.as_str()), "{text}");
        assert!(text.contains("in use"), "{text}");
    }
}

#[test]
fn an_unknown_key_is_one_line_that_names_it() {
    let file = Scratch::new("unknown.toml", "node = 'a'\n[srt]\nlatenzy = '1s'\n");
    let text = refusal(&["--config", file.path()]);
    assert!(text.contains("line 3: unknown field `latenzy`"), "{text}");
    let text = refusal(&["--config", "/nonexistent.toml"]);
    assert!(text.contains("cannot read the configuration /nonexistent.toml"), "{text}");
}

#[test]
fn a_bad_certificate_or_key_is_one_line() {
    let rubbish = Scratch::new("rubbish.pem", "not a certificate");
    let text =
        refusal(&["--moq-listen", "127.0.0.1:0", "--tls-cert", rubbish.path(), "--tls-key", rubbish.path()]);
    assert!(text.contains(rubbish.path()), "{text}");
    let text =
        refusal(&["--moq-listen", "127.0.0.1:0", "--tls-cert", "/nonexistent", "--tls-key", "/nonexistent"]);
    assert!(text.contains("/nonexistent"), "{text}");
    assert!(refusal(&["--tls-cert", rubbish.path()]).contains("tls.key: is missing"));
}

#[test]
fn a_filter_or_folder_that_cannot_be_is_one_line() {
    assert!(refusal(&["--log", "a=b=c"]).contains("log:"));
    let file = Scratch::new("file", "");
    assert!(refusal(&["--data-dir", &format!("{}/below", file.path())]).contains("data-dir:"));
}

#[test]
fn clap_speaks_for_wrong_flags() {
    let output = run(&["--no-such-flag"]);
    assert_eq!(output.code, Some(2));
    let output = run(&["--srt-latency", "soon"]);
    assert_eq!(output.code, Some(2));
    assert_eq!(run(&["--version"]).code, Some(0));
}

#[test]
fn the_flag_wins_over_the_environment_and_that_over_the_file() {
    let file = Scratch::new(
        "precedence.toml",
        "node = 'file'\n[moq]\nlisten = 'off'\n[srt]\nlisten = 'off'\n[http]\nlisten = '127.0.0.1:0'\n",
    );
    let node = |flags: &[&str], variable: Option<&str>| {
        let mut program = command(&["--config", file.path()]);
        program.args(flags).envs(variable.map(|name| ("MOQGATE_NODE", name)));
        let gateway = Gateway::spawn(program);
        assert_eq!((gateway.listener("moq"), gateway.listener("srt")), (None, None));
        gateway.get("/api/v1/usage").json()["node"].as_str().expect("a name").to_owned()
    };
    assert_eq!(node(&[], None), "file");
    assert_eq!(node(&[], Some("environment")), "environment");
    assert_eq!(node(&["--node", "flag"], Some("environment")), "flag");
}

#[test]
fn listeners_that_are_off_are_not_ready() {
    let flags = with_off(&["--http-listen", "127.0.0.1:0"], "--http-listen");
    let gateway = Gateway::spawn(command(&flags.iter().map(String::as_str).collect::<Vec<_>>()));
    assert!(gateway.listener("http").is_some_and(|at| at.port() != 0));
    assert_eq!(gateway.listener("moq"), None);
    assert_eq!(gateway.get("/watch").status, 404);
}

#[test]
fn the_reference_is_printed() {
    let output = run(&["config-reference"]);
    assert_eq!(output.code, Some(0));
    assert_eq!(output.stdout, include_str!("../../../docs/CONFIG.md"));
}
