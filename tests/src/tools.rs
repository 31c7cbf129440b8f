//! Where the tools are, and what happens when one is missing.

use std::path::{Path, PathBuf};

/// The root of the repository.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies one below the root").to_owned()
}

/// The folder in which `./test` keeps what it installed.
#[must_use]
pub fn tools_dir() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("MOQGATE_TOOLS").unwrap_or_else(|| {
        let home = || set("HOME").unwrap_or_default().join(".cache");
        set("XDG_CACHE_HOME").unwrap_or_else(home).join("moqgate")
    })
}

/// The ffmpeg of the Python package `imageio-ffmpeg`, which has a name of its own for each version.
pub const NEWER_FFMPEG: &str = "imageio-ffmpeg";

/// The Python that has the package `aiortc`.
pub const AIORTC: &str = "aiortc";

/// A program on the search path, or among the released peers.
#[must_use]
pub fn find(name: &str) -> Option<PathBuf> {
    match name {
        NEWER_FFMPEG => return newer_ffmpeg(),
        AIORTC => return python_with("aiortc"),
        _ => {}
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(tools_dir().join("peers/bin"))
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
}

/// The folders of a Python package: one for each version of Python.
fn package(name: &str) -> impl Iterator<Item = PathBuf> {
    let versions = std::fs::read_dir(tools_dir().join("python/lib")).into_iter().flatten().flatten();
    versions.map(move |version| version.path().join("site-packages").join(name))
}

fn python_with(name: &str) -> Option<PathBuf> {
    package(name).any(|folder| folder.is_dir()).then(|| tools_dir().join("python/bin/python"))
}

fn newer_ffmpeg() -> Option<PathBuf> {
    let binaries = package("imageio_ffmpeg").map(|folder| folder.join("binaries"));
    let mut files = binaries.filter_map(|folder| folder.read_dir().ok()).flatten().flatten();
    files.find(|file| file.file_name().to_string_lossy().starts_with("ffmpeg-")).map(|file| file.path())
}

/// A program that [`require`] has found before.
///
/// # Panics
///
/// When it is not there.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    find(name).unwrap_or_else(|| panic!("{name} is not installed; ./test installs it"))
}

/// True when every named program is there. A missing one skips the test on a developer's machine and fails it when
/// `STRICT` is set, as `./test` sets it.
///
/// # Panics
///
/// When one is missing under `STRICT`.
#[must_use]
pub fn require(names: &[&str]) -> bool {
    let missing: Vec<_> = names.iter().filter(|name| find(name).is_none()).collect();
    let strict = std::env::var_os("STRICT").is_some_and(|value| value == "1");
    assert!(missing.is_empty() || !strict, "missing tools: {missing:?}; ./test installs them");
    missing.is_empty()
}

/// A whole number of seconds from the environment, for tests that can run longer than in the suite.
#[must_use]
pub fn seconds(name: &str, default: u32) -> u32 {
    std::env::var_os(name).and_then(|value| value.to_str()?.parse().ok()).unwrap_or(default)
}
