//! The short form of the fuzzers: what they found worth keeping, and mutations of it.

#![cfg(test)]

use std::fs;
use std::path::PathBuf;

use crate::targets::ALL;

/// Mutations of each kept input that are tried here; `FUZZ_MUTATIONS` tries others.
const MUTATIONS: u64 = 40;

/// Longest input that is made of a kept one.
const BYTES_MAX: usize = 8_192;

/// No kept input, and nothing a few flips away from it, breaks a law of its reader: shown for every
/// reader there is, with mutations from a seed.
#[test]
fn kept_inputs_and_their_mutations_break_no_law() {
    let mutations = std::env::var("FUZZ_MUTATIONS").ok();
    let mutations = mutations.map_or(MUTATIONS, |text| text.parse().unwrap());
    let corpus = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    for (name, target) in ALL {
        let mut paths: Vec<PathBuf> = fs::read_dir(corpus.join(name))
            .unwrap_or_else(|error| panic!("{name} has no corpus: {error}"))
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        assert!(
            paths.len() > 4,
            "the corpus of {name} is too small to show anything"
        );
        let kept: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
        for (path, input) in paths.iter().zip(&kept) {
            println!("{}", path.display());
            target(input);
            let mut dice = fastrand::Rng::with_seed(input.len() as u64);
            for _ in 0..mutations {
                let mut mutated = input.clone();
                for _ in 0..dice.usize(1..4) {
                    mutate(&mut mutated, &kept, &mut dice);
                }
                mutated.truncate(BYTES_MAX);
                target(&mutated);
            }
        }
    }
}

/// One step away.
fn mutate(bytes: &mut Vec<u8>, kept: &[Vec<u8>], dice: &mut fastrand::Rng) {
    let at = dice.usize(0..=bytes.len());
    match dice.u8(0..7) {
        0 if at < bytes.len() => bytes[at] ^= 1 << dice.u8(0..8),
        1 if at < bytes.len() => {
            bytes[at] = *dice.choice(b"\0\n\r\"'\\[]{}=:@-9\x1b\xff\xc3").unwrap()
        }
        2 => bytes.truncate(at),
        3 => bytes.insert(at, dice.u8(..)),
        4 => {
            let end = (at + dice.usize(0..64)).min(bytes.len());
            drop(bytes.drain(at..end));
        }
        5 => {
            let end = (at + dice.usize(0..256)).min(bytes.len());
            let piece = bytes[at..end].repeat(dice.usize(1..8));
            drop(bytes.splice(at..at, piece));
        }
        _ => {
            let other = dice.choice(kept).unwrap();
            let from = dice.usize(0..=other.len());
            let to = (from + dice.usize(0..256)).min(other.len());
            drop(bytes.splice(at..at, other[from..to].iter().copied()));
        }
    }
}
