//! RTP out and in, per packet of a real clip.

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking, as tests do")]
#![expect(clippy::disallowed_methods, reason = "a benchmark is where time comes from")]

use std::time::Instant;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use moqgate_mux::event::{Event, MediaFrame};
use moqgate_mux::rtp::{Codec, ExportConfig, Exporter, Format, ImportConfig, Importer, Packet};
use moqgate_mux::ts;

fn frames(clip: &str) -> Vec<MediaFrame> {
    let path = format!("{}/../fixtures/{clip}.ts", env!("CARGO_MANIFEST_DIR"));
    let mut importer = ts::Importer::new(ts::ImportConfig::default());
    importer.push(&std::fs::read(path).unwrap());
    importer.finish();
    let (mut video, mut frames) = (None, Vec::new());
    while let Some(event) = importer.poll() {
        match event {
            Event::Track(track) if track.config.kind() == "video" => video = Some(track.id),
            Event::Frame { track, frame } if Some(track) == video => frames.push(frame),
            Event::Track(_)
            | Event::Config { .. }
            | Event::Frame { .. }
            | Event::TrackEnd(_)
            | Event::Discontinuity
            | Event::Problem(_) => {}
        }
    }
    frames
}

fn export(frames: &[MediaFrame]) -> Vec<Packet> {
    let mut exporter = Exporter::with_codec(Codec::H264, ExportConfig::default());
    let mut packets = Vec::new();
    for frame in frames {
        exporter.push(frame.pts, frame.keyframe, &frame.payload);
        packets.extend(std::iter::from_fn(|| exporter.poll()));
    }
    packets
}

fn import(packets: Vec<Packet>) -> usize {
    let mut importer = Importer::new(ImportConfig::default());
    let stream = importer.add(&Format::new(Codec::H264, "")).unwrap();
    let now = Instant::now();
    let mut outputs = 0;
    for packet in packets {
        importer.push(stream, packet, now);
        outputs += std::iter::from_fn(|| importer.poll()).count();
    }
    outputs
}

fn rtp(criterion: &mut Criterion) {
    let frames = frames("demo");
    let packets = export(&frames);
    let mut group = criterion.benchmark_group("rtp_h264");
    group.throughput(Throughput::Elements(packets.len() as u64));
    group.bench_function("export", |bencher| bencher.iter(|| export(&frames)));
    group.bench_function("import", |bencher| {
        bencher.iter_batched(|| packets.clone(), import, BatchSize::SmallInput);
    });
    group.finish();
}

criterion_group!(benches, rtp);
criterion_main!(benches);
