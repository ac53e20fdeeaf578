//! The image: what the records of a journal add up to. Pure; fed with records in LSN order, by recovery and by each commit.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Lsn;
pub use super::cursor::Cursor;
use super::durability::Durability;
use super::frame::At;
use super::handed::Handed;
use super::letter::Failure;
use super::record::{Applied, Channel, DeadLetter, Name, Producer, Put, Record, Retired, Settle};
use super::runs::RunAt;
use crate::channel::dedup::Keys;
use crate::packet::{Epoch, Identity, Seq};

pub use super::packets::Packets;

/// A dead letter that the journal holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetterEntry {
    /// Whose.
    pub identity: Identity,
    /// The node that failed.
    pub node: Name,
    /// The class.
    pub class: String,
    /// When it was given up, unix ns.
    pub given_up: i64,
    /// The frame that holds the whole record.
    pub at: At,
}

impl DeadLetterEntry {
    fn of(letter: DeadLetter, at: At) -> DeadLetterEntry {
        let Failure { node, class, last: given_up, .. } = letter.failure;
        DeadLetterEntry { identity: letter.identity, node, class, given_up, at }
    }

    /// True when it is the entry of `letter`.
    pub(super) fn is_of(&self, letter: &DeadLetter) -> bool {
        let failure = &letter.failure;
        self.identity == letter.identity && self.node == failure.node && self.given_up == failure.last
    }
}

/// Where needed packets and dead letters lie.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Index {
    /// Of each channel: runs of numbers in one frame.
    pub(super) channels: Vec<(Name, Vec<RunAt>)>,
    pub(super) dead_letters: Vec<DeadLetterEntry>,
}

/// What stages have taken of an input's trees that are not settled, by root.
#[derive(Clone, Debug, Default)]
struct AppliedTrees {
    trees: BTreeMap<Seq, BTreeSet<(Name, Identity)>>,
    /// How many that are, all trees together.
    count: usize,
}

impl AppliedTrees {
    fn add(&mut self, root: Seq, stage: Name, packet: Identity) {
        self.count += usize::from(self.trees.entry(root).or_default().insert((stage, packet)));
    }

    fn remove(&mut self, root: Seq) {
        self.count -= self.trees.remove(&root).map_or(0, |set| set.len());
    }
}

/// What a journal's records add up to.
#[derive(Clone, Debug, Default)]
pub struct Image {
    channels: BTreeMap<Name, Packets>,
    cursors: BTreeMap<Name, BTreeMap<Name, Cursor>>,
    applied: BTreeMap<Name, AppliedTrees>,
    state: BTreeMap<Name, BTreeMap<Bytes, Bytes>>,
    producers: BTreeMap<(Name, Name), (Epoch, Seq)>,
    dead_letters: Vec<DeadLetterEntry>,
    quarantined: Vec<(Lsn, Lsn)>,
    handed: Handed,
    durability: Durability,
    /// Needed packets and dead letters a segment; a segment that isn't here is needed by nobody.
    live: BTreeMap<u64, u64>,
    tail_bytes_max: usize,
}

impl Image {
    /// An empty image that keeps up to `tail_bytes_max` of each channel's newest packets in memory.
    #[must_use]
    pub fn new(tail_bytes_max: usize) -> Self {
        Image { tail_bytes_max, ..Image::default() }
    }

    /// From now on keeps up to `bytes` of each channel's newest packets in memory.
    pub fn keep_tail(&mut self, bytes: usize) {
        self.tail_bytes_max = bytes;
    }

    /// All that it holds is synced.
    pub(super) fn synced(&mut self) {
        self.channels.values_mut().for_each(|packets| packets.synced = packets.last);
    }

