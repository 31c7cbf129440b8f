//! Encryption: key material messages, the key from the passphrase, and payloads (draft-sharabayko-srt section 6).
//!
//! AES-CTR with 128, 192 and 256 bits. AES-GCM (a preview build option of libsrt 1.5.2) is refused by
//! [`KeyMaterial::parse`].

use std::fmt;
use std::time::{Duration, Instant};

use aes::cipher::{InnerIvInit, KeyInit, StreamCipher, StreamCipherCoreWrapper};
use aes::{Aes128, Aes192, Aes256};
use aes_kw::AesKw;
use bytes::{Buf, Bytes};
use ctr::{CtrCore, flavors::Ctr128BE};
use moqgate_core::Secret;
use sha1::Sha1;

use crate::wire::{KeyParity, Seq};

/// Fewest bytes of a passphrase (libsrt refuses fewer).
pub const MIN_PASSPHRASE: usize = 10;
/// Most bytes of a passphrase (libsrt refuses more).
pub const MAX_PASSPHRASE: usize = 79;

/// Rounds of PBKDF2, fixed by the protocol. About a millisecond: never on a task that others wait for.
const ROUNDS: u32 = 2048;
/// Bytes before the wrapped keys.
const FIXED_LEN: usize = 32;
/// Bytes of the integrity value of a key wrap.
const INTEGRITY_LEN: usize = 8;
/// Salt bytes that enter the counter block.
const NONCE_LEN: usize = 14;
/// A new salt costs PBKDF2 inside the connection; an honest sender changes keys every few hours.
const NEW_KEY_INTERVAL: Duration = Duration::from_secs(1);

/// A checked KM message, wrapped keys still closed.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyMaterial {
    raw: Bytes,
    key_len: usize,
    even: bool,
    odd: bool,
    salt: [u8; 16],
}

/// Why key material is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A field or the length is not what the message version allows.
    #[error("malformed key material")]
    Malformed,
    /// AES-GCM or an unknown cipher.
    #[error("cipher not supported")]
    Cipher,
    /// The wrapped keys do not open: another passphrase.
    #[error("wrong passphrase")]
    WrongPassphrase,
}

impl KeyMaterial {
    /// Checks every field and the length; no cryptography.
    ///
    /// # Errors
    /// [`KeyError::Malformed`] or [`KeyError::Cipher`].
    pub fn parse(raw: Bytes) -> Result<Self, KeyError> {
        let mut body = raw.clone();
        if body.len() < FIXED_LEN {
            return Err(KeyError::Malformed);
        }
        let (head, kk, kek_index) = (body.get_u8(), body.get_uint(3) as u32, body.get_u32());
        let (cipher, auth, encapsulation) = (body.get_u8(), body.get_u8(), body.get_u8());
        body.advance(3);
        let (salt_words, key_words) = (body.get_u8(), body.get_u8());
        let parity = kk as u8 & 3;
        if head != 0x12 || kk >> 8 != 0x2029 || kek_index != 0 || encapsulation != 2 || parity == 0 {
            return Err(KeyError::Malformed);
        }
        if cipher != 2 || auth != 0 {
            return Err(KeyError::Cipher);
        }
        if salt_words != 4 || !matches!(key_words, 4 | 6 | 8) {
            return Err(KeyError::Malformed);
        }
        let key_len = usize::from(key_words) * 4;
        let mut salt = [0; 16];
        body.copy_to_slice(&mut salt);
        let keys = if parity == 3 { 2 } else { 1 };
        if body.len() != INTEGRITY_LEN + keys * key_len {
            return Err(KeyError::Malformed);
        }
        Ok(Self { raw, key_len, even: parity & 1 != 0, odd: parity & 2 != 0, salt })
    }

    /// Key length / 8, as the encryption field of a handshake has it.
    pub fn encryption_field(&self) -> u16 {
        (self.key_len / 8) as u16
    }

    /// The message byte for byte: the answer to it.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    fn wrapped(&self) -> &[u8] {
        &self.raw[FIXED_LEN..]
    }
}

impl fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyMaterial")
            .field("key_len", &self.key_len)
            .field("even", &self.even)
            .field("odd", &self.odd)
            .finish_non_exhaustive()
    }
}

/// The keys of one connection, both directions: the listener sends with the keys that the caller made.
pub struct Crypto {
    passphrase: Secret,
    kek: Kek,
    even: Option<Key>,
    odd: Option<Key>,
    sending: KeyParity,
    /// The last message that opened, and when: repeats of it are answered without work.
    last: (Bytes, Option<Instant>),
}

