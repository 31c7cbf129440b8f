//! SIGTERM, and a start that cannot succeed.

use std::process::Stdio;

use moqgate_tests::fixture::Fixture;
use moqgate_tests::gateway::{self, Gateway};
use moqgate_tests::{media, peers, tools, wait};

use crate::{RUN, WHOLE};

#[test]
fn sigterm_ends_streams_and_exits_0() {
    if !tools::require(&["ffmpeg", "moq"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut gateway = Gateway::start(&["--grace", "5s"]);
    let clip = Fixture::load("bframes");
    let _encoder = media::push_forever(&clip.file(), &media::srt_url(gateway.srt(), "live/cam0", ""));
    gateway.wait_live("live/cam0");
    let _viewer = peers::export_ts(&gateway.moq_url(), "live/cam0", &folder.path().join("copy.ts"), WHOLE);
    wait::until_true("the viewer", wait::SOON, || gateway.usage().egress("live/cam0", "moq").bytes > 0);
    gateway.process().terminate();
    let status = gateway.process().wait(RUN);
    assert_eq!(status.code(), Some(0), "{status}");
}

/// One clear line and exit code 2.
fn check_refuses_to_start(arguments: &[&str], word: &str) {
    let output = gateway::command(arguments).stdin(Stdio::null()).output().expect("the gateway runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{arguments:?}: {said}");
    assert!(said.contains(word), "{arguments:?}: {said:?} does not say {word:?}");
    assert!(output.stdout.is_empty(), "{arguments:?}: not ready");
}

#[test]
fn a_port_that_is_taken() {
    let other = Gateway::start(&[]);
    for (flag, address) in
        [("--srt-listen", other.srt()), ("--moq-listen", other.moq()), ("--http-listen", other.http())]
    {
        check_refuses_to_start(&[flag, &address.to_string()], &address.to_string());
    }
}

#[test]
fn a_certificate_that_is_none() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().to_str().expect("a plain name");
    check_refuses_to_start(&["--tls-cert", path, "--tls-key", path], path);
}