    /// Takes one record that stands in the frame `at`. Gives the packets of a channel that it settled for its group, and that
    /// the group had not settled before.
    ///
    /// # Panics
    /// When a channel's numbers go back: the journal would have lied.
    pub fn apply(&mut self, at: At, record: Record) -> Vec<Seq> {
        match record {
            Record::Append { channel, seq, packet } => self.append(at, &channel, seq, packet),
            Record::Settle(settle) => return self.settle(&settle),
            Record::Applied(Applied { stage, input, root, packet }) => {
                let settled = self.cursor_any(&input, root);
                if !settled {
                    self.applied.entry(input).or_default().add(root, stage, packet);
                }
            }
            Record::Put(Put { node, key, value }) => {
                let keys = self.state.entry(node).or_default();
                match value {
                    Some(value) => keys.insert(key, value),
                    None => keys.remove(&key),
                };
            }
            Record::DeadLetter(letter) => {
                *self.live.entry(at.segment).or_default() += 1;
                self.dead_letters.push(DeadLetterEntry::of(letter, at));
            }
            Record::Moved { channel, seq, .. } => self.moved(at, &channel, seq),
            Record::MovedLetter(letter) => self.moved_letter(at, letter),
            Record::Producer(Producer { channel, producer, epoch, last }) => {
                // Two of them may be written out of order: neither ever goes back.
                let known = self.producers.entry((channel, producer)).or_insert((epoch, last));
                *known = (known.0.max(epoch), known.1.max(last));
            }
            Record::Channel(Channel { channel, last }) => {
                let packets = self.channels.entry(channel).or_default();
                packets.last = packets.last.max(last);
            }
            Record::Generation(generation) => self.handed.generation(generation),
            Record::Delivered(delivered) => {
                let cursor = self.cursors.get(&delivered.input).and_then(|groups| groups.get(&delivered.group));
                self.handed.delivered(delivered, |seq| cursor.is_some_and(|cursor| cursor.has(seq)));
            }
            Record::Parked(parked) => self.handed.park(parked),
            Record::BusinessKeys(keys) => self.handed.business_keys(keys),
            // Each state frame repeats it.
            Record::Quarantined(range) => {
                if !self.quarantined.contains(&(range.from, range.to)) {
                    self.quarantined.push((range.from, range.to));
                }
            }
            Record::Retired(Retired { input, group }) => self.retire(&input, &group),
            Record::Durable(durability) => self.durability = durability,
            Record::Opened(_) | Record::Snapshot(_) | Record::Closed => {}
        }
        Vec::new()
    }

    /// Takes a whole small state that stands in the frames up to `at`: what it doesn't name is gone. Packets and dead letters
    /// stay, but for what it settles.
    pub(super) fn replace_state(&mut self, at: At, records: Vec<Record>) {
        let Image { channels, dead_letters, live, tail_bytes_max, .. } = std::mem::take(self);
        *self = Image { channels, dead_letters, live, tail_bytes_max, ..Image::default() };
        // All groups first: a packet is free once every one of them has settled it.
        for record in &records {
            if let Record::Settle(Settle { input, group, .. }) = record {
                self.cursors.entry(input.clone()).or_default().entry(group.clone()).or_default();
            }
        }
        for record in records {
            self.apply(at, record);
        }
    }

    /// What is big: where needed packets and dead letters lie. With the snapshot it is all of the image.
    pub(super) fn index(&self) -> Index {
        let channels = self.channels.iter().map(|(name, packets)| (name.clone(), packets.entries.iter().collect()));
        Index { channels: channels.collect(), dead_letters: self.dead_letters.clone() }
    }

    /// An image of a snapshot and an index that were taken together.
    pub(super) fn restore(index: Index, snapshot: Vec<Record>) -> Image {
        let mut image = Image::default();
        for (name, runs) in index.channels {
            let packets = image.channels.entry(name).or_default();
            for (first, count, at) in runs {
                packets.entries.add(first, count, at);
                *image.live.entry(at.segment).or_default() += u64::from(count);
            }
        }
        for letter in &index.dead_letters {
            *image.live.entry(letter.at.segment).or_default() += 1;
        }
        image.dead_letters = index.dead_letters;
        image.replace_state(At { segment: 0, offset: 0 }, snapshot);
        image
    }

    /// A needed packet lies in the frame `at` from now on. Where its old frame is gone already, it comes back by this.
    fn moved(&mut self, at: At, channel: &Name, seq: Seq) {
        let packets = self.channels.entry(channel.clone()).or_default();
        packets.last = packets.last.max(seq);
        for (old, count) in packets.entries.take(seq, seq, |_| true) {
            release(&mut self.live, old.segment, count);
        }
        packets.entries.add(seq, 1, at);
        *self.live.entry(at.segment).or_default() += 1;
    }

    fn moved_letter(&mut self, at: At, letter: DeadLetter) {
        *self.live.entry(at.segment).or_default() += 1;
        if let Some(entry) = self.dead_letters.iter_mut().find(|entry| entry.at < at && entry.is_of(&letter)) {
            release(&mut self.live, entry.at.segment, 1);
            entry.at = at;
            return;
        }
        let place = self.dead_letters.partition_point(|entry| entry.given_up <= letter.failure.last);
        self.dead_letters.insert(place, DeadLetterEntry::of(letter, at));
    }