/// Keys of our own making.
#[derive(Debug)]
pub struct Generated {
    /// To send and receive with.
    pub crypto: Crypto,
    /// To tell the listener.
    pub material: KeyMaterial,
}

/// What became of a key request in an established connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refresh {
    /// The keys are in place; send this back as the key reply.
    Reply(Bytes),
    /// New keys sooner than one second after the last ones: not looked at, the peer repeats itself.
    TooSoon,
    /// Not valid, or wrapped under another passphrase.
    Refused(KeyError),
}

impl Crypto {
    /// Opens the caller's key material. Takes about a millisecond.
    ///
    /// # Errors
    /// [`KeyError::WrongPassphrase`].
    pub fn open(passphrase: Secret, material: &KeyMaterial) -> Result<Self, KeyError> {
        let kek = Kek::derive(&passphrase, material);
        let mut crypto = Self {
            passphrase,
            kek,
            even: None,
            odd: None,
            sending: KeyParity::Even,
            last: (Bytes::new(), None),
        };
        crypto.install(material)?;
        crypto.sending = if material.even { KeyParity::Even } else { KeyParity::Odd };
        Ok(crypto)
    }

    /// Makes the keys of a connection that we open: a salt, and one even key of `key_len` bytes (16, 24 or 32). Takes
    /// about a millisecond.
    ///
    /// # Errors
    /// [`KeyError::Malformed`] for another length.
    pub fn generate(passphrase: Secret, key_len: usize) -> Result<Generated, KeyError> {
        let (salt, key): ([u8; 16], [u8; 32]) = (rand::random(), rand::random());
        let key_words = match key_len {
            16 | 24 | 32 => (key_len / 4) as u8,
            _ => return Err(KeyError::Malformed),
        };
        let mut raw = [0; FIXED_LEN + INTEGRITY_LEN + 32];
        raw[..4].copy_from_slice(&[0x12, 0x20, 0x29, 1]);
        (raw[8], raw[10], raw[14], raw[15]) = (2, 2, 4, key_words);
        raw[16..FIXED_LEN].copy_from_slice(&salt);
        let end = FIXED_LEN + INTEGRITY_LEN + key_len;
        let unwrapped = KeyMaterial::parse(Bytes::copy_from_slice(&raw[..end]))?;
        let kek = Kek::derive(&passphrase, &unwrapped);
        kek.wrap(&key[..key_len], &mut raw[FIXED_LEN..end])?;
        let material = KeyMaterial::parse(Bytes::copy_from_slice(&raw[..end]))?;
        let crypto = Self::open(passphrase, &material)?;
        Ok(Generated { crypto, material })
    }

    /// Takes a key request (0x7FFF/3). A repeat of the last one costs a comparison, new keys under the same salt an
    /// unwrap, a new salt PBKDF2; the latter two at most once per second.
    pub fn refresh(&mut self, request: &Bytes, now: Instant) -> Refresh {
        if *request == self.last.0 {
            return Refresh::Reply(self.last.0.clone());
        }
        if self.last.1.is_some_and(|at| now.saturating_duration_since(at) < NEW_KEY_INTERVAL) {
            return Refresh::TooSoon;
        }
        self.last.1 = Some(now);
        // An own copy, so that the message does not pin the datagram it came in.
        let material = match KeyMaterial::parse(Bytes::copy_from_slice(request)) {
            Ok(material) => material,
            Err(error) => return Refresh::Refused(error),
        };
        if !self.kek.fits(&material) {
            let kek = Kek::derive(&self.passphrase, &material);
            let before = std::mem::replace(&mut self.kek, kek);
            return match self.install(&material) {
                Ok(()) => Refresh::Reply(material.raw),
                Err(error) => {
                    self.kek = before;
                    Refresh::Refused(error)
                }
            };
        }
        match self.install(&material) {
            Ok(()) => Refresh::Reply(material.raw),
            Err(error) => Refresh::Refused(error),
        }
    }

    /// Replaces the keys that `material` holds and leaves the other in place.
    fn install(&mut self, material: &KeyMaterial) -> Result<(), KeyError> {
        let mut buffer = [0; 64];
        let keys = self.kek.unwrap_keys(material, &mut buffer)?;
        let (first, second) = keys.split_at(material.key_len);
        if material.even {
            self.even = Key::new(first, &material.salt);
        }
        if material.odd {
            self.odd = Key::new(if material.even { second } else { first }, &material.salt);
        }
        self.last.0 = material.raw.clone();
        buffer.fill(0);
        Ok(())
    }

