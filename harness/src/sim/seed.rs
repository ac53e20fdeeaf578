//! Keyed randomness: each value is a hash of the world's seed, a stream's name and a key, so draws have no order.

use seaworthy_engine::env::Seed;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// All randomness of one world, from its seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyedSeed(pub u64);

impl Seed for KeyedSeed {
    fn draw(&self, stream: &'static str, key: &[u64]) -> u64 {
        let start = xxh3_64_with_seed(stream.as_bytes(), self.0);
        key.iter().fold(start, |hash, word| xxh3_64_with_seed(&word.to_le_bytes(), hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_the_key_counts() {
        let draws = [
            KeyedSeed(1).draw("a", &[1, 2]),
            KeyedSeed(2).draw("a", &[1, 2]),
            KeyedSeed(1).draw("b", &[1, 2]),
            KeyedSeed(1).draw("a", &[2, 1]),
            KeyedSeed(1).draw("a", &[1]),
            KeyedSeed(1).draw("a", &[]),
        ];
        let distinct: std::collections::BTreeSet<u64> = draws.into_iter().collect();
        assert_eq!(distinct.len(), draws.len());
    }

    #[test]
    fn values_stay_as_they_are() {
        // Seeds in corpora and baselines stand on these: a change means a new `semantics`.
        assert_eq!(KeyedSeed(7).draw("disk.power_cut", &[1, 2, 3]), 13_151_557_446_909_698_796);
    }
}