    /// The frames of a segment that hold needed packets or dead letters, ascending.
    pub(super) fn live_frames(&self, segment: u64) -> BTreeSet<At> {
        let packets = self.channels.values().flat_map(|packets| packets.entries.iter().map(|(_, _, at)| at));
        let letters = self.dead_letters.iter().map(|letter| letter.at);
        packets.chain(letters).filter(|at| at.segment == segment).collect()
    }

    /// The segments that somebody needs, ascending.
    pub(super) fn live_segments(&self) -> impl Iterator<Item = u64> {
        self.live.keys().copied()
    }

    fn append(&mut self, at: At, channel: &Name, seq: Seq, packet: Bytes) {
        let max = self.tail_bytes_max;
        if !self.channels.contains_key(channel) {
            self.channels.insert(channel.clone(), Packets::default());
        }
        let packets = self.channels.get_mut(channel).expect("inserted above when it was missing");
        assert!(seq > packets.last, "channel `{channel}` goes from {} back to {seq}", packets.last);
        packets.last = seq;
        packets.entries.add(seq, 1, at);
        packets.tail_bytes += packet.len();
        packets.tail.push_back((seq, packet));
        while packets.tail_bytes > max {
            let Some((_, oldest)) = packets.tail.pop_front() else { break };
            packets.tail_bytes -= oldest.len();
        }
        *self.live.entry(at.segment).or_default() += 1;
    }

    fn settle(&mut self, settle: &Settle) -> Vec<Seq> {
        let groups = self.cursors.entry(settle.input.clone()).or_default();
        let cursor = groups.entry(settle.group.clone()).or_default();
        let mut settled = Vec::new();
        for (from, to) in &settle.seqs {
            if let Some(packets) = self.channels.get(&settle.input) {
                settled.extend(packets.entries.within(*from, *to).filter(|seq| !cursor.has(*seq)));
            }
            cursor.settle(*from, *to);
            self.handed.settled(&settle.input, &settle.group, (*from, *to));
        }
        if let Some(position) = &settle.position {
            cursor.position = position.clone();
        }
        for (from, to) in &settle.seqs {
            self.free(&settle.input, *from, *to);
        }
        settled
    }

    /// Forgets a group, and what only it still needed.
    fn retire(&mut self, input: &Name, group: &Name) {
        let Some(groups) = self.cursors.get_mut(input) else { return };
        groups.remove(group);
        self.handed.retire(input, group);
        self.free(input, Seq(0), Seq(u64::MAX));
    }

    /// Forgets what every group has settled within a range.
    fn free(&mut self, input: &Name, from: Seq, to: Seq) {
        let groups = &self.cursors[input];
        if let Some(applied) = self.applied.get_mut(input) {
            let done = |root: &Seq| groups.values().all(|cursor| cursor.has(*root));
            let roots: Vec<Seq> = applied.trees.range(from..=to).map(|(root, _)| *root).filter(done).collect();
            for root in roots {
                applied.remove(root);
            }
        }
        let Some(packets) = self.channels.get_mut(input) else { return };
        let done = packets.entries.take(from, to, |seq| groups.values().all(|cursor| cursor.has(seq)));
        for (at, count) in &done {
            release(&mut self.live, at.segment, *count);
        }
        while packets.tail.front().is_some_and(|(seq, _)| !packets.has(*seq)) {
            let (_, packet) = packets.tail.pop_front().expect("front() saw one");
            packets.tail_bytes -= packet.len();
        }
    }

    fn cursor_any(&self, input: &str, root: Seq) -> bool {
        self.cursors
            .get(input)
            .is_some_and(|groups| groups.values().all(|cursor| cursor.has(root)) && !groups.is_empty())
    }

    /// The packets of a channel, when it has ever had one.
    #[must_use]
    pub fn channel(&self, name: &str) -> Option<&Packets> {
        self.channels.get(name)
    }

    /// All channels with their packets, sorted by name.
    pub fn channels(&self) -> impl Iterator<Item = (&Name, &Packets)> {
        self.channels.iter()
    }

    /// A group's cursor; that of a group never heard of is at the beginning.
    #[must_use]
    pub fn cursor(&self, input: &str, group: &str) -> Cursor {
        self.cursors.get(input).and_then(|groups| groups.get(group)).cloned().unwrap_or_default()
    }

    /// Every group of every input with its cursor, sorted by name.
    pub fn groups(&self) -> impl Iterator<Item = (&Name, &Name, &Cursor)> {
        self.cursors.iter().flat_map(|(input, groups)| groups.iter().map(move |(group, cursor)| (input, group, cursor)))
    }

