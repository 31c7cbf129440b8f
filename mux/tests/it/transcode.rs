//! AAC to Opus, heard with another decoder: the tone, its strength, and when it begins.

use std::f64::consts::TAU;

use bytes::Bytes;
use moqgate_core::Timestamp;
use moqgate_mux::event::{AudioCodec, CodecConfig, MediaFrame};
use moqgate_mux::transcode::{AacToOpus, OpusConfig};
use proptest::prelude::*;

use crate::builder::{Imported, import};
use crate::ts_clips::clip;

/// AudioSpecificConfig and units of the sound in a clip.
fn sound(name: &str) -> (Bytes, Vec<(Timestamp, Bytes)>) {
    let imported: Imported = import(&clip(name));
    let track = imported.tracks().into_iter().find(|track| track.config.kind() == "audio").unwrap().clone();
    let CodecConfig::Audio(config) = &track.config else { panic!("no sound") };
    let frames = imported.frames(track.origin.unwrap().pid);
    let units = frames.iter().map(|frame| (frame.pts, Bytes::copy_from_slice(frame.media()))).collect();
    (config.description.clone().unwrap(), units)
}

fn run(transcoder: &mut AacToOpus, units: &[(Timestamp, Bytes)]) -> Vec<MediaFrame> {
    let mut packets = Vec::new();
    for (time, unit) in units {
        transcoder.push(*time, unit);
        packets.extend(std::iter::from_fn(|| transcoder.poll()));
    }
    packets
}

fn transcode(name: &str) -> (AacToOpus, Vec<MediaFrame>) {
    let (config, units) = sound(name);
    let mut transcoder = AacToOpus::new(&config, OpusConfig::default()).unwrap();
    let packets = run(&mut transcoder, &units);
    (transcoder, packets)
}

/// What is heard on one channel, from the time of the first packet on.
fn hear(packets: &[MediaFrame], channels: usize, channel: usize) -> Vec<f32> {
    let layout = if channels == 1 { opus::Channels::Mono } else { opus::Channels::Stereo };
    let mut decoder = opus::Decoder::new(48_000, layout).unwrap();
    let mut heard = Vec::new();
    for packet in packets {
        let mut samples = vec![0.0; 5760 * channels];
        let count = decoder.decode_float(packet.media(), &mut samples, false).unwrap();
        assert_eq!(count, 960, "20 ms");
        heard.extend(samples[..count * channels].iter().skip(channel).step_by(channels));
    }
    heard
}

fn strength(samples: &[f32]) -> f64 {
    let sum: f64 = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    (sum / samples.len() as f64).sqrt()
}

/// Strength of one frequency alone.
fn tone(samples: &[f32], frequency: f64) -> f64 {
    let (mut re, mut im) = (0.0, 0.0);
    for (index, sample) in samples.iter().enumerate() {
        let phase = TAU * frequency * index as f64 / 48_000.0;
        re += f64::from(*sample) * phase.cos();
        im += f64::from(*sample) * phase.sin();
    }
    (re.powi(2) + im.powi(2)).sqrt() * 2f64.sqrt() / samples.len() as f64
}

#[test]
fn a_tone_keeps_its_pitch_and_strength() {
    let full = 0.5 / 2f64.sqrt();
    // ffmpeg's tone has an eighth of the range, and as stereo it is split over both channels.
    for (name, channels, channel, frequency, expected) in [
        ("tone44.ts", 2, 0, 440.0, full),
        ("tone44.ts", 2, 1, 1000.0, full),
        ("demo.ts", 2, 0, 440.0, full / 4.0 / 2f64.sqrt()),
        ("hevc.ts", 1, 0, 440.0, full / 4.0),
    ] {
        let (transcoder, packets) = transcode(name);
        let heard = hear(&packets, channels, channel);
        // Whole periods, behind the beginning of both tones.
        let part = &heard[72_000..72_000 + 48_000];
        let (all, one) = (strength(part), tone(part, frequency));
        assert!((all / expected - 1.0).abs() < 0.05, "{name} {channel}: {all} {expected}");
        assert!((one / all - 1.0).abs() < 0.01, "{name} {channel}: {one} of {all} at {frequency} Hz");
        assert_eq!(transcoder.stats().gaps, 0);
        assert!(!transcoder.is_core_only());
        let output = transcoder.output();
        assert_eq!(
            (output.codec, output.sample_rate, output.channels),
            (AudioCodec::Opus, 48_000, channels as u32)
        );
        assert_eq!(output.description.unwrap()[9..12], [channels as u8, 0x38, 1], "pre-skip of 312 samples");
    }
}

/// Band replication over units that are heard without it.
#[test]
fn of_he_aac_the_core_is_heard() {
    let (_, units) = sound("hevc.ts");
    // Object type 5 at 48 kHz, mono, to 96 kHz, over Low Complexity.
    let config = Bytes::from_static(&[0x29, 0x88, 0x08, 0x00]);
    let mut transcoder = AacToOpus::new(&config, OpusConfig::default()).unwrap();
    let packets = run(&mut transcoder, &units);
    assert!(transcoder.is_core_only());
    assert_eq!(transcoder.stats().frames_damaged, 0);
    let heard = hear(&packets, 1, 0);
    let part = &heard[72_000..72_000 + 48_000];
    assert!((tone(part, 440.0) / strength(part) - 1.0).abs() < 0.01);
}

