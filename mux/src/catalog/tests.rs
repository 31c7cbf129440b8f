use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::*;
use crate::event::{AudioCodec, AudioConfig, TsOrigin, VideoCodec, VideoConfig};

fn avc() -> VideoConfig {
    VideoConfig {
        codec: VideoCodec::H264,
        codec_string: "avc3.64001f".to_owned(),
        width: 1280,
        height: 720,
        sample_aspect: None,
        framerate: Some(30.0),
        reorder_frames: 2,
        jitter: Duration::from_micros(133_333),
    }
}

fn aac() -> AudioConfig {
    AudioConfig {
        codec: AudioCodec::Aac,
        codec_string: "mp4a.40.2".to_owned(),
        sample_rate: 48_000,
        channels: 1,
        description: Some(Bytes::from_static(&[0x11, 0x88])),
        frame_duration: Duration::from_micros(21_333),
        jitter: Duration::from_micros(170_666),
    }
}

#[test]
fn writes_what_players_read() {
    let mut catalog = Catalog::default();
    catalog.video.renditions.insert("0.avc3".to_owned(), (&avc()).into());
    catalog.audio.renditions.insert("1.aac".to_owned(), (&aac()).into());
    let origin = TsOrigin { pid: 256, stream_type: 0x1b, descriptors: Bytes::new() };
    catalog.mpegts.tracks.insert("0.avc3".to_owned(), MpegtsTrack::playable(&origin));
    assert_eq!(
        catalog.to_json(),
        concat!(
            r#"{"video":{"renditions":{"0.avc3":{"codec":"avc3.64001f","codedWidth":1280,"codedHeight":720,"#,
            r#""framerate":30.0,"container":{"kind":"legacy"},"jitter":134}}},"#,
            r#""audio":{"renditions":{"1.aac":{"codec":"mp4a.40.2","sampleRate":48000,"numberOfChannels":1,"#,
            r#""description":"1188","container":{"kind":"legacy"},"jitter":171}}},"#,
            r#""mpegts":{"tracks":{"0.avc3":{"pid":256}}}}"#
        )
    );
}

#[test]
fn nothing_is_null_and_both_kinds_are_always_there() {
    assert_eq!(Catalog::default().to_json(), r#"{"video":{"renditions":{}},"audio":{"renditions":{}}}"#);
    let bare = VideoConfig { framerate: None, jitter: Duration::ZERO, ..avc() };
    let text = serde_json::to_string(&VideoRendition::from(&bare)).unwrap();
    assert!(!text.contains("null") && !text.contains("jitter"), "{text}");
}

#[test]
fn pixels_that_are_not_square_are_told() {
    let wide = VideoConfig { width: 720, height: 576, sample_aspect: Some((64, 45)), ..avc() };
    let rendition = VideoRendition::from(&wide);
    assert_eq!((rendition.display_aspect_width, rendition.display_aspect_height), (Some(1024), Some(576)));
}

#[test]
fn what_players_cannot_decode_is_only_in_their_unknown_section() {
    let origin = TsOrigin {
        pid: 258,
        stream_type: 0x81,
        descriptors: Bytes::from_static(b"\x05\x04AC-3\x0a\x04eng\x00"),
    };
    let track = MpegtsTrack::verbatim(&origin, Framing::Pes, "ac-3");
    let text = serde_json::to_string(&track).unwrap();
    assert_eq!(
        text,
        concat!(
            r#"{"pid":258,"descriptors":[{"tag":5,"data":"QUMtMw=="},{"tag":10,"data":"ZW5nAA=="}],"#,
            r#""verbatim":{"streamType":129,"framing":"pes","container":{"kind":"legacy"}},"codec":"ac-3"}"#
        )
    );
    assert_eq!(serde_json::from_str::<MpegtsTrack>(&text).unwrap(), track);
}

/// Catalogs of other publishers, with everything in them that we do not write.
const OTHERS: [&str; 4] = [
    r#"{"video":{"renditions":{"video0":{"codec":"avc1.64001f","description":"0164001fffe1","container":{"kind":"legacy"},
        "codedWidth":1280,"codedHeight":720,"framerate":30.0,"bitrate":3000000,"jitter":34}}},
        "audio":{"renditions":{"audio0":{"codec":"mp4a.40.2","description":"1210","container":{"kind":"legacy"},
        "sampleRate":44100,"numberOfChannels":2,"bitrate":128000,"jitter":24}}}}"#,
    r#"{"video":{"renditions":{"0.avc3":{"codec":"avc3.42e01f","container":{"kind":"legacy"},"codedWidth":1280,
        "codedHeight":720}}},"audio":{"renditions":{"1.opus":{"codec":"opus","container":{"kind":"legacy"},
        "sampleRate":48000,"numberOfChannels":2,"jitter":20}}}}"#,
    r#"{"video":{"renditions":{"0.avc3":{"codec":"avc3.64001f","codedWidth":1280,"codedHeight":720,"bitrate":4427316,
        "framerate":30.0,"container":{"kind":"legacy"},"jitter":134}}},"audio":{"renditions":{"1.aac":{
        "codec":"mp4a.40.2","sampleRate":48000,"numberOfChannels":1,"bitrate":130211,"description":"1188",
        "container":{"kind":"legacy"},"jitter":193}}},"archive":{"track":"timeline.z","timescale":1000},
        "clock":{"wall":217388063023582,"timescale":1000000},"mpegts":{"tracks":{"0.avc3":{"pid":256},
        "1.aac":{"pid":257}},"program":{"transportStreamId":1,"programNumber":1,"pmtPid":4096},
        "si":{"17":{"66":{"track":"0x0011-0x42.si","interval":2000}}}}}"#,
    r#"{"video":{"renditions":{"0.hev1":{"codec":"hev1.1.6.L93.B0","container":{"kind":"legacy"},"codedWidth":1920,
        "codedHeight":1080,"framerate":50}}},"audio":{"renditions":{}}}"#,
];

/// Whether all that `ours` says also stands in `theirs`, with the same value.
fn within(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            ours.iter().all(|(key, value)| theirs.get(key).is_some_and(|other| within(value, other)))
        }
        (Value::Number(ours), Value::Number(theirs)) => ours.as_f64() == theirs.as_f64(),
        (ours, theirs) => ours == theirs,
    }
}

#[test]
fn reads_catalogs_of_others_and_writes_the_same_values() {
    for text in OTHERS {
        let catalog = Catalog::from_json(text.as_bytes()).unwrap();
        let theirs: Value = serde_json::from_str(text).unwrap();
        let ours: Value = serde_json::from_str(&catalog.to_json()).unwrap();
        assert!(within(&ours, &theirs), "{ours}\n{theirs}");
        let count = catalog.video.renditions.len() + catalog.audio.renditions.len();
        assert!(count > 0);
    }
    let unknown =
        r#"{"video":{"renditions":{"a":{"codec":"x","container":{"kind":"new","x":1}}}},"other":1}"#;
    let catalog = Catalog::from_json(unknown.as_bytes()).unwrap();
    assert_eq!(catalog.video.renditions["a"].container, Container::Unknown);
    assert!(Catalog::from_json(b"{\"video\":3}").is_err());
    assert!(
        Catalog::from_json(
            br#"{"audio":{"renditions":{"a":{"codec":"x","sampleRate":1,"numberOfChannels":1,"description":"123"}}}}"#
        )
        .is_err()
    );
}
