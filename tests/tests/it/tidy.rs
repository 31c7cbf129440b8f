//! What ARCHITECTURE says is not there, and what the documents say is.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Every file with that ending below the folder.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if entry.is_dir() && !name.starts_with('.') && name != "target" && name != "node_modules" {
            found.extend(files(&entry, ending));
        } else if name.ends_with(ending) {
            found.push(entry);
        }
    }
    found
}

/// The crates that one of ours is built with, those of its tests left out.
fn dependencies(manifest: &str) -> Vec<String> {
    let text = read(manifest);
    let section = text.split("[dependencies]").nth(1).expect("dependencies");
    let section = section.split("\n[").next().unwrap_or_default();
    let name = |line: &str| line.split(['.', ' ', '=']).next().unwrap_or_default().to_owned();
    section.lines().map(name).filter(|name| !name.is_empty()).collect()
}

#[test]
fn arrows_go_one_way() {
    let io = ["tokio", "quinn", "mio", "socket2", "axum", "rand"];
    for pure in ["core/Cargo.toml", "mux/Cargo.toml"] {
        let found = dependencies(pure);
        assert!(
            !found.iter().any(|name| io.contains(&name.as_str())),
            "{pure} depends on one of {io:?}: {found:?}"
        );
    }
    assert!(!dependencies("core/Cargo.toml").iter().any(|name| name.starts_with("moqgate")));
    for manifest in files(&root().join("gateways"), "Cargo.toml") {
        let manifest = manifest.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
        let ours: Vec<_> =
            dependencies(&manifest).into_iter().filter(|name| name.starts_with("moqgate")).collect();
        let allowed: &[&str] =
            if manifest.contains("/moq/") { &["moqgate-core"] } else { &["moqgate-core", "moqgate-mux"] };
        assert!(ours.iter().all(|name| allowed.contains(&name.as_str())), "{manifest}: {ours:?}");
    }
}

#[test]
fn usage_is_charged_at_two_doors() {
    let mut doors = Vec::new();
    for file in files(&root(), ".rs") {
        let path = file.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
        let counted = path.contains("/src/") && !path.contains("/usage/");
        let calls = fs::read_to_string(&file).expect("a file").matches(".charge(").count();
        if counted && calls > 0 {
            doors.push((path, calls));
        }
    }
    doors.sort();
    let expected =
        ["core/src/group/consumer.rs", "core/src/group/producer.rs"].map(|door| (door.to_owned(), 1));
    assert_eq!(doors, expected);
}

/// clippy takes the nearest clippy.toml and does not merge.
#[test]
fn stricter_lints_repeat_the_root_ones() {
    let root = read("clippy.toml");
    for file in ["core/clippy.toml", "mux/clippy.toml"] {
        let stricter = read(file);
        for line in root.lines() {
            assert!(stricter.contains(line), "{file} lacks: {line}");
        }
        assert!(stricter.contains("std::time::Instant::now"), "{file} lets a clock be read");
    }
}

#[test]
fn the_map_fits_on_its_pages() {
    assert!(read("ARCHITECTURE.md").lines().count() < 200);
    for folder in [
        "core",
        "mux",
        "gateways/moq",
        "gateways/srt",
        "gateways/webrtc",
        "server",
        "tests",
        "fuzz",
        "fixtures",
    ] {
        assert!(read("ARCHITECTURE.md").contains(folder), "ARCHITECTURE does not say what {folder} is");
    }
}

/// Tests that are named for a line of the encoder checklist, and the list of them, say the same.
#[test]
fn the_encoder_checklist_names_its_tests() {
    let listed = names(&read("docs/FIELD.md"));
    let mut written = BTreeSet::new();
    for file in files(&root(), ".rs") {
        let text = fs::read_to_string(&file).expect("a file");
        for definition in text.split("fn line_").skip(1) {
            let end =
                definition.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(definition.len());
            written.insert(format!("line_{}", &definition[..end]));
        }
    }
    written.remove("line_");
    assert_eq!(
        listed.difference(&written).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "listed but not written"
    );
    assert_eq!(
        written.difference(&listed).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "written but not listed"
    );
}

/// The names between backquotes that stand for tests of the checklist.
fn names(text: &str) -> BTreeSet<String> {
    text.split('`').filter(|word| word.starts_with("line_")).map(str::to_owned).collect()
}

/// A rule of docs/USAGE.md is worth what its test is.
#[test]
fn every_usage_rule_names_a_test_that_exists() {
    let everything: String =
        files(&root(), ".rs").iter().map(|file| fs::read_to_string(file).expect("a file")).collect();
    let usage = read("docs/USAGE.md");
    let rules: Vec<&str> =
        usage.lines().filter(|line| line.starts_with("| ") && line.contains("MUST")).collect();
    assert!(rules.len() >= 10);
    for rule in rules {
        let proof = rule.trim_end_matches(" |").rsplit('|').next().unwrap_or_default();
        for name in proof.split('`').skip(1).step_by(2) {
            let test = name.rsplit(": ").next().unwrap_or(name);
            if let Some((crate_folder, file)) = test.split_once('/') {
                let file = root().join(crate_folder).join("tests/it").join(file);
                assert!(file.exists(), "docs/USAGE.md names {}, which does not exist", file.display());
                continue;
            }
            assert!(
                everything.contains(&format!("fn {test}(")),
                "docs/USAGE.md names {test}, which is no test"
            );
        }
    }
}
