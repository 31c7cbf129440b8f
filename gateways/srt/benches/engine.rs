//! Packets through the engine: what one received packet costs, clear and AES-128, delivery and acknowledging included.

use std::time::{Duration, Instant};

use aes_kw::{KeyInit, KwAes128};
use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use moqgate_core::Secret;
use moqgate_srt::crypto::{Crypto, KeyMaterial};
use moqgate_srt::engine::{Connection, Params};
use moqgate_srt::wire::{Data, KeyParity, Seq};

/// Packets per measured batch: two and a half seconds of a 4.3 Mbit/s stream.
const PACKETS: u32 = 1024;

/// Distance of two packets of a 4.3 Mbit/s stream.
const PERIOD: Duration = Duration::from_micros(2_440);

const PAYLOAD: [u8; 1316] = [0x47; 1316];

fn crypto() -> Crypto {
    let mut raw = vec![0x12, 0x20, 0x29, 1, 0, 0, 0, 0, 2, 0, 2, 0, 0, 0, 4, 4];
    let salt = [9; 16];
    raw.extend_from_slice(&salt);
    let mut kek = [0; 16];
    pbkdf2::pbkdf2_hmac::<sha1::Sha1>(b"0123456789abc", &salt[8..], 2048, &mut kek);
    let mut wrapped = [0; 24];
    KwAes128::new_from_slice(&kek).expect("length").wrap_key(&[7; 16], &mut wrapped).expect("length");
    raw.extend_from_slice(&wrapped);
    let material = KeyMaterial::parse(raw.into()).expect("well formed");
    Crypto::open(Secret::new("0123456789abc"), &material).expect("same passphrase")
}

fn datagrams(encrypted: bool) -> Vec<Bytes> {
    (0..PACKETS)
        .map(|step| Data {
            seq: Seq::new(step),
            position: 3,
            in_order: true,
            key: if encrypted { KeyParity::Even } else { KeyParity::Clear },
            retransmitted: false,
            message: step + 1,
            timestamp: step * PERIOD.as_micros() as u32,
            destination: 1,
            payload: Bytes::from_static(&PAYLOAD),
        })
        .map(|data| data.to_bytes())
        .collect()
}

fn engine(id: u32, start: Instant, encrypted: bool) -> Connection {
    let mut params = Params::new(id, 3 - id, Seq::new(0), start);
    params.crypto = encrypted.then(crypto);
    Connection::new(params, start)
}

fn receive(c: &mut Criterion) {
    let mut group = c.benchmark_group("srt_receive");
    group.throughput(Throughput::Elements(u64::from(PACKETS)));
    for (name, encrypted) in [("clear", false), ("aes128", true)] {
        group.bench_function(name, |bench| {
            let start = Instant::now();
            bench.iter_batched(
                || (engine(1, start, encrypted), datagrams(encrypted)),
                |(mut receiver, datagrams)| {
                    let mut now = start;
                    let mut delivered = 0;
                    for datagram in datagrams {
                        receiver.handle(datagram, now);
                        while receiver.poll_transmit().is_some() {}
                        while receiver.poll_deliver(now).is_some() {
                            delivered += 1;
                        }
                        now = receiver.poll_timeout().map_or(now, |_| now + PERIOD);
                    }
                    (receiver, delivered)
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

/// Both engines, their ACKs and ACKACKs exchanged without delay.
fn transfer(c: &mut Criterion) {
    let mut group = c.benchmark_group("srt_transfer");
    group.throughput(Throughput::Elements(u64::from(PACKETS)));
    for (name, encrypted) in [("clear", false), ("aes128", true)] {
        group.bench_function(name, |bench| {
            let start = Instant::now();
            bench.iter_batched(
                || (engine(2, start, encrypted), engine(1, start, encrypted)),
                |(mut sender, mut receiver)| {
                    let mut now = start;
                    for _ in 0..PACKETS {
                        sender.push(&PAYLOAD, now).expect("open");
                        while let Some(datagram) = sender.poll_transmit() {
                            receiver.handle(datagram, now);
                        }
                        while let Some(datagram) = receiver.poll_transmit() {
                            sender.handle(datagram, now);
                        }
                        while receiver.poll_deliver(now).is_some() {}
                        now += PERIOD;
                    }
                    (sender, receiver)
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, receive, transfer);
criterion_main!(benches);