    /// How events name what a group does with an input: by the input alone while it is the only one, else `INPUT@GROUP`.
    #[must_use]
    pub fn place(&self, input: &Name, group: &str) -> Name {
        let several = self.cursors.get(input).is_some_and(|groups| groups.len() > 1);
        if several { format!("{input}@{group}").into() } else { input.clone() }
    }

    /// How many packets of an input a group has yet to settle.
    #[must_use]
    pub fn pending(&self, input: &str, group: &str) -> u64 {
        let Some(packets) = self.channels.get(input) else { return 0 };
        let cursor = self.cursors.get(input).and_then(|groups| groups.get(group));
        packets.entries.seqs().filter(|seq| cursor.is_none_or(|cursor| !cursor.has(*seq))).count() as u64
    }

    /// The numbers that a group has not settled and nobody holds: first to last, both included, ascending. There are none but
    /// where something was lost.
    #[must_use]
    pub fn gone(&self, input: &str, group: &str) -> Vec<(Seq, Seq)> {
        let Some(packets) = self.channels.get(input) else { return Vec::new() };
        let mut gone = Vec::new();
        let mut next = Seq(1);
        let settled = self.cursor(input, group).ranges();
        for (from, to) in settled.into_iter().chain([(packets.last.next(), packets.last.next())]) {
            // What lies before the range is not settled.
            while next < from {
                let held = packets.next(next).map_or(from, |(held, _)| held.min(from));
                if held > next {
                    gone.push((next, Seq(held.0 - 1)));
                }
                next = held.next();
            }
            next = next.max(to.next());
        }
        gone
    }

    /// The nodes that have state, with the number of their keys, sorted by name.
    pub fn stateful(&self) -> impl Iterator<Item = (&Name, usize)> {
        self.state.iter().filter(|(_, keys)| !keys.is_empty()).map(|(node, keys)| (node, keys.len()))
    }

    /// The last number of a channel that was ever given, as far as packets and settles tell: a medium may have destroyed a packet
    /// whose settle is there.
    #[must_use]
    pub fn last_given(&self, channel: &str) -> Seq {
        let held = self.channels.get(channel).map_or(Seq(0), |packets| packets.last);
        let groups = self.cursors.get(channel).into_iter().flat_map(BTreeMap::values);
        groups.flat_map(Cursor::ranges).map(|(_, to)| to).fold(held, Seq::max)
    }

    /// True when the group is known.
    #[must_use]
    pub fn has_group(&self, input: &str, group: &str) -> bool {
        self.cursors.get(input).is_some_and(|groups| groups.contains_key(group))
    }

    /// What stages have taken of trees of `input` that are not settled yet: root, stage, packet.
    pub fn applied(&self, input: &str) -> impl Iterator<Item = (Seq, &(Name, Identity))> {
        let trees = self.applied.get(input).into_iter().flat_map(|applied| &applied.trees);
        trees.flat_map(|(root, set)| set.iter().map(move |one| (*root, one)))
    }

    /// Of how many trees that is, and how much.
    #[must_use]
    pub fn applied_counts(&self, input: &str) -> (usize, usize) {
        self.applied.get(input).map_or((0, 0), |applied| (applied.trees.len(), applied.count))
    }

    /// A node's keyed state.
    #[must_use]
    pub fn state(&self, node: &str) -> BTreeMap<Bytes, Bytes> {
        self.state.get(node).cloned().unwrap_or_default()
    }

    /// The producers of a channel: name, epoch and last accepted number of each.
    pub fn producers(&self, channel: &str) -> impl Iterator<Item = (&str, (Epoch, Seq))> {
        let from = (Name::from(channel), Name::from(""));
        let all = self.producers.range(from..).take_while(move |((of, _), _)| **of == *channel);
        all.map(|((_, producer), known)| (&**producer, *known))
    }

    /// Epoch and last accepted number of a producer in a channel.
    #[must_use]
    pub fn producer(&self, channel: &str, producer: &str) -> Option<(Epoch, Seq)> {
        self.producers.get(&(channel.into(), producer.into())).copied()
    }

    /// The last generation of a group; 0 when there was none.
    #[must_use]
    pub fn generation(&self, input: &str, group: &str) -> u64 {
        self.handed.last_generation(input, group)
    }