    /// Decrypts a payload, in place if nobody else holds its memory. `None`: no such key, or not encrypted at all,
    /// which a secured connection does not accept.
    pub fn decrypt(&self, parity: KeyParity, seq: Seq, payload: Bytes) -> Option<Bytes> {
        let key = self.key(parity)?;
        let mut payload = payload.try_into_mut().unwrap_or_else(|shared| shared[..].into());
        key.apply(seq, &mut payload);
        Some(payload.freeze())
    }

    /// Encrypts a payload in place with the current sending key and returns its parity.
    pub fn encrypt(&self, seq: Seq, payload: &mut [u8]) -> KeyParity {
        if let Some(key) = self.key(self.sending) {
            key.apply(seq, payload);
        }
        self.sending
    }

    fn key(&self, parity: KeyParity) -> Option<&Key> {
        match parity {
            KeyParity::Clear => None,
            KeyParity::Even => self.even.as_ref(),
            KeyParity::Odd => self.odd.as_ref(),
        }
    }
}

impl fmt::Debug for Crypto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crypto").field("sending", &self.sending).finish_non_exhaustive()
    }
}

/// The key that wraps keys: PBKDF2 of the passphrase under the last 8 bytes of the salt.
struct Kek {
    salt: [u8; 16],
    len: usize,
    bytes: [u8; 32],
}

impl Kek {
    fn derive(passphrase: &Secret, material: &KeyMaterial) -> Self {
        let mut kek = Self { salt: material.salt, len: material.key_len, bytes: [0; 32] };
        let salt = &material.salt[8..];
        pbkdf2::pbkdf2_hmac::<Sha1>(
            passphrase.expose().as_bytes(),
            salt,
            ROUNDS,
            &mut kek.bytes[..material.key_len],
        );
        kek
    }

    fn fits(&self, material: &KeyMaterial) -> bool {
        self.salt == material.salt && self.len == material.key_len
    }

    fn wrap(&self, key: &[u8], out: &mut [u8]) -> Result<(), KeyError> {
        fn close<C>(kek: &[u8], key: &[u8], out: &mut [u8]) -> Result<(), KeyError>
        where
            AesKw<C>: KeyInit,
            C: aes::cipher::BlockCipherEncrypt<BlockSize = aes::cipher::consts::U16>,
        {
            let wrap = AesKw::<C>::new_from_slice(kek).map_err(|_| KeyError::Malformed)?;
            wrap.wrap_key(key, out).map(|_| ()).map_err(|_| KeyError::Malformed)
        }
        let kek = &self.bytes[..self.len];
        match self.len {
            16 => close::<Aes128>(kek, key, out),
            24 => close::<Aes192>(kek, key, out),
            _ => close::<Aes256>(kek, key, out),
        }
    }

    fn unwrap_keys<'a>(&self, material: &KeyMaterial, out: &'a mut [u8]) -> Result<&'a [u8], KeyError> {
        fn open<'a, C>(kek: &[u8], wrapped: &[u8], out: &'a mut [u8]) -> Result<&'a [u8], KeyError>
        where
            AesKw<C>: KeyInit,
            C: aes::cipher::BlockCipherDecrypt<BlockSize = aes::cipher::consts::U16>,
        {
            let wrap = AesKw::<C>::new_from_slice(kek).map_err(|_| KeyError::Malformed)?;
            wrap.unwrap_key(wrapped, out).map_err(|_| KeyError::WrongPassphrase)
        }
        let kek = &self.bytes[..self.len];
        match self.len {
            16 => open::<Aes128>(kek, material.wrapped(), out),
            24 => open::<Aes192>(kek, material.wrapped(), out),
            _ => open::<Aes256>(kek, material.wrapped(), out),
        }
    }
}

/// One stream key, expanded, with the salt it came with.
struct Key {
    cipher: Cipher,
    nonce: [u8; NONCE_LEN],
}

#[derive(Clone)]
enum Cipher {
    Aes128(Aes128),
    Aes192(Aes192),
    Aes256(Aes256),
}

