//! The plain handshake (RTMP 5.2), server and client side.
//!
//! Whatever a client announces, S1 says version 0: no client then asks for the digests of the old Flash player, and S2
//! is an exact copy of C1, which is what every client expects that looks at it. C2 is not looked at.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Size of C1, C2, S1 and S2.
pub const BLOCK: usize = 1536;

/// The version of RTMP without encryption.
const PLAIN: u8 = 3;

/// Why a peer is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// RTMPE: encryption that protects nothing.
    #[error("RTMPE is not supported")]
    Encrypted,
    /// A TLS ClientHello where none is expected.
    #[error("TLS on a port without a certificate")]
    Tls,
    /// An HTTP request: RTMPT, or a browser.
    #[error("HTTP on the RTMP port")]
    Http,
    /// Something else.
    #[error("not RTMP")]
    NotRtmp,
}

/// The server's half.
#[derive(Debug, Default)]
pub struct ServerHandshake {
    answered: bool,
}

/// What the handshake needs next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// More bytes.
    More,
    /// To send this; then more bytes.
    Reply(Bytes),
    /// Nothing: what is left in the input are chunks.
    Done,
}

impl ServerHandshake {
    /// Takes what it can use from the front of `input`. `seed` fills the part of S1 that means nothing.
    ///
    /// # Errors
    /// [`HandshakeError`] with the first byte that tells.
    pub fn advance(&mut self, input: &mut BytesMut, seed: u64) -> Result<Step, HandshakeError> {
        if self.answered {
            if input.len() < BLOCK {
                return Ok(Step::More);
            }
            input.advance(BLOCK);
            return Ok(Step::Done);
        }
        match input.first() {
            None => return Ok(Step::More),
            Some(&version) => check_version(version)?,
        }
        if input.len() < 1 + BLOCK {
            return Ok(Step::More);
        }
        input.advance(1);
        let c1 = input.split_to(BLOCK);
        let mut reply = BytesMut::with_capacity(1 + 2 * BLOCK);
        put_first(&mut reply, seed);
        reply.extend_from_slice(&c1);
        self.answered = true;
        Ok(Step::Reply(reply.freeze()))
    }
}

/// The client's half: send [`ClientHandshake::hello`], then whatever [`ClientHandshake::advance`] replies.
#[derive(Debug, Default)]
pub struct ClientHandshake {
    answered: bool,
}

impl ClientHandshake {
    /// C0 and C1.
    pub fn hello(seed: u64) -> Bytes {
        let mut hello = BytesMut::with_capacity(1 + BLOCK);
        put_first(&mut hello, seed);
        hello.freeze()
    }

    /// Takes S0, S1 and S2 from the front of `input`; replies with C2.
    ///
    /// # Errors
    /// [`HandshakeError`] when S0 has no version that we speak.
    pub fn advance(&mut self, input: &mut BytesMut) -> Result<Step, HandshakeError> {
        if self.answered {
            if input.len() < BLOCK {
                return Ok(Step::More);
            }
            input.advance(BLOCK);
            return Ok(Step::Done);
        }
        match input.first() {
            None => return Ok(Step::More),
            Some(&version) => check_version(version)?,
        }
        if input.len() < 1 + BLOCK {
            return Ok(Step::More);
        }
        input.advance(1);
        self.answered = true;
        Ok(Step::Reply(input.split_to(BLOCK).freeze()))
    }
}

/// C0 and C1, or S0 and S1.
fn put_first(out: &mut BytesMut, seed: u64) {
    out.put_u8(PLAIN);
    out.put_u32(0);
    out.put_u32(0);
    let mut state = seed | 1;
    for _ in 0..(BLOCK - 8) / 8 {
        // xorshift64: the filler has to differ between connections, no more.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.put_u64(state);
    }
}

fn check_version(version: u8) -> Result<(), HandshakeError> {
    match version {
        PLAIN => Ok(()),
        6 | 8 | 9 => Err(HandshakeError::Encrypted),
        0x16 => Err(HandshakeError::Tls),
        // The first letters of GET, POST, PUT, HEAD, OPTIONS, DELETE, CONNECT.
        b'G' | b'P' | b'H' | b'O' | b'D' | b'C' => Err(HandshakeError::Http),
        _ => Err(HandshakeError::NotRtmp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn c1() -> Vec<u8> {
        // ffmpeg announces the digest form by this version.
        let mut c1 = vec![0, 0, 0, 0, 9, 0, 0x7c, 2];
        c1.extend((8..BLOCK).map(|n| n as u8));
        c1
    }

    #[test]
    fn the_answer_is_version_0_and_a_copy() {
        let mut input = BytesMut::from(&[&[3][..], &c1()].concat()[..]);
        let mut handshake = ServerHandshake::default();
        let Ok(Step::Reply(reply)) = handshake.advance(&mut input, 7) else { panic!("a reply") };
        assert_eq!(reply.len(), 1 + 2 * BLOCK);
        assert_eq!(reply[0], 3);
        assert_eq!(reply[5..9], [0; 4], "version of S1");
        assert_eq!(reply[1 + BLOCK..], c1());
        assert!(reply[9..1 + BLOCK].iter().any(|&byte| byte != 0));
    }

    #[test]
    fn byte_by_byte_with_chunks_right_behind() {
        let all = [&[3][..], &c1(), &[0xaa; BLOCK], b"chunks"].concat();
        let (mut input, mut handshake, mut replies, mut done) =
            (BytesMut::new(), ServerHandshake::default(), 0, false);
        for byte in all {
            input.put_u8(byte);
            if done {
                continue;
            }
            match handshake.advance(&mut input, 1).expect("legal") {
                Step::More => {}
                Step::Reply(_) => replies += 1,
                Step::Done => done = true,
            }
        }
        assert_eq!((replies, done, &input[..]), (1, true, &b"chunks"[..]));
    }

    #[test]
    fn line_44_rtmpe_is_refused_with_its_first_byte() {
        for (byte, error) in [
            (6, HandshakeError::Encrypted),
            (8, HandshakeError::Encrypted),
            (9, HandshakeError::Encrypted),
            (0x16, HandshakeError::Tls),
            (b'G', HandshakeError::Http),
            (b'P', HandshakeError::Http),
            (0, HandshakeError::NotRtmp),
        ] {
            let refused = ServerHandshake::default().advance(&mut BytesMut::from(&[byte][..]), 1);
            assert_eq!(refused, Err(error));
        }
    }

    #[test]
    fn client_and_server_agree() {
        let (mut server, mut client) = (ServerHandshake::default(), ClientHandshake::default());
        let mut up = BytesMut::from(&ClientHandshake::hello(3)[..]);
        let Ok(Step::Reply(reply)) = server.advance(&mut up, 4) else { panic!("a reply") };
        let mut down = BytesMut::from(&reply[..]);
        let Ok(Step::Reply(c2)) = client.advance(&mut down) else { panic!("a reply") };
        up.extend_from_slice(&c2);
        assert_eq!(client.advance(&mut down), Ok(Step::Done));
        assert_eq!(server.advance(&mut up, 4), Ok(Step::Done));
        assert!(up.is_empty() && down.is_empty());
    }
}
