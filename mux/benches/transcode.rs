//! AAC to Opus: what one listener's broadcast costs. The figure to look at is the time for a second of sound.

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking, as tests do")]

use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use moqgate_core::Timestamp;
use moqgate_mux::event::{CodecConfig, Event};
use moqgate_mux::transcode::{AacToOpus, OpusConfig};
use moqgate_mux::ts::{ImportConfig, Importer};

type Sound = (Bytes, Vec<(Timestamp, Bytes)>);

/// AudioSpecificConfig and the units of a second.
fn sound(clip: &str, rate: usize) -> Sound {
    let path = format!("{}/../fixtures/{clip}.ts", env!("CARGO_MANIFEST_DIR"));
    let mut importer = Importer::new(ImportConfig::default());
    importer.push(&std::fs::read(path).unwrap());
    importer.finish();
    let (mut found, mut config, mut units) = (None, Bytes::new(), Vec::new());
    while let Some(event) = importer.poll() {
        if let Event::Track(track) = &event
            && let CodecConfig::Audio(audio) = &track.config
        {
            (found, config) = (Some(track.id), audio.description.clone().unwrap());
        }
        if let Event::Frame { track, frame } = event
            && Some(track) == found
        {
            units.push((frame.pts, Bytes::copy_from_slice(frame.media())));
        }
    }
    units.truncate(rate / 1024);
    (config, units)
}

fn transcode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("aac_to_opus_one_second");
    group.sample_size(20);
    for (name, clip, rate) in
        [("48kHz_stereo", "demo", 48_000), ("44kHz_stereo", "tone44", 44_100), ("48kHz_mono", "hevc", 48_000)]
    {
        let (config, units) = sound(clip, rate);
        for complexity in [0, 5, 10] {
            let options = OpusConfig { complexity, ..OpusConfig::default() };
            group.bench_function(format!("{name}/complexity_{complexity}"), |bencher| {
                let start = || AacToOpus::new(&config, options.clone()).unwrap();
                bencher.iter_batched_ref(
                    start,
                    |transcoder| {
                        for (time, unit) in &units {
                            transcoder.push(*time, unit);
                            while transcoder.poll().is_some() {}
                        }
                    },
                    BatchSize::SmallInput,
                );
            });
        }
    }
    group.finish();
}

criterion_group!(benches, transcode);
criterion_main!(benches);