impl Key {
    fn new(key: &[u8], salt: &[u8; 16]) -> Option<Self> {
        let cipher = match key.len() {
            16 => Cipher::Aes128(Aes128::new_from_slice(key).ok()?),
            24 => Cipher::Aes192(Aes192::new_from_slice(key).ok()?),
            32 => Cipher::Aes256(Aes256::new_from_slice(key).ok()?),
            _ => return None,
        };
        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(&salt[..NONCE_LEN]);
        Some(Self { cipher, nonce })
    }

    /// The sequence number at bytes 10 to 13, under the salt; bytes 14 and 15 count blocks.
    fn iv(&self, seq: Seq) -> [u8; 16] {
        let mut iv = [0; 16];
        iv[..NONCE_LEN].copy_from_slice(&self.nonce);
        for (byte, part) in iv[10..NONCE_LEN].iter_mut().zip(seq.raw().to_be_bytes()) {
            *byte ^= part;
        }
        iv
    }

    fn apply(&self, seq: Seq, payload: &mut [u8]) {
        let iv = self.iv(seq).into();
        match &self.cipher {
            Cipher::Aes128(cipher) => keystream(cipher.clone(), &iv, payload),
            Cipher::Aes192(cipher) => keystream(cipher.clone(), &iv, payload),
            Cipher::Aes256(cipher) => keystream(cipher.clone(), &iv, payload),
        }
    }
}

