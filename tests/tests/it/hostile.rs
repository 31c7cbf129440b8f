//! Garbage on every port while a stream runs: nothing falls over, and the stream arrives whole.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;

use moqgate_tests::fixture::Fixture;
use moqgate_tests::gateway::Gateway;
use moqgate_tests::{http, media, peers, tools, wait};

use crate::{KEEP, RUN, WHOLE};

/// How many datagrams of noise each UDP port gets.
const DATAGRAMS: u64 = 2000;
/// Larger than an Ethernet frame's payload.
const DATAGRAM_MAX: u64 = 1500;
/// The type of a handshake's first message.
const INDUCTION: i32 = 1;
/// The type of a handshake's second message.
const CONCLUSION: i32 = -1;
/// Extension type of the stream id.
const SID: u16 = 5;

/// A healthy stream with a viewer, while `attack` runs; everything arrives and the gateway still answers.
fn check(attack: impl FnOnce(&Gateway, &Path)) {
    if !tools::require(&["ffmpeg", "ffprobe", "moq"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("copy.ts");
    let clip = Fixture::load("bframes");
    let mut gateway = Gateway::start(&KEEP);
    let mut viewer = peers::export_ts(&gateway.moq_url(), "live/good", &copy, WHOLE);
    wait::until_true("the viewer's session", wait::SOON, || gateway.sessions("moq").len() == 1);
    let mut encoder = media::push(&clip.file(), &media::srt_url(gateway.srt(), "live/good", ""), 1.5);
    gateway.wait_live("live/good");
    attack(&gateway, folder.path());
    assert!(encoder.wait(RUN).success());
    viewer.wait(RUN);
    media::assert_same_content(&clip.file(), &copy);
    assert!(gateway.process().is_running());
    assert_eq!(http::get(gateway.http(), "/healthz").expect("an answer").status, 200);
}

#[test]
fn noise_on_every_port() {
    check(|gateway, _| {
        let mut noise = Noise(1);
        for address in [gateway.srt(), gateway.moq()] {
            let socket = peer(address);
            for _ in 0..DATAGRAMS {
                let length = noise.next() % DATAGRAM_MAX;
                let _ = socket.send(&noise.bytes(length));
            }
        }
        for address in [gateway.moq(), gateway.http()] {
            let mut stream = TcpStream::connect(address).expect("it listens");
            let _ = stream.write_all(&noise.bytes(DATAGRAM_MAX));
        }
    });
}

#[test]
fn handshakes_cut_at_every_length() {
    check(|gateway, _| {
        let whole = conclusion(gateway.srt(), b"live/short");
        for length in 0..whole.len() {
            let _ = peer(gateway.srt()).send(&whole[..length]);
        }
        let induction = handshake(INDUCTION, 0, &[]);
        for length in 0..induction.len() {
            let _ = peer(gateway.srt()).send(&induction[..length]);
        }
    });
}

/// A real handshake up to its second message, whose extensions are of every kind that exists and some that do not.
#[test]
fn extensions_nobody_expects() {
    check(|gateway, _| {
        for kind in 0_u16..=12 {
            for words in [0_u16, 1, 2, 300, 0xffff] {
                let mut message = conclusion(gateway.srt(), b"live/odd");
                message.extend(kind.to_be_bytes().into_iter().chain(words.to_be_bytes()));
                message.extend([0; 4]);
                let _ = peer(gateway.srt()).send(&message);
            }
        }
    });
}

#[test]
fn a_stream_id_of_600_bytes() {
    check(|gateway, _| {
        let socket = peer(gateway.srt());
        let message = conclusion_from(&socket, &[b'a'; 600]);
        socket.send(&message).expect("sent");
        let mut answer = [0; 1500];
        let length = socket.recv(&mut answer).expect("a refusal");
        // The handshake type of a refusal is 1000 and its reason; 1400 is a bad request, 2000 the start of that space.
        let kind =
            answer[..length].get(36..40).map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
        assert!(kind.is_some_and(|kind| (1000..3000).contains(&kind)), "{kind:?}");
    });
}

#[test]
fn garbage_in_the_middle_of_a_stream() {
    check(|gateway, folder| {
        let mut bytes = fs::read(Fixture::load("bframes").file()).expect("the clip");
        let middle = bytes.len() / 2;
        let noise = Noise(3).bytes(50_001);
        bytes[middle..middle + noise.len()].copy_from_slice(&noise);
        let file = folder.join("damaged.bin");
        fs::write(&file, &bytes).expect("written");
        let mut encoder = media::push_bytes(&file, &media::srt_url(gateway.srt(), "live/bad", ""));
        encoder.wait(RUN);
        wait::until_true("its session to end", RUN, || gateway.sessions("srt").len() <= 1);
        let frames = gateway.usage().ingress("live/bad", "srt").frames;
        // Half a second of noise in ten seconds: most of the 768 units on both sides of it are healthy.
        assert!(frames > 600, "{frames} frames of 768 survive");
    });
}

#[test]
fn nothing_but_garbage() {
    check(|gateway, folder| {
        let file = folder.join("noise.bin");
        fs::write(&file, Noise(4).bytes(400_000)).expect("written");
        let mut encoder = media::push_bytes(&file, &media::srt_url(gateway.srt(), "live/noise", ""));
        encoder.wait(RUN);
        wait::until_true("its session to end", RUN, || gateway.sessions("srt").len() <= 1);
        assert_eq!(gateway.usage().ingress("live/noise", "srt").bytes, 0);
    });
}

fn peer(address: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.connect(address).expect("a local address");
    socket.set_read_timeout(Some(wait::SOON)).expect("not zero");
    socket
}

/// The second message of a caller of its own.
fn conclusion(listener: SocketAddr, stream_id: &[u8]) -> Vec<u8> {
    conclusion_from(&peer(listener), stream_id)
}

/// Sends the first message, and makes the second with the cookie that came back.
fn conclusion_from(socket: &UdpSocket, stream_id: &[u8]) -> Vec<u8> {
    socket.send(&handshake(INDUCTION, 0, &[])).expect("sent");
    let mut answer = [0; 1500];
    let length = socket.recv(&mut answer).expect("the listener answers the first message");
    let cookie = answer[..length].get(44..48).expect("a handshake");
    let cookie = u32::from_be_bytes([cookie[0], cookie[1], cookie[2], cookie[3]]);
    // HSREQ: version 1.5.1, the flags of a live sender, 120 ms both ways.
    let mut extensions = vec![0, 1, 0, 3, 0, 1, 5, 1, 0, 0, 0, 0xbf, 0, 120, 0, 120];
    let words = u16::try_from(stream_id.len().div_ceil(4)).expect("short");
    extensions.extend(SID.to_be_bytes().into_iter().chain(words.to_be_bytes()));
    // Text in extensions has its 32-bit words turned round.
    for word in stream_id.chunks(4) {
        let mut padded = [0; 4];
        padded[..word.len()].copy_from_slice(word);
        extensions.extend(padded.into_iter().rev());
    }
    handshake(CONCLUSION, cookie, &extensions)
}

/// A handshake packet: 16 bytes of header, 48 of body.
fn handshake(kind: i32, cookie: u32, extensions: &[u8]) -> Vec<u8> {
    let conclusion = kind == CONCLUSION;
    let mut packet = vec![0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
    let version: u32 = if conclusion { 5 } else { 4 };
    packet.extend(version.to_be_bytes());
    // No encryption; the extension field names HSREQ and CONFIG, or is the datagram type of version 4.
    packet.extend(if conclusion { [0, 0, 0, 5] } else { [0, 0, 0, 2] });
    packet.extend(1000_u32.to_be_bytes());
    packet.extend(1500_u32.to_be_bytes());
    packet.extend(8192_u32.to_be_bytes());
    packet.extend(kind.to_be_bytes());
    packet.extend(0x1234_5678_u32.to_be_bytes());
    packet.extend(cookie.to_be_bytes());
    packet.extend([127, 0, 0, 1].into_iter().rev().chain([0; 12]));
    packet.extend(extensions);
    packet
}

/// SplitMix64: the same noise on every machine.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn bytes(&mut self, count: u64) -> Vec<u8> {
        (0..count).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}
