//! Business keys: which `meta.idempotency_key` came with which payload, so that a late retry of a sender is known.
//!
//! Kept for a horizon of time after a packet came, whatever acks and restarts happen meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// Most keys that a host remembers, for all its channels: about 1.3 MiB of its journal's small state.
pub const KEYS_MAX: usize = 1 << 15;

/// Most keys that a host remembers with segments of that size: they take about a third of one, as all of the small state is to fit
/// half of one.
#[must_use]
pub fn keys_max(segment_bytes: u64) -> usize {
    const KEY_BYTES: u64 = 27;
    usize::try_from(segment_bytes / 3 / KEY_BYTES).unwrap_or(KEYS_MAX).min(KEYS_MAX)
}

/// A key's hash.
pub type KeyHash = u128;

/// What is remembered of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Remembered {
    /// The hash of the payload that came with it.
    pub payload: u64,
    /// When it came, unix ns.
    pub at: i64,
}

/// What a packet with a business key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// Its key is new.
    New,
    /// The same came before: it is left out.
    Duplicate,
    /// Its key came before with another payload.
    Conflict,
}

/// The keys of one channel. It changes only by [`Keys::remember`] and [`Keys::expire`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    known: BTreeMap<KeyHash, Remembered>,
    by_time: BTreeSet<(i64, KeyHash)>,
}

/// The hash that a key is remembered by.
#[must_use]
pub fn key_hash(key: &str) -> KeyHash {
    xxh3_128(key.as_bytes())
}

/// The hash that a payload is compared by.
#[must_use]
pub fn payload_hash(payload: &[u8]) -> u64 {
    xxh3_64(payload)
}

impl Keys {
    /// Judges a key with its payload, by what came at `since` or later; changes nothing.
    #[must_use]
    pub fn judge(&self, key: KeyHash, payload: u64, since: i64) -> Judged {
        match self.known.get(&key).filter(|known| known.at >= since) {
            None => Judged::New,
            Some(known) if known.payload == payload => Judged::Duplicate,
            Some(_) => Judged::Conflict,
        }
    }

    /// Remembers a key. Saying so again replaces what was known.
    pub fn remember(&mut self, key: KeyHash, remembered: Remembered) {
        if let Some(before) = self.known.insert(key, remembered) {
            self.by_time.remove(&(before.at, key));
        }
        self.by_time.insert((remembered.at, key));
    }

    /// Forgets a key that was never stored.
    pub fn forget(&mut self, key: KeyHash) {
        if let Some(before) = self.known.remove(&key) {
            self.by_time.remove(&(before.at, key));
        }
    }

    /// Forgets what came before `since`.
    pub fn expire(&mut self, since: i64) {
        while let Some(&(at, key)) = self.by_time.first()
            && at < since
        {
            self.forget(key);
        }
    }

    /// What is remembered of a key.
    #[must_use]
    pub fn get(&self, key: KeyHash) -> Option<Remembered> {
        self.known.get(&key).copied()
    }

    /// When the newest one came.
    #[must_use]
    pub fn newest(&self) -> Option<i64> {
        self.by_time.last().map(|(at, _)| *at)
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// True when none is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// From when on keys may be remembered, so that at most `max` stay.
    #[must_use]
    pub fn since_for(&self, max: usize) -> i64 {
        match self.known.len().checked_sub(max + 1) {
            Some(last) => self.by_time.iter().nth(last).map_or(i64::MAX, |(at, _)| at.saturating_add(1)),
            None => i64::MIN,
        }
    }

    /// All that is remembered, by key.
    pub fn iter(&self) -> impl Iterator<Item = (KeyHash, Remembered)> {
        self.known.iter().map(|(key, remembered)| (*key, *remembered))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_again_is_known_and_another_payload_is_a_conflict() {
        let mut keys = Keys::default();
        let (key, one, two) = (key_hash("order-7"), payload_hash(b"one"), payload_hash(b"two"));
        assert_eq!(keys.judge(key, one, 0), Judged::New);
        keys.remember(key, Remembered { payload: one, at: 10 });
        assert_eq!(keys.judge(key, one, 0), Judged::Duplicate);
        assert_eq!(keys.judge(key, two, 0), Judged::Conflict);
        assert_eq!(keys.judge(key, two, 11), Judged::New, "beyond the horizon it is forgotten, swept or not");
        keys.expire(10);
        assert_eq!(keys.judge(key, two, 0), Judged::Conflict, "what came at the horizon is still known");
        keys.expire(11);
        assert_eq!(keys.judge(key, two, 0), Judged::New);
        assert_eq!(keys, Keys::default());
    }

    #[test]
    fn the_oldest_go_first_when_there_are_too_many() {
        let mut keys = Keys::default();
        (0..5).for_each(|n| keys.remember(n, Remembered { payload: 0, at: 10 * n as i64 }));
        assert_eq!(keys.since_for(5), i64::MIN);
        assert_eq!(keys.since_for(3), 11);
        assert_eq!(keys.since_for(0), 41);
        keys.expire(keys.since_for(3));
        assert_eq!(keys.iter().map(|(key, _)| key).collect::<Vec<_>>(), [2, 3, 4]);
    }
}
