//! Keyed draws: each number is a pure function of a seed and a name, so that one draw more shifts no other.

/// The draw of `field` of the `index`-th thing called `name` in `stream`, evenly over all 64-bit numbers.
pub(crate) fn draw(seed: u64, stream: &str, name: &str, index: u64, field: &str) -> u64 {
    let mut hash = xxhash_rust::xxh3::Xxh3::with_seed(seed);
    for part in [stream, name, field] {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.update(&index.to_le_bytes());
    hash.digest()
}
