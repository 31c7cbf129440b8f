//! Tags as RTMP delivers them to events, and frames to transport packets and to tags.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]
#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks for the events it is about")]

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use moqgate_mux::catalog::Catalog;
use moqgate_mux::event::{CodecConfig, Event, MediaFrame};
use moqgate_mux::flv::{Capabilities, Importer, Tag, TagKind};
use moqgate_mux::{flv, ts};

#[path = "../tests/it/media.rs"]
#[expect(dead_code, reason = "shared with the tests, which use all of it")]
mod media;

use media::h264;

/// Pictures per second; a keyframe each second, of four times the size.
const RATE: u32 = 50;

fn tags(picture_bytes: usize, seconds: u32) -> Vec<Tag> {
    let (sps, pps) = (h264::sps(), h264::pps(0));
    let mut record = vec![0x17, 0, 0, 0, 0, 1, sps[1], sps[2], sps[3], 0xff, 0xe1, 0, sps.len() as u8];
    record.extend(&sps);
    record.extend([1, 0, pps.len() as u8]);
    record.extend(&pps);
    let tag = |kind, timestamp_ms, body: Vec<u8>| Tag { kind, timestamp_ms, body: Bytes::from(body) };
    let mut tags = vec![tag(TagKind::Video, 0, record), tag(TagKind::Audio, 0, vec![0xaf, 0, 0x11, 0x90])];
    let mut noise = Noise(0x2545_f491, 0);
    for number in 0..seconds * RATE {
        let time = number * 1000 / RATE;
        let (head, mut nal, length) = match number % RATE {
            0 => (0x17, h264::idr(0), 4 * picture_bytes),
            frame => (0x27, h264::inter(frame % 16, 0), picture_bytes),
        };
        nal.extend(noise.by_ref().take(length));
        let mut body = vec![head, 1, 0, 0, 0];
        body.extend((nal.len() as u32).to_be_bytes());
        body.extend(nal);
        tags.push(tag(TagKind::Video, time, body));
        tags.push(tag(TagKind::Audio, time, [&[0xaf, 1][..], &[0x21; 340]].concat()));
    }
    tags
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

fn import(tags: &[Tag], mut take: impl FnMut(Event)) {
    let mut importer = Importer::new();
    for tag in tags {
        importer.push(tag.clone());
        std::iter::from_fn(|| importer.poll()).for_each(&mut take);
    }
    importer.finish();
    std::iter::from_fn(|| importer.poll()).for_each(&mut take);
}

/// Catalog and frames of the same stream.
fn broadcast(tags: &[Tag]) -> (Catalog, Vec<(&'static str, MediaFrame)>) {
    let (mut catalog, mut names, mut frames) = (Catalog::default(), Vec::new(), Vec::new());
    import(tags, |event| match event {
        Event::Track(track) => {
            let name = track.config.suffix();
            match &track.config {
                CodecConfig::Video(video) => {
                    drop(catalog.video.renditions.insert(name.to_owned(), video.into()));
                }
                CodecConfig::Audio(audio) => {
                    drop(catalog.audio.renditions.insert(name.to_owned(), audio.into()));
                }
                CodecConfig::Data(_) => {}
            }
            names.push((track.id, name));
        }
        Event::Frame { track, frame } => {
            frames.push((names.iter().find(|(id, _)| *id == track).unwrap().1, frame));
        }
        _ => {}
    });
    (catalog, frames)
}

fn export_ts(catalog: &Catalog, frames: &[(&'static str, MediaFrame)]) -> usize {
    let mut bytes = 0;
    let mut exporter = ts::Exporter::new(ts::ExportConfig::default());
    let mut take = |exporter: &mut ts::Exporter| {
        std::iter::from_fn(|| exporter.poll()).for_each(|chunk| bytes += black_box(chunk).len());
    };
    exporter.catalog(catalog);
    for (track, frame) in frames {
        exporter.push(track, frame.pts, frame.keyframe, &frame.payload);
        take(&mut exporter);
    }
    exporter.finish();
    take(&mut exporter);
    bytes
}

fn export_flv(catalog: &Catalog, frames: &[(&'static str, MediaFrame)]) -> usize {
    let mut bytes = 0;
    let mut exporter = flv::Exporter::new(Capabilities::legacy());
    let mut take = |exporter: &mut flv::Exporter| {
        std::iter::from_fn(|| exporter.poll()).for_each(|tag| bytes += black_box(tag).body.len());
    };
    exporter.catalog(catalog);
    for (track, frame) in frames {
        exporter.push(track, frame.pts, frame.keyframe, &frame.payload);
        take(&mut exporter);
    }
    exporter.finish();
    take(&mut exporter);
    bytes
}

/// Two seconds stay in the caches of a processor, twenty of a contribution feed do not.
fn containers(criterion: &mut Criterion) {
    for (megabits, seconds) in [(1, 2), (5, 2), (50, 2), (50, 20)] {
        let tags = tags(megabits * 1_000_000 / 8 / RATE as usize, seconds);
        let bytes: usize = tags.iter().map(|tag| tag.body.len()).sum();
        let (catalog, frames) = broadcast(&tags);
        assert_eq!(frames.len(), (2 * seconds * RATE) as usize);
        let media: usize = frames.iter().map(|(_, frame)| frame.media().len()).sum();
        assert!(media > bytes * 99 / 100, "{media} of {bytes} bytes came in");
        assert!(export_ts(&catalog, &frames) > bytes, "a transport stream is longer");
        assert!(export_flv(&catalog, &frames) > bytes * 99 / 100);
        let id = |name: &str| BenchmarkId::new(name, format!("{seconds} s of {megabits} Mbit/s"));
        let mut group = criterion.benchmark_group("containers");
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(id("flv_import"), |bencher| {
            bencher.iter(|| import(black_box(&tags), |event| drop(black_box(event))));
        });
        group.bench_function(id("ts_export"), |bencher| bencher.iter(|| export_ts(&catalog, &frames)));
        group.bench_function(id("flv_export"), |bencher| bencher.iter(|| export_flv(&catalog, &frames)));
        group.finish();
    }
}

criterion_group!(all, containers);
criterion_main!(all);
