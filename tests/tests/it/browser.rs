//! `@moq/watch` in Chromium: a moving picture over WebTransport, and every group that a browser asks for.

use moqgate_tests::browser::Page;
use moqgate_tests::fixture::Fixture;
use moqgate_tests::gateway::Gateway;
use moqgate_tests::{media, tools, wait};
use serde_json::Value;

use crate::RUN;

const TOOLS: [&str; 3] = ["ffmpeg", "chromium", "chromedriver"];
/// Cells of the page's grid that have to change for a picture to count as moving; the test picture changes far more.
const MOVED_CELLS: usize = 20;
/// By how much a cell has to change, of 255.
const MOVED_BY: i64 = 10;
/// Brighter than anything in a black picture.
const NOT_BLACK: i64 = 40;

fn cells(picture: &Value) -> Vec<i64> {
    picture.as_array().expect("a picture").iter().filter_map(Value::as_i64).collect()
}

fn assert_moving(gateway: &Gateway, broadcast: &str) {
    let page = Page::open("watch", &format!("url={}&name={broadcast}", gateway.moq_url()));
    let _ = page.wait("picture()?.some((cell) => cell > 40)", RUN);
    let pictures =
        page.run_async("const before = picture(); setTimeout(() => done([before, picture()]), 1000);");
    let (before, after) = (cells(&pictures[0]), cells(&pictures[1]));
    assert!(before.iter().any(|&cell| cell > NOT_BLACK) && after.iter().any(|&cell| cell > NOT_BLACK));
    let moved =
        before.iter().zip(&after).filter(|(before, after)| (*before - *after).abs() > MOVED_BY).count();
    assert!(moved > MOVED_CELLS, "{moved} cells differ after a second");
    let probe = page.run("return probe()");
    assert_eq!(probe["transport"], "webtransport", "{probe}");
    assert_eq!((&probe["width"], &probe["height"]), (&640.into(), &360.into()), "{probe}");
}

#[test]
fn the_released_player_shows_a_moving_picture() {
    if !tools::require(&TOOLS) {
        return;
    }
    let gateway = Gateway::start(&[]);
    let clip = Fixture::load("bframes");
    let _encoder = media::push_forever(&clip.file(), &media::srt_url(gateway.srt(), "live/cam0", ""));
    gateway.wait_live("live/cam0");
    assert_moving(&gateway, "live/cam0");
}

#[test]
fn the_demo_needs_no_encoder() {
    if !tools::require(&TOOLS) {
        return;
    }
    let gateway = Gateway::start(&["demo"]);
    let first = wait::until("a broadcast", wait::SOON, || {
        gateway.api("/api/v1/broadcasts")["broadcasts"][0]["path"].as_str().map(str::to_owned)
    });
    gateway.wait_live(&first);
    assert_moving(&gateway, &first);
}

/// The player is not ours, and not everybody can reach it.
#[test]
fn the_page_says_when_it_cannot_have_its_player() {
    if !tools::require(&["chromium", "chromedriver"]) {
        return;
    }
    let gateway = Gateway::start(&[]);
    let url = format!("http://{}/watch?name=live/cam0", gateway.http());
    let page = Page::visit_without("esm.sh", &url);
    let said = page
        .wait("document.querySelector('#state').textContent.includes('cannot') && state.textContent", RUN);
    let said = said.as_str().expect("a text");
    assert!(said.starts_with("The player cannot be fetched from esm.sh"), "{said}");
}

/// Browsers ask for maximum age 0. Nothing may be left out for that as long as nothing is in the way.
#[test]
fn maximum_age_zero_gets_every_audio_group() {
    if !tools::require(&TOOLS) {
        return;
    }
    let seconds = tools::seconds("MOQGATE_GROUPS_SECONDS", 15);
    let folder = tempfile::tempdir().expect("a folder");
    let clip = folder.path().join("clip.ts");
    media::repeat(&Fixture::load("bframes").file(), seconds, &clip);
    let gateway = Gateway::start(&[]);
    let page = Page::open("groups", &format!("url={}&name=live/cam0&age=0", gateway.moq_url()));
    let _ = page.wait("all('waiting')", RUN);
    let mut encoder = media::push(&clip, &media::srt_url(gateway.srt(), "live/cam0", ""), 1.0);
    assert!(encoder.wait(RUN).success());
    let _ = page.wait("all('ended')", RUN);
    let viewer = page.run("return viewers[0]");
    assert_eq!((&viewer["error"], &viewer["transport"]), (&Value::Null, &"webtransport".into()));
    let (name, track) = track(&viewer, ".aac");
    let mut groups: Vec<u64> =
        track["groups"].as_array().expect("groups").iter().filter_map(Value::as_u64).collect();
    groups.sort_unstable();
    let gaps: Vec<_> = groups.windows(2).filter(|pair| pair[1] != pair[0] + 1).collect();
    assert!(
        gaps.is_empty() && track["broken"] == serde_json::json!([]),
        "{name}: gaps {gaps:?}, {:?}",
        track["broken"]
    );
    println!("{name}: {} groups in {seconds} s, {:?} to {:?}", groups.len(), groups.first(), groups.last());
    // 46.9 groups a second; the first ones may have passed while the page was still asking for the track.
    let wanted = usize::try_from(seconds).expect("small") * 46;
    assert!(groups.len() > wanted - 23, "{name}: {} of about {wanted} groups", groups.len());
}

fn track(viewer: &Value, suffix: &str) -> (String, Value) {
    let tracks = viewer["tracks"].as_object().expect("tracks");
    let found = tracks.iter().find(|(name, _)| name.ends_with(suffix));
    found
        .map(|(name, track)| (name.clone(), track.clone()))
        .unwrap_or_else(|| panic!("no {suffix} in {tracks:?}"))
}
