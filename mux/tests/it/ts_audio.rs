//! Sound: frames that ignore packet borders, damage, new parameters.

use crate::builder::{AUDIO, Mux, VIDEO, at, import, without_time};
use crate::media::{adts, h264};
use crate::ts_clips::clip;
use moqgate_mux::event::CodecConfig;

#[test]
fn line_10_frames_split_over_packets_and_many_in_one() {
    let mut mux = Mux::with_program(&[(0x0f, AUDIO, &[])]);
    let frames: Vec<_> = (1..=8).map(|fill| adts::frame(fill, 300, 2)).collect();
    // Three and a half frames, the rest of them, with one timestamp per packet: of the first frame that begins there.
    let all = frames.concat();
    let (first, rest) = all.split_at(3 * 307 + 150);
    let (second, third) = rest.split_at(2 * 307);
    mux.pes(AUDIO, at(0xc0, 90_000), first);
    mux.pes(AUDIO, at(0xc0, 90_000 + 4 * 1920), second);
    mux.pes(AUDIO, without_time(0xc0), third);
    let imported = import(&mux.bytes);
    let expected: Vec<_> = (0..8).map(|number| number * adts::TICKS).collect();
    assert_eq!(imported.display_ticks(AUDIO), expected);
    let media = imported.media(AUDIO);
    assert!(media.iter().zip(1..).all(|(payload, fill)| **payload == vec![fill; 300]));
}

#[test]
fn line_11_damaged_sound_does_not_stop_pictures_or_itself() {
    let mut mux = Mux::with_program(&[(0x1b, VIDEO, &[]), (0x0f, AUDIO, &[])]);
    for number in 0..30u64 {
        let unit = if number == 0 { h264::key() } else { h264::delta(number as u32) };
        mux.pes(VIDEO, at(0xe0, 90_000 + number * 1920), &unit);
        let sound = match number {
            10 => vec![0x5a; 400],
            20 => [adts::frame(0x21, 200, 2), vec![0xff; 100]].concat(),
            _ => adts::frame(0x21, 200, 2),
        };
        if number == 15 {
            mux.lose(AUDIO, 3);
        }
        mux.pes(AUDIO, at(0xc0, 90_000 + number * 1920), &sound);
    }
    let imported = import(&mux.bytes);
    assert_eq!(imported.frames(VIDEO).len(), 30);
    let sound = imported.frames(AUDIO);
    assert!((27..=29).contains(&sound.len()), "{}", sound.len());
    assert_eq!(*imported.display_ticks(AUDIO).last().unwrap(), 29 * 1920, "the clock did not slip");
    assert_eq!(imported.suffixes().len(), 2);
}

#[test]
fn line_12_new_parameters_in_mid_stream() {
    let mut mux = Mux::with_program(&[(0x0f, AUDIO, &[])]);
    for number in 0..6u64 {
        let channels = if number < 3 { 2 } else { 1 };
        let frames = [adts::frame(1, 90, channels), adts::frame(2, 90, channels)].concat();
        mux.pes(AUDIO, at(0xc0, 90_000 + number * 3840), &frames);
    }
    let imported = import(&mux.bytes);
    let channels: Vec<_> = imported
        .configs(AUDIO)
        .iter()
        .map(|config| if let CodecConfig::Audio(audio) = config { audio.channels } else { 0 })
        .collect();
    assert_eq!(channels, [2, 1]);
    assert_eq!((imported.suffixes().len(), imported.frames(AUDIO).len()), (1, 12));
}

#[test]
fn line_13_latm() {
    let imported = import(&clip("latm.ts"));
    let mut suffixes = imported.suffixes();
    suffixes.sort_unstable();
    assert_eq!(suffixes, ["aac", "avc3"]);
}

#[test]
fn line_14_players_get_raw_aac_and_its_configuration() {
    let imported = import(&clip("bframes.ts"));
    let track = imported.tracks().into_iter().find(|track| track.config.suffix() == "aac").unwrap().clone();
    let CodecConfig::Audio(audio) = &track.config else { panic!("no sound") };
    assert_eq!(audio.description.as_deref(), Some(&[0x11, 0x90][..]));
    assert_eq!((audio.sample_rate, audio.channels, &audio.codec_string[..]), (48_000, 2, "mp4a.40.2"));
    let media = imported.media(track.origin.unwrap().pid);
    assert!(media.iter().all(|frame| !frame.starts_with(&[0xff, 0xf1])));
}
