//! Bytes of a transport stream in the pieces in which SRT delivers them, to events.

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
    let mut noise = 0x2545_f491u32;
    let mut slice = |length: usize| -> Vec<u8> {
        std::iter::repeat_with(|| {
            noise ^= noise << 13;
            noise ^= noise >> 17;
            noise ^= noise << 5;
            noise as u8 | 1
        })
        .take(length)
        .collect()
    };
    for number in 0..100u32 {
        let time = 90_000 + u64::from(number) * 1800;
        let (mut unit, length) = match number % 50 {
            0 => (h264::key(), 4 * picture_bytes),
            frame => (h264::delta(frame), picture_bytes),
        };
        unit.extend(slice(length));
        mux.pes(VIDEO, at(0xe0, time), &unit);
        mux.pes(AUDIO, at(0xc0, time), &adts::frame(0x21, 340, 2));
    }
    mux.bytes
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
