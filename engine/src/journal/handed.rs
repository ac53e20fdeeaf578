//! What a host remembers of handing out packets: generations, deliveries, parked keys and business keys. Part of the image.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::record::{Name, Record};
use crate::channel::dedup::{KeyHash, Keys, Remembered};
use crate::packet::Seq;

/// Most keys that one record of a snapshot holds: a frame of 8 KiB has room for it.
const KEYS_A_RECORD: usize = 256;

/// See [`Record::Generation`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// `channel/ID`.
    pub input: Name,
    /// The group.
    pub group: Name,
    /// The generation that begins.
    pub generation: u64,
}

/// See [`Record::Delivered`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    /// `channel/ID`.
    pub input: Name,
    /// The group.
    pub group: Name,
    /// Ranges, both ends included, ascending.
    pub seqs: Vec<(Seq, Seq)>,
    /// How many-th delivery of each of them this is.
    pub deliveries: u32,
}

/// See [`Record::Parked`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parked {
    /// `channel/ID`.
    pub input: Name,
    /// The group.
    pub group: Name,
    /// The key's hash.
    pub key: u64,
}

/// See [`Record::BusinessKeys`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BusinessKeys {
    /// `channel/ID`.
    pub channel: Name,
    /// Keys that were seen before this time, unix ns, are forgotten first.
    pub since: i64,
    /// Each key's hash, with its payload's and when it came.
    pub keys: Vec<(KeyHash, Remembered)>,
}

/// What these records add up to.
#[derive(Clone, Debug, Default)]
pub(super) struct Handed {
    generations: BTreeMap<(Name, Name), u64>,
    /// Of packets that are not settled.
    deliveries: BTreeMap<(Name, Name), BTreeMap<Seq, u32>>,
    parked: BTreeMap<(Name, Name), BTreeSet<u64>>,
    keys: BTreeMap<Name, Keys>,
}

impl Handed {
    pub(super) fn generation(&mut self, record: Generation) {
        let known = self.generations.entry((record.input, record.group)).or_default();
        *known = record.generation.max(*known);
    }

    /// `settled` tells what the group is done with: an older record may be read after a snapshot.
    pub(super) fn delivered(&mut self, record: Delivered, settled: impl Fn(Seq) -> bool) {
        let known = self.deliveries.entry((record.input, record.group)).or_default();
        for seq in record.seqs.iter().flat_map(|(from, to)| from.0..=to.0).map(Seq).filter(|seq| !settled(*seq)) {
            known.insert(seq, record.deliveries);
        }
    }

    pub(super) fn park(&mut self, record: Parked) {
        self.parked.entry((record.input, record.group)).or_default().insert(record.key);
    }

    pub(super) fn business_keys(&mut self, record: BusinessKeys) {
        let keys = self.keys.entry(record.channel).or_default();
        keys.expire(record.since);
        record.keys.into_iter().for_each(|(key, remembered)| keys.remember(key, remembered));
    }

    /// Packets of a range are settled: how often they were delivered matters no more.
    pub(super) fn settled(&mut self, input: &Name, group: &Name, (from, to): (Seq, Seq)) {
        if self.deliveries.is_empty() {
            return;
        }
        if let Some(known) = self.deliveries.get_mut(&(input.clone(), group.clone())) {
            let gone: Vec<Seq> = known.range(from..=to).map(|(seq, _)| *seq).collect();
            for seq in gone {
                known.remove(&seq);
            }
        }
    }

    pub(super) fn retire(&mut self, input: &Name, group: &Name) {
        let of = (input.clone(), group.clone());
        self.generations.remove(&of);
        self.deliveries.remove(&of);
        self.parked.remove(&of);
    }

    pub(super) fn last_generation(&self, input: &str, group: &str) -> u64 {
        self.generations.get(&(input.into(), group.into())).copied().unwrap_or(0)
    }

    pub(super) fn deliveries(&self, input: &str, group: &str) -> BTreeMap<Seq, u32> {
        self.deliveries.get(&(input.into(), group.into())).cloned().unwrap_or_default()
    }

    pub(super) fn parked(&self, input: &str, group: &str) -> BTreeSet<u64> {
        self.parked.get(&(input.into(), group.into())).cloned().unwrap_or_default()
    }

    pub(super) fn keys(&self, channel: &str) -> Option<&Keys> {
        self.keys.get(channel)
    }

    /// Records that give the same again.
    pub(super) fn snapshot(&self) -> Vec<Record> {
        let mut out = Vec::new();
        for ((input, group), generation) in &self.generations {
            let (input, group, generation) = (input.clone(), group.clone(), *generation);
            out.push(Record::Generation(Generation { input, group, generation }));
        }
        for ((input, group), known) in &self.deliveries {
            let mut runs: Vec<((Seq, Seq), u32)> = Vec::new();
            for (seq, deliveries) in known {
                match runs.last_mut() {
                    Some(((_, to), same)) if to.next() == *seq && same == deliveries => *to = *seq,
                    _ => runs.push(((*seq, *seq), *deliveries)),
                }
            }
            out.extend(runs.into_iter().map(|(run, deliveries)| {
                let (input, group) = (input.clone(), group.clone());
                Record::Delivered(Delivered { input, group, seqs: vec![run], deliveries })
            }));
        }
        for ((input, group), keys) in &self.parked {
            let park = |key| Record::Parked(Parked { input: input.clone(), group: group.clone(), key });
            out.extend(keys.iter().map(|key| park(*key)));
        }
        for (channel, keys) in &self.keys {
            let all: Vec<(KeyHash, Remembered)> = keys.iter().collect();
            out.extend(all.chunks(KEYS_A_RECORD).map(|keys| {
                Record::BusinessKeys(BusinessKeys { channel: channel.clone(), since: i64::MIN, keys: keys.to_vec() })
            }));
        }
        out
    }
}
