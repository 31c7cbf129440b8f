//! Bytes as hex, for peers that say exactly what the test says.

use std::net::SocketAddr;

use moqgate_moq::wire::Version;
use quinn::{Connection, RecvStream, SendStream};
use web_transport_proto::error_from_http3;

use crate::peer::dial;
use crate::rig::within;

/// A connection that has said nothing but its version, or also an empty SETUP.
pub(crate) async fn connect(address: SocketAddr, version: Version) -> Connection {
    within("handshake", dial(address, version)).await
}

pub(crate) async fn ready(address: SocketAddr, version: Version) -> Connection {
    let quic = connect(address, version).await;
    if version.has_setup() {
        uni(&quic, "010100", true).await;
        let mut theirs = within("SETUP", quic.accept_uni()).await.expect("alive");
        within("SETUP", theirs.read_to_end(1000)).await.expect("whole");
    }
    quic
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex");
    digits.chunks(2).map(pair).collect()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `text` as hex, for paths and names.
pub(crate) fn ascii(text: &str) -> String {
    hex(text.as_bytes())
}

pub(crate) async fn uni(quic: &Connection, bytes: &str, fin: bool) -> SendStream {
    let mut send = within("open", quic.open_uni()).await.expect("alive");
    say(&mut send, bytes).await;
    if fin {
        send.finish().expect("open");
    }
    send
}

pub(crate) async fn bi(quic: &Connection, bytes: &str) -> (SendStream, RecvStream) {
    let (mut send, recv) = within("open", quic.open_bi()).await.expect("alive");
    say(&mut send, bytes).await;
    (send, recv)
}

pub(crate) async fn say(send: &mut SendStream, bytes: &str) {
    within("write", send.write_all(&unhex(bytes))).await.expect("taken");
}

/// How a half ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Fin,
    /// With a code that both transports map.
    Reset(u32),
}

/// Everything up to the end of the half.
pub(crate) async fn rest(recv: &mut RecvStream) -> (String, Ended) {
    let mut bytes = Vec::new();
    loop {
        match within("end of a stream", recv.read_chunk(1 << 20, true)).await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk.bytes),
            Ok(None) => return (hex(&bytes), Ended::Fin),
            Err(quinn::ReadError::Reset(code)) => {
                let code = error_from_http3(code.into_inner()).expect("a mapped code");
                return (hex(&bytes), Ended::Reset(code));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Exactly as many bytes as `expected` has, which must be those.
pub(crate) async fn expect(recv: &mut RecvStream, expected: &str) {
    let expected = unhex(expected);
    let mut bytes = vec![0; expected.len()];
    within("bytes", recv.read_exact(&mut bytes)).await.expect("no end yet");
    assert_eq!(hex(&bytes), hex(&expected));
}

/// The next stream that the gateway opens, whole.
pub(crate) async fn next_uni(quic: &Connection) -> (String, Ended) {
    let mut recv = within("stream of the gateway", quic.accept_uni()).await.expect("alive");
    rest(&mut recv).await
}

/// The code and reason that the gateway closes the session with.
pub(crate) async fn closed(quic: &Connection) -> (u64, String) {
    let error = within("close", quic.closed()).await;
    let quinn::ConnectionError::ApplicationClosed(close) = error else {
        panic!("not closed by the gateway: {error}");
    };
    (close.error_code.into_inner(), String::from_utf8_lossy(&close.reason).into_owned())
}
