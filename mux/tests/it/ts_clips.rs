//! Clips made by ffmpeg, against manifests that another reader wrote.

use moqgate_mux::event::Event;

use crate::builder::{Imported, import};

/// Bytes of a clip in the repository's `fixtures`.
pub(crate) fn clip(name: &str) -> Vec<u8> {
    let path = format!("{}/../fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// PTS, bytes and whether it is a keyframe.
type Unit = (i64, usize, bool);

/// Pid, codec and units of every stream.
fn manifest(name: &str) -> Vec<(u16, String, Vec<Unit>)> {
    let value: serde_json::Value = serde_json::from_slice(&clip(name)).unwrap();
    let unit = |unit: &serde_json::Value| {
        let number = |index: usize| unit[index].as_i64().unwrap_or_default();
        (number(0), number(1) as usize, unit[2].as_bool().unwrap_or(number(2) != 0))
    };
    let track = |track: &serde_json::Value| {
        let units = track["units"].as_array().unwrap().iter().map(unit).collect();
        (track["pid"].as_u64().unwrap() as u16, track["codec"].as_str().unwrap().to_owned(), units)
    };
    value["tracks"].as_array().unwrap().iter().map(track).collect()
}

fn check(name: &str) -> Imported {
    let imported = import(&clip(&format!("{name}.ts")));
    let tracks = manifest(&format!("{name}.json"));
    let origin = tracks.iter().map(|(_, _, units)| units[0].0).min().unwrap();
    let shift = tracks.iter().flat_map(|(pid, _, units)| {
        let first = imported.frames(*pid)[0].pts.as_micros() as i64 * 9 / 100;
        Some(first - (units[0].0 - origin))
    });
    let shift = shift.min().unwrap();
    for (pid, codec, units) in tracks {
        let found: Vec<_> = imported
            .frames(pid)
            .iter()
            .map(|frame| {
                let pts = (frame.pts.as_micros() as i64 * 9 + 50) / 100 - shift + origin;
                (pts, frame.media().len(), frame.keyframe)
            })
            .collect();
        assert_eq!(found.len(), units.len(), "{name} {codec}");
        for (number, (found, unit)) in found.iter().zip(&units).enumerate() {
            assert!((found.0 - unit.0).abs() <= 2, "{name} {codec} {number}: {found:?} {unit:?}");
            assert_eq!((found.1, found.2), (unit.1, unit.2), "{name} {codec} {number}");
        }
    }
    let quiet = |event: &Event| matches!(event, Event::Problem(_) | Event::Discontinuity);
    assert_eq!(imported.count(quiet), 0, "{name}");
    assert_eq!((imported.stats.damaged_pes, imported.stats.continuity_errors), (0, 0));
    imported
}

#[test]
fn h264_with_reordering_and_aac() {
    check("bframes");
}

#[test]
fn h265() {
    check("hevc");
}

#[test]
fn aac_in_latm() {
    check("latm");
}

#[test]
fn mpeg_audio() {
    check("mp2");
}

#[test]
fn ac3_and_eac3() {
    check("ac3");
    check("eac3");
}

#[test]
fn opus() {
    check("opus");
}
