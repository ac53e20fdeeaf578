//! Randomness of the real machine: keyed draws from a key that the operating system gave once.
#![expect(clippy::disallowed_methods, reason = "the real side of the seam: here entropy is read")]

use std::fs::File;
use std::io::{self, Read};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::env::Seed;

/// Draws that nobody can foresee, and that repeat within this process only.
pub struct OsSeed {
    key: u64,
}

impl OsSeed {
    /// Takes eight bytes of the operating system's entropy.
    pub fn new() -> io::Result<OsSeed> {
        let mut key = [0; 8];
        File::open("/dev/urandom")?.read_exact(&mut key)?;
        Ok(OsSeed { key: u64::from_le_bytes(key) })
    }
}

impl Seed for OsSeed {
    fn draw(&self, stream: &'static str, key: &[u64]) -> u64 {
        let start = xxh3_64_with_seed(stream.as_bytes(), self.key);
        key.iter().fold(start, |hash, word| xxh3_64_with_seed(&word.to_le_bytes(), hash))
    }
}
