//! Changed inputs without libFuzzer: blind, but the same on every machine.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Pieces that parsers stumble over.
const PIECES: &[&[u8]] = &[
    b"",
    b"\0",
    b"\n",
    b"\n\n",
    b"\"",
    b"\\u0000",
    b"\\ud800",
    b"{",
    b"[",
    b"null",
    b"-1",
    b"0",
    b"1e999",
    b"9223372036854775808",
    b"4294967296",
    b"%",
    b"*",
    b"#",
    b"L",
    b"?",
    b",",
    b"..",
    b"\xff",
    b"\xe2\x98\x83",
    b"\xf0\x9f\x92\xa9",
    b"  ",
    b"\r\n",
    b"9999-12-31T23:59:59.999999999Z",
    b"-009999-01-01T00:00:00Z",
];

/// Bytes of an input at most: what is longer shows nothing new and takes longer.
const BYTES_MAX: usize = 1 << 14;

/// Makes inputs out of others.
#[derive(Debug)]
pub struct Mutator {
    randomness: ChaCha8Rng,
}

impl Mutator {
    /// A mutator that makes the same inputs for the same seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { randomness: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// One of `inputs`, changed in up to eight places.
    ///
    /// # Panics
    /// When there are none.
    #[must_use]
    pub fn next(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        let mut input = inputs[self.below(inputs.len())].clone();
        for _ in 0..=self.below(8) {
            self.change(&mut input, inputs);
        }
        input.truncate(BYTES_MAX);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, inputs: &[Vec<u8>]) {
        let at = self.below(input.len() + 1);
        let to = at + self.below((input.len() - at).min(64) + 1);
        match self.below(7) {
            0 => drop(input.drain(at..to)),
            1 => {
                let part = input[at..to].to_vec();
                let times = 1 + self.below(4);
                for _ in 0..times {
                    input.splice(at..at, part.iter().copied());
                }
            }
            2 => {
                let piece = PIECES[self.below(PIECES.len())];
                input.splice(at..to, piece.iter().copied());
            }
            3 => {
                let piece = PIECES[self.below(PIECES.len())];
                input.splice(at..at, piece.iter().copied());
            }
            4 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << self.randomness.random_range(0..8_u8);
                }
            }
            5 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte = self.randomness.random();
                }
            }
            _ => {
                // The head of one input with the tail of another.
                let other = &inputs[self.below(inputs.len())];
                let from = self.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
        }
    }

    fn below(&mut self, end: usize) -> usize {
        self.randomness.random_range(0..end)
    }
}