fn keystream<C>(cipher: C, iv: &aes::cipher::Block<C>, payload: &mut [u8])
where
    C: aes::cipher::BlockCipherEncrypt<BlockSize = aes::cipher::consts::U16>,
{
    let core = CtrCore::<C, Ctr128BE>::inner_iv_init(cipher, iv);
    StreamCipherCoreWrapper::from_core(core).apply_keystream(payload);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Recorded from libsrt 1.5.1: passphrase 0123456789abc, AES-128, one even key.
    const RECORDED: &str = "122029010000000002000200000004 04b32fc7b6131b91a7ebbe8a15a00d3d29b7945f17680a8c6c6da7d\
                            a28df037130be964e2b1a24b5ed";

    fn hex(text: &str) -> Bytes {
        let digits: Vec<u8> = text.bytes().filter(|c| !c.is_ascii_whitespace()).collect();
        digits
            .as_chunks::<2>()
            .0
            .iter()
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ascii"), 16).expect("hex"))
            .collect()
    }

    fn passphrase() -> Secret {
        Secret::new("0123456789abc")
    }

    fn recorded() -> Crypto {
        let material = KeyMaterial::parse(hex(RECORDED)).expect("material");
        Crypto::open(passphrase(), &material).expect("right passphrase")
    }

    /// A KM message as a caller would make it.
    fn material(passphrase: &Secret, salt: [u8; 16], parity: u8, keys: &[u8], key_len: usize) -> Bytes {
        let mut raw = vec![0x12, 0x20, 0x29, parity, 0, 0, 0, 0, 2, 0, 2, 0, 0, 0, 4, (key_len / 4) as u8];
        raw.extend_from_slice(&salt);
        let mut kek = vec![0; key_len];
        pbkdf2::pbkdf2_hmac::<Sha1>(passphrase.expose().as_bytes(), &salt[8..], ROUNDS, &mut kek);
        let mut out = vec![0; keys.len() + 8];
        match key_len {
            16 => aes_kw::KwAes128::new_from_slice(&kek).expect("len").wrap_key(keys, &mut out).map(drop),
            24 => aes_kw::KwAes192::new_from_slice(&kek).expect("len").wrap_key(keys, &mut out).map(drop),
            _ => aes_kw::KwAes256::new_from_slice(&kek).expect("len").wrap_key(keys, &mut out).map(drop),
        }
        .expect("wrap");
        raw.extend_from_slice(&out);
        raw.into()
    }

    #[test]
    fn recorded_connection_opens_and_decrypts() {
        let material = KeyMaterial::parse(hex(RECORDED)).expect("material");
        assert_eq!(material.encryption_field(), 2);
        let kek = Kek::derive(&passphrase(), &material);
        assert_eq!(kek.bytes[..16], hex("f25c4edbc96fd9d412c43e561c35027b"));
        let crypto = recorded();
        let key = crypto.even.as_ref().expect("even key");
        let seq = Seq::new(0x2fad_dee7);
        assert_eq!(key.iv(seq)[..], hex("b32fc7b6131b91a7ebbea5b87eea0000"));
        let sealed = hex("6140b4594729b3a9");
        let clear = crypto.decrypt(KeyParity::Even, seq, sealed.clone()).expect("even");
        assert_eq!(clear, hex("474011100042f025"));
        let mut again = clear.to_vec();
        assert_eq!(crypto.encrypt(seq, &mut again), KeyParity::Even);
        assert_eq!(again, sealed);
        assert_eq!(crypto.decrypt(KeyParity::Odd, seq, sealed.clone()), None);
        assert_eq!(crypto.decrypt(KeyParity::Clear, seq, sealed), None);
    }

    #[test]
    fn wrong_passphrase() {
        let material = KeyMaterial::parse(hex(RECORDED)).expect("material");
        let error = Crypto::open(Secret::new("0123456789abd"), &material).expect_err("wrong");
        assert_eq!(error, KeyError::WrongPassphrase);
    }

    #[test]
    fn fields_are_checked_before_any_cryptography() {
        let good = hex(RECORDED).to_vec();
        for (at, value, error) in [
            (0, 0x11, KeyError::Malformed),
            (1, 0, KeyError::Malformed),
            (3, 0, KeyError::Malformed),
            (3, 3, KeyError::Malformed),
            (7, 1, KeyError::Malformed),
            (8, 4, KeyError::Cipher),
            (9, 1, KeyError::Cipher),
            (10, 0, KeyError::Malformed),
            (14, 2, KeyError::Malformed),
            (15, 5, KeyError::Malformed),
            (15, 8, KeyError::Malformed),
        ] {
            let mut bad = good.clone();
            bad[at] = value;
            assert_eq!(KeyMaterial::parse(bad.into()), Err(error), "byte {at} = {value}");
        }
        for len in 0..good.len() {
            assert!(KeyMaterial::parse(Bytes::copy_from_slice(&good[..len])).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn every_key_length_and_both_keys() {
        for len in [16, 24, 32] {
            let keys: Vec<u8> = (0..2 * len as u8).collect();
            let raw = material(&passphrase(), [7; 16], 3, &keys, len);
            let crypto = Crypto::open(passphrase(), &KeyMaterial::parse(raw).expect("both")).expect("opens");
            let (seq, clear) = (Seq::new(9), Bytes::from_static(b"payload"));
            let even = crypto.decrypt(KeyParity::Even, seq, clear.clone()).expect("even");
            let odd = crypto.decrypt(KeyParity::Odd, seq, clear.clone()).expect("odd");
            assert_ne!(even, odd);
            assert_eq!(crypto.decrypt(KeyParity::Odd, seq, odd), Some(clear));
        }
    }

    #[test]
    fn a_refresh_adds_keys_is_answered_every_time_and_is_paced() {
        let mut crypto = recorded();
        let start = Instant::now();
        assert_eq!(crypto.refresh(&hex(RECORDED), start), Refresh::Reply(hex(RECORDED)));
        let salt = crypto.kek.salt;
        let odd = material(&passphrase(), salt, 2, &[5; 16], 16);
        assert_eq!(crypto.refresh(&odd, start), Refresh::Reply(odd.clone()));
        assert_eq!(crypto.refresh(&odd, start), Refresh::Reply(odd.clone()));
        assert!(crypto.even.is_some() && crypto.odd.is_some(), "the even key stays");
        let other = material(&passphrase(), [1; 16], 1, &[6; 16], 16);
        assert_eq!(crypto.refresh(&other, start), Refresh::TooSoon);
        let later = start + NEW_KEY_INTERVAL;
        assert_eq!(crypto.refresh(&other, later), Refresh::Reply(other.clone()));
        let foreign = material(&Secret::new("another passphrase"), [2; 16], 1, &[6; 16], 16);
        let later = later + NEW_KEY_INTERVAL;
        assert_eq!(crypto.refresh(&foreign, later), Refresh::Refused(KeyError::WrongPassphrase));
        assert_eq!(crypto.refresh(&other, later), Refresh::Reply(other), "the old keys still hold");
    }

    proptest! {
        #[test]
        fn mutated_material_never_panics(at: prop::sample::Index, value: u8, cut: prop::sample::Index) {
            let mut raw = hex(RECORDED).to_vec();
            let at = at.index(raw.len());
            raw[at] = value;
            raw.truncate(cut.index(raw.len() + 1));
            let _ = KeyMaterial::parse(raw.into());
        }
    }
}