    /// How often packets that a group has not settled were delivered to it, where that is counted.
    #[must_use]
    pub fn deliveries(&self, input: &str, group: &str) -> BTreeMap<Seq, u32> {
        self.handed.deliveries(input, group)
    }

    /// The keys of a group that are parked.
    #[must_use]
    pub fn parked(&self, input: &str, group: &str) -> BTreeSet<u64> {
        self.handed.parked(input, group)
    }

    /// The business keys that a channel remembers, when it ever saw one.
    #[must_use]
    pub fn keys(&self, channel: &str) -> Option<&Keys> {
        self.handed.keys(channel)
    }

    /// The dead letters, oldest first.
    #[must_use]
    pub fn dead_letters(&self) -> &[DeadLetterEntry] {
        &self.dead_letters
    }

    /// Ranges that recoveries reported lost, oldest first.
    #[must_use]
    pub fn quarantined(&self) -> &[(Lsn, Lsn)] {
        &self.quarantined
    }

    /// When the commits of the last opening were confirmed.
    #[must_use]
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// Needed packets and dead letters in a segment.
    #[must_use]
    pub fn live_in(&self, segment: u64) -> u64 {
        self.live.get(&segment).copied().unwrap_or(0)
    }

    /// The small state as records: applied to an empty image they give all but packets and dead letters.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Record> {
        let mut out = Vec::new();
        for (channel, packets) in &self.channels {
            out.push(Record::Channel(Channel { channel: channel.clone(), last: packets.last }));
        }
        for (input, groups) in &self.cursors {
            for (group, cursor) in groups {
                let position = (!cursor.position.is_empty()).then(|| cursor.position.clone());
                out.push(Record::Settle(Settle {
                    input: input.clone(),
                    group: group.clone(),
                    seqs: cursor.ranges(),
                    position,
                }));
            }
        }
        for (input, applied) in &self.applied {
            for (root, set) in &applied.trees {
                out.extend(set.iter().map(|(stage, packet)| {
                    Record::Applied(Applied {
                        stage: stage.clone(),
                        input: input.clone(),
                        root: *root,
                        packet: *packet,
                    })
                }));
            }
        }
        for (node, keys) in &self.state {
            out.extend(keys.iter().map(|(key, value)| {
                Record::Put(Put { node: node.clone(), key: key.clone(), value: Some(value.clone()) })
            }));
        }
        for ((channel, producer), (epoch, last)) in &self.producers {
            out.push(Record::Producer(Producer {
                channel: channel.clone(),
                producer: producer.clone(),
                epoch: *epoch,
                last: *last,
            }));
        }
        out.extend(self.handed.snapshot());
        out.push(Record::Durable(self.durability));
        for (from, to) in &self.quarantined {
            out.push(Record::Quarantined(super::record::Quarantined { from: *from, to: *to }));
        }
        out
    }
}

fn release(live: &mut BTreeMap<u64, u64>, segment: u64, packets: u64) {
    let count = live.get_mut(&segment).expect("what is released was counted when it was appended");
    *count -= packets;
    if *count == 0 {
        live.remove(&segment);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_gives_the_same_small_state() {
        let at = At { segment: 1, offset: 512 };
        let mut image = Image::new(100);
        let settle = |from: u64, to: u64| {
            Record::Settle(Settle {
                input: "channel/up".into(),
                group: "hub".into(),
                seqs: vec![(Seq(from), Seq(to))],
                position: None,
            })
        };
        for seq in 1..=5 {
            image.apply(
                at,
                Record::Append { channel: "channel/up".into(), seq: Seq(seq), packet: Bytes::from_static(b"packet") },
            );
        }
        assert_eq!(image.apply(at, settle(1, 2)), [Seq(1), Seq(2)]);
        assert_eq!(image.apply(at, settle(1, 2)), [], "settling twice changes nothing");
        assert_eq!(image.apply(at, settle(4, 4)), [Seq(4)]);
        image.apply(
            at,
            Record::Put(Put { node: "w".into(), key: Bytes::from_static(b"k"), value: Some(Bytes::from_static(b"v")) }),
        );
        let mut again = Image::new(100);
        for record in image.snapshot() {
            again.apply(at, record);
        }
        assert_eq!(again.cursor("channel/up", "hub"), image.cursor("channel/up", "hub"));
        assert_eq!(again.state("w"), image.state("w"));
        assert_eq!(again.channel("channel/up").map(|c| c.last), Some(Seq(5)));
        assert_eq!(image.channel("channel/up").map(Packets::backlog), Some(2));
        assert_eq!(image.live_in(1), 2);
    }
}
