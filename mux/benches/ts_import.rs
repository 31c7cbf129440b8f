//! Bytes of a transport stream in the pieces in which SRT delivers them, to events.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]
#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks for the events it is about")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use moqgate_mux::event::Event;
use moqgate_mux::ts::{ImportConfig, Importer};

#[path = "../tests/it/builder.rs"]
#[expect(dead_code, reason = "shared with the tests, which use all of it")]
mod builder;
#[path = "../tests/it/media.rs"]
#[expect(dead_code, reason = "shared with the tests, which use all of it")]
mod media;

use builder::{AUDIO, Mux, VIDEO, at};
use media::{adts, h264};

/// Seven packets: the payload of one SRT datagram.
const PIECE: usize = 1316;

/// Two seconds at 50 pictures a second, keyframes of four times the size, and sound.
fn stream(picture_bytes: usize) -> Vec<u8> {
    let mut mux = Mux::with_program(&[(0x1b, VIDEO, &[]), (0x0f, AUDIO, &[])]);
    let mut noise = Noise(0x2545_f491, 0);
    for number in 0..100u32 {
        let time = 90_000 + u64::from(number) * 1800;
        let (mut unit, length) = match number % 50 {
            0 => (h264::key(), 4 * picture_bytes),
            frame => (h264::delta(frame), picture_bytes),
        };
        unit.extend(noise.by_ref().take(length));
        mux.pes(VIDEO, at(0xe0, time), &unit);
        mux.pes(AUDIO, at(0xc0, time), &adts::frame(0x21, 340, 2));
    }
    mux.bytes
}

/// Coded pictures as a search for start codes sees them: all bytes, zeros never more than two in a row.
struct Noise(u32, u8);

impl Iterator for Noise {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        let byte = self.0 as u8 | if self.1 == 2 { 4 } else { 0 };
        self.1 = if byte == 0 { self.1 + 1 } else { 0 };
        Some(byte)
    }
}

fn import(bytes: &[u8]) -> usize {
    let mut importer = Importer::new(ImportConfig::default());
    let mut payload = 0;
    let mut take = |importer: &mut Importer| {
        while let Some(event) = importer.poll() {
            if let Event::Frame { frame, .. } = black_box(event) {
                payload += frame.payload.len();
            }
        }
    };
    for piece in bytes.chunks(PIECE) {
        importer.push(piece);
        take(&mut importer);
    }
    importer.finish();
    take(&mut importer);
    payload
}

fn ts_import(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ts_import");
    for megabits in [1, 5, 50] {
        let bytes = stream(megabits * 1_000_000 / 8 / 50);
        assert!(import(&bytes) > bytes.len() / 2, "the stream is read");
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(BenchmarkId::new("events", format!("{megabits} Mbit/s")), |bencher| {
            bencher.iter(|| import(black_box(&bytes)));
        });
    }
    group.finish();
}

criterion_group!(benches, ts_import);
criterion_main!(benches);