/// The tone on the right begins after a second: where in the source's samples, another decoder says.
#[test]
fn sound_stays_with_its_picture() {
    use symphonia_codec_aac::AacDecoder;
    use symphonia_core::audio::{Audio, GenericAudioBufferRef};
    use symphonia_core::codecs::audio::well_known::CODEC_ID_AAC;
    use symphonia_core::codecs::audio::{AudioCodecParameters, AudioDecoder};

    let (config, units) = sound("tone44.ts");
    let mut parameters = AudioCodecParameters::new();
    parameters.for_codec(CODEC_ID_AAC).with_extra_data(config.to_vec().into());
    let mut decoder = AacDecoder::try_new(&parameters, &Default::default()).unwrap();
    let loud = |samples: &[f32]| samples.iter().position(|sample| sample.abs() > 0.2);
    let began = units.iter().find_map(|(time, unit)| {
        let packet = symphonia_core::packet::PacketRef::new(0, 0i64.into(), 1024u64.into(), unit);
        let GenericAudioBufferRef::F32(decoded) = decoder.decode_ref(&packet).unwrap() else {
            panic!("floats")
        };
        Some(time.as_micros() as i64 + loud(decoded.plane(1)?)? as i64 * 1_000_000 / 44_100)
    });
    let (_, packets) = transcode("tone44.ts");
    let heard = hear(&packets, 2, 1);
    let first = packets[0].pts.as_micros() as i64;
    let late = first + loud(&heard).unwrap() as i64 * 1_000_000 / 48_000 - began.unwrap();
    assert!(late.abs() < 1000, "{late} us");
}

#[test]
fn times_hold_for_ten_minutes() {
    // On time, and by 200 parts per million fast and slow, with the rounding of 90 kHz; resampled for half a minute,
    // because transforms take their time in a debug build.
    for (name, rate, drift, seconds) in
        [("hevc.ts", 48_000, 200i64, 600), ("tone44.ts", 44_100, 0, 30), ("tone44.ts", 44_100, -200, 30)]
    {
        let (config, units) = sound(name);
        let mut transcoder =
            AacToOpus::new(&config, OpusConfig { complexity: 0, ..OpusConfig::default() }).unwrap();
        let (mut packets, mut shown) = (0i64, None);
        for number in 0..seconds * rate / 1024 {
            let exact = 10_000_000 + number * 1024 * 1_000_000 / rate;
            let exact = exact + (exact - 10_000_000) * drift / 1_000_000;
            let time = Timestamp::from_scale((exact * 9 / 100) as u64, 90_000).unwrap();
            transcoder.push(time, &units[number as usize % 80 + 10].1);
            while let Some(packet) = transcoder.poll() {
                let pts = packet.pts.as_micros() as i64;
                let first = *shown.get_or_insert(pts);
                let due = first + packets * 20_000 + packets * 20_000 * drift / 1_000_000;
                assert!((pts - due).abs() < 1000, "{drift}: packet {packets} is at {pts}, not {due}");
                packets += 1;
            }
        }
        assert_eq!(transcoder.stats().gaps, 0);
        assert!(packets >= seconds * 50 - 4, "{packets}");
    }
}

#[test]
fn missing_sound_moves_what_follows() {
    let (config, units) = sound("demo.ts");
    let kept: Vec<_> = [&units[..100], &units[150..]].concat();
    let mut transcoder = AacToOpus::new(&config, OpusConfig::default()).unwrap();
    let packets = run(&mut transcoder, &kept);
    assert_eq!(transcoder.stats().gaps, 1);
    let steps: Vec<_> =
        packets.windows(2).map(|pair| pair[1].pts.checked_sub(pair[0].pts).unwrap()).collect();
    let long: Vec<_> = steps.iter().filter(|step| step.as_micros() > 20_100).collect();
    assert_eq!(long.len(), 1);
    // A packet, 50 frames of 21.3 ms, and less than a packet that was not filled any more.
    assert!((1_086_000..1_107_000).contains(&long[0].as_micros()), "{long:?}");
}

#[test]
fn damaged_sound_costs_its_frame_only() {
    let (config, mut units) = sound("demo.ts");
    units[50].1 = Bytes::from_static(&[0x5f, 1, 2, 3]);
    units[51].1 = Bytes::new();
    let mut transcoder = AacToOpus::new(&config, OpusConfig::default()).unwrap();
    let packets = run(&mut transcoder, &units);
    let stats = transcoder.stats();
    assert_eq!((stats.frames_damaged, stats.gaps), (1, 0), "an empty unit is silence");
    assert_eq!(stats.frames_out as usize, packets.len());
    assert_eq!(packets.len(), units.len() * 1024 / 960);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn anything_may_come(
        units in prop::collection::vec((any::<u32>(), prop::collection::vec(any::<u8>(), 0..400), 0..80usize, any::<u8>()), 1..30),
        config in prop::sample::select(vec![&[0x12u8, 0x10][..], &[0x11, 0x88], &[0x2b, 0x11, 0x88, 0]])
    ) {
        let (_, real) = sound("hevc.ts");
        let mut transcoder = AacToOpus::new(&Bytes::from_static(config), OpusConfig::default()).unwrap();
        for (index, (time, junk, at, flip)) in units.into_iter().enumerate() {
            let mut bent = real[index].1.to_vec();
            if let Some(byte) = bent.get_mut(at) {
                *byte ^= flip;
            }
            for unit in [bent, junk] {
                transcoder.push(Timestamp::from_micros(u64::from(time)), &unit);
                prop_assert!(std::iter::from_fn(|| transcoder.poll()).count() < 20);
            }
        }
    }
}
