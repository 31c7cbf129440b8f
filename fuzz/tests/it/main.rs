//! Every corpus through its target, as it is and with seeded mutations.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use moqgate_fuzz::{TARGETS, run};

/// How long mutations of one target go on at most. A machine that is slow does fewer, never longer.
const BUDGET: Duration = Duration::from_millis(500);
/// How many mutations of each seed at most.
const MUTATIONS: u64 = 1000;

#[test]
fn every_seed_is_survived() {
    for (name, _) in TARGETS {
        let seeds = corpus(name);
        assert!(!seeds.is_empty(), "{name} has no corpus");
        for (_, seed) in seeds {
            run(name, &seed);
        }
    }
}

#[test]
fn mutations_are_survived() {
    let set = std::env::var_os("MOQGATE_FUZZ_SECONDS").and_then(|value| value.to_str()?.parse().ok());
    let (budget, mutations) =
        set.map_or((BUDGET, MUTATIONS), |seconds| (Duration::from_secs(seconds), u64::MAX));
    let only = std::env::var_os("MOQGATE_FUZZ_TARGET");
    for (name, _) in TARGETS.into_iter().filter(|(name, _)| only.as_ref().is_none_or(|only| only == *name)) {
        let began = Instant::now();
        let seeds = corpus(name);
        let rounds = (0..mutations).flat_map(|round| seeds.iter().map(move |seed| (round, seed)));
        for (round, (file, seed)) in rounds.take_while(|_| began.elapsed() < budget) {
            let mutant = mutate(seed, round);
            let outcome = std::panic::catch_unwind(|| run(name, &mutant));
            assert!(outcome.is_ok(), "{name}: mutation {round} of {file}: {}", hex(&mutant));
        }
    }
}

/// (file, bytes), sorted by name.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let entries =
        fs::read_dir(&folder).map(|list| list.map_while(Result::ok).collect()).unwrap_or_else(|_| Vec::new());
    let mut files: Vec<_> = entries
        .into_iter()
        .map(|entry| {
            let bytes = fs::read(entry.path()).expect("a seed can be read");
            (entry.file_name().to_string_lossy().into_owned(), bytes)
        })
        .collect();
    files.sort();
    files
}

/// Up to four changes: a bit, a byte at an edge of its range, a piece cut out, a piece doubled, or the end cut off.
fn mutate(seed: &[u8], round: u64) -> Vec<u8> {
    let mut dice = Dice(round);
    let mut bytes = seed.to_vec();
    for _ in 0..=dice.below(3) {
        if bytes.is_empty() {
            return bytes;
        }
        let at = dice.below(bytes.len());
        let end = (at + 1 + dice.below(16)).min(bytes.len());
        match dice.below(5) {
            0 => bytes[at] ^= 1 << dice.below(8),
            1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff, 0x40, 0x47][dice.below(7)],
            2 => drop(bytes.drain(at..end)),
            3 => bytes.extend_from_within(at..end),
            _ => bytes.truncate(at),
        }
    }
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SplitMix64: the same mutations everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(limit).expect("it is small"))
            .expect("it is small")
    }
}
