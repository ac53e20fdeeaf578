//! Ack trees and the transactions that end them.
//!
//! A tree is one packet of an input with all that came of it inside this process. When its last branch ends, the root
//! is settled; what its branches wrote (state, channel packets, dead letters) and the settle are one transaction. A branch
//! that writes while others are still open leaves an `Applied` record with its writes, so that a redelivery after a crash
//! finds them done.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::Notify;

use super::hosted::Hosted;
use crate::journal::image::{Cursor, Image};
use crate::journal::record::{Applied, Name, Settle};
use crate::journal::{Intent, Journal, Record};
use crate::node::Acks;
use crate::packet::{Identity, Packet, Seq};

/// Where trees begin: a source, a channel or a stateful node's outputs, as one group sees it.
pub(crate) struct Input {
    pub(crate) name: Name,
    pub(crate) group: Name,
    pub(crate) intent: Intent,
    limits: Limits,
    /// Others take from it, too: numbers that were passed over are theirs.
    shared: bool,
    open: Mutex<Open>,
    /// Wakes the input's task when a tree has ended.
    room: Notify,
    /// Who wants to hear of durable settles.
    pub(crate) acks: Option<Arc<dyn Acks>>,
}

/// What may be open of an input at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Trees.
    pub(crate) in_flight_max: usize,
    /// What stages have taken of them, or may yet: it is small state of the journal.
    pub(crate) applied_max: usize,
}

impl Limits {
    /// An input's share of the small state that fits segments of that size, where it is one of `inputs` and no node's name is longer
    /// than `stage_bytes`.
    pub(crate) fn of(in_flight_max: usize, segment_bytes: u64, inputs: usize, stage_bytes: usize) -> Limits {
        let share = segment_bytes / APPLIED_PART / inputs.max(1) as u64;
        let applied_max = usize::try_from(share).unwrap_or(usize::MAX) / (APPLIED_USUAL_BYTES + stage_bytes);
        Limits { in_flight_max, applied_max }
    }

    /// How many more trees may begin beside those in flight, where stages have taken something of `trees`, `applied` in all. Those
    /// of them that have yet to begin again after a restart may, and the only one always.
    fn left(self, in_flight: usize, (trees, applied): (usize, usize)) -> usize {
        let again = trees.saturating_sub(in_flight).max(usize::from(in_flight == 0));
        let left = self.applied_max.saturating_sub(in_flight.max(applied)).max(again);
        left.min(self.in_flight_max.saturating_sub(in_flight))
    }
}

struct Open {
    /// Settled, submitted settles included.
    cursor: Cursor,
    /// Positions of entries above the floor, in order.
    positions: VecDeque<(Seq, Bytes)>,
    /// The newest root that began.
    newest: Seq,
    /// Numbers that the input passed over, settled with the next that ends.
    gaps: Vec<(Seq, Seq)>,
    in_flight: usize,
}

impl Input {
    pub(crate) fn new(
        name: Name,
        group: Name,
        intent: Intent,
        limits: Limits,
        image: &Image,
        acks: Option<Arc<dyn Acks>>,
    ) -> Self {
        let cursor = image.cursor(&name, &group);
        let newest = cursor.floor;
        let open = Mutex::new(Open { cursor, positions: VecDeque::new(), newest, gaps: Vec::new(), in_flight: 0 });
        Input { name, group, intent, limits, shared: false, open, room: Notify::new(), acks }
    }

    /// An input of which others of the group take their share.
    pub(crate) fn shared(self) -> Self {
        Input { shared: true, ..self }
    }

    /// True when `seq` is settled here, submitted settles included.
    pub(crate) fn has(&self, seq: Seq) -> bool {
        self.open().cursor.has(seq)
    }

    /// The group is done with these, whoever took them: from and to.
    pub(crate) fn pass(&self, passed: &[(Seq, Seq)]) {
        let open = &mut *self.open();
        for (from, to) in
            passed.iter().filter(|(from, to)| !open.cursor.covers(*from, *to)).copied().collect::<Vec<_>>()
        {
            open.cursor.settle(from, to);
            // Ranges swallow each other: only the newest of them is written.
            open.gaps.retain(|(start, end)| *start < from || *end > to);
            open.gaps.push((from, to));
        }
    }

    /// Forgets what was settled: the numbers begin anew.
    pub(crate) fn begin_anew(&self) {
        let mut open = self.open();
        assert!(open.in_flight == 0, "{} begins anew with {} in flight", self.name, open.in_flight);
        (open.cursor, open.newest, open.gaps) = (Cursor::default(), Seq(0), Vec::new());
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().expect("no code panics while it holds an input")
    }

    /// Where to begin after a restart.
    pub(crate) fn cursor(&self) -> Cursor {
        self.open().cursor.clone()
    }

    /// Trees that have begun and are not settled durably.
    pub(crate) fn in_flight(&self) -> usize {
        self.open().in_flight
    }

    /// Waits until another tree may begin; gives how many may.
    pub(crate) async fn room(&self, journal: &Journal) -> usize {
        loop {
            let notified = self.room.notified();
            let in_flight = self.in_flight();
            let left = self.limits.left(in_flight, journal.image(|image| image.applied_counts(&self.name)));
            if left > 0 {
                return left;
            }
            notified.await;
        }
    }

    /// Begins trees with one branch each, a source's with their positions. Numbers that were passed over since the last one
    /// will never come.
    pub(crate) fn begin(self: &Arc<Self>, roots: impl Iterator<Item = (Seq, Option<Bytes>)>) -> Vec<Tree> {
        let mut open = self.open();
        let root = |(seq, position)| {
            self.open_root(&mut open, seq, position);
            Root { seq, branches: AtomicU32::new(1), wrote: Mutex::default() }
        };
        let roots: Vec<Root> = roots.map(root).collect();
        let trees = Arc::new(Trees { input: self.clone(), roots });
        (0..trees.roots.len()).map(|index| Tree { trees: trees.clone(), index }).collect()
    }

    fn open_root(&self, open: &mut Open, seq: Seq, position: Option<Bytes>) {
        open.in_flight += 1;
        if !self.shared && seq > open.newest.next() {
            let gap = (open.newest.next(), Seq(seq.0 - 1));
            // What was settled before a restart is in the journal.
            if !open.cursor.covers(gap.0, gap.1) {
                open.cursor.settle(gap.0, gap.1);
                open.gaps.push(gap);
            }
        }
        open.newest = open.newest.max(seq);
        if let Some(position) = position {
            assert!(position.len() <= POSITION_BYTES_MAX, "a source's position of {} bytes", position.len());
            let last = open.positions.back().map_or(Seq(0), |(seq, _)| *seq);
            assert!(last < seq, "a source of {} went from {last} back to {seq}", self.name);
            open.positions.push_back((seq, position));
        }
    }

    /// Numbers passed over that the next settle says: all, where the position that it may say stands behind them.
    fn gaps(&self) -> usize {
        self.gaps_said(&self.open())
    }

    fn gaps_said(&self, open: &Open) -> usize {
        open.gaps.len().min(if self.shared { GAPS_A_RECORD } else { usize::MAX })
    }

    /// Takes out gaps that are too many for a transaction which says more; gives the record that says them, to be submitted in the
    /// same step.
    pub(crate) fn settle_gaps(&self) -> Option<Record> {
        let mut open = self.open();
        if open.gaps.len() <= GAPS_A_RECORD {
            return None;
        }
        let seqs = open.gaps.drain(..GAPS_A_RECORD).collect();
        Some(Record::Settle(Settle { input: self.name.clone(), group: self.group.clone(), seqs, position: None }))
    }

    /// What that record takes at most, bytes.
    pub(crate) fn gaps_bytes(&self) -> usize {
        64 + self.name.len() + self.group.len() + GAPS_A_RECORD * RANGE_BYTES
    }

    /// Marks roots as settled; gives the record that says so.
    fn settle(&self, seqs: &[Seq]) -> Record {
        let mut open = self.open();
        let gaps = self.gaps_said(&open);
        let mut ranges: Vec<(Seq, Seq)> = open.gaps.drain(..gaps).collect();
        for seq in seqs {
            match ranges.last_mut() {
                Some((_, to)) if to.next() == *seq => *to = *seq,
                _ => ranges.push((*seq, *seq)),
            }
        }
        ranges.iter().for_each(|(from, to)| open.cursor.settle(*from, *to));
        let floor = open.cursor.floor;
        // The position of the newest settled entry at or below the floor; behind it there are only gaps.
        let passed = open.positions.partition_point(|(seq, _)| *seq <= floor);
        let position = open.positions.drain(..passed).next_back().map(|(_, position)| position);
        Record::Settle(Settle { input: self.name.clone(), group: self.group.clone(), seqs: ranges, position })
    }

    /// The settles of these roots are durable.
    pub(crate) fn settled(&self, seqs: &[Seq]) {
        self.open().in_flight -= seqs.len();
        self.room.notify_one();
        if let Some(acks) = &self.acks {
            acks.settled(seqs);
        }
    }
}

/// The trees of packets that entered together.
struct Trees {
    input: Arc<Input>,
    roots: Vec<Root>,
}

/// A root and how many of its branches are still open.
struct Root {
    seq: Seq,
    branches: AtomicU32,
    /// What stages wrote of it while it is open. Where a stage gets one packet by several ways, it stands here as often.
    wrote: Mutex<Vec<(Name, Identity)>>,
}

/// One tree, as each of its branches holds it.
#[derive(Clone)]
pub(crate) struct Tree {
    trees: Arc<Trees>,
    index: usize,
}

impl Tree {
    pub(crate) fn input(&self) -> &Arc<Input> {
        &self.trees.input
    }

    /// The root's number at its input.
    pub(crate) fn seq(&self) -> Seq {
        self.root().seq
    }

    fn root(&self) -> &Root {
        &self.trees.roots[self.index]
    }

    /// Adds branches, before the one that forks ends.
    pub(crate) fn fork(&self, more: usize) {
        if more > 0 {
            let more = u32::try_from(more).expect("a node's outputs and edges are bounded");
            self.root().branches.fetch_add(more, Ordering::Relaxed);
        }
    }

    /// A stage wrote what it made of a packet; gives how often it had done so before.
    fn wrote(&self, stage: &Name, packet: Identity) -> usize {
        let mut wrote = self.root().wrote.lock().expect("no code panics while it holds a root");
        let before = wrote.iter().filter(|(known, of)| known == stage && *of == packet).count();
        wrote.push((stage.clone(), packet));
        before
    }

    /// Ends a branch; true when it was the last.
    fn end(&self) -> bool {
        let before = self.root().branches.fetch_sub(1, Ordering::Relaxed);
        assert!(before > 0, "a branch of {} {} ended twice", self.input().name, self.seq());
        before == 1
    }
}

/// A packet on its way, as a branch of its tree.
#[derive(Clone)]
pub(crate) struct Item {
    pub(crate) packet: Packet,
    pub(crate) tree: Tree,
}

/// Most gaps that one record of a settle says beside all else. What a member has more waits for the next; what others have more
/// goes ahead.
const GAPS_A_RECORD: usize = 64;

/// Longest position that a source may give, bytes.
const POSITION_BYTES_MAX: usize = 256;
/// A range that is settled, at most, bytes.
const RANGE_BYTES: usize = 20;
/// An `Applied` record without its names, at most, bytes.
const APPLIED_BYTES: usize = 112;
/// What it takes mostly, with the name of its input.
const APPLIED_USUAL_BYTES: usize = 48;
/// All of them together take this part of a segment: with business keys, which take a third, they stay below the half that small
/// state may take.
const APPLIED_PART: u64 = 8;

/// A transaction being built from the ends of branches. They end only where it is submitted: whoever then ends the last one
/// settles the root, and what the others wrote is in the journal before that.
#[derive(Default)]
pub(crate) struct Tx {
    records: Vec<Record>,
    /// The branches that are to end.
    ends: Vec<Tree>,
    /// Which of them wrote, by their places: the stage, and the packet that it had.
    wrote: Vec<(usize, Name, Identity)>,
    /// At least what its records will take, but for the gaps that it settles.
    bytes: usize,
    /// Inputs whose roots it may settle.
    inputs: Vec<Arc<Input>>,
    /// What goes into channels that live here; they give the numbers, in the step that submits.
    published: Vec<(Arc<Hosted>, Vec<Bytes>)>,
    produces: bool,
}

/// Roots that a transaction settles.
pub(crate) type Settled = Vec<(Arc<Input>, Vec<Seq>)>;

impl Tx {
    /// A transaction that ends so many branches at most, as far as is known.
    pub(crate) fn of(branches: usize) -> Self {
        Tx { ends: Vec::with_capacity(branches), ..Tx::default() }
    }

    /// Ends a branch at `stage` with what it wrote.
    pub(crate) fn end(&mut self, stage: &Name, item: Item, records: Vec<Record>) {
        let wrote = !records.is_empty();
        if wrote {
            self.bytes += records.iter().map(Record::size).sum::<usize>();
            self.records.extend(records);
        }
        self.close(stage, item, wrote);
    }

    /// Ends a branch at `stage` with a packet for a channel that lives here.
    pub(crate) fn publish(&mut self, stage: &Name, item: Item, hosted: &Arc<Hosted>) {
        let packet = item.packet.encode();
        self.bytes += hosted.cost(&packet);
        match self.published.iter_mut().find(|(known, _)| Arc::ptr_eq(known, hosted)) {
            Some((_, packets)) => packets.push(packet),
            None => self.published.push((hosted.clone(), vec![packet])),
        }
        self.close(stage, item, true);
    }

    fn close(&mut self, stage: &Name, Item { packet, tree }: Item, wrote: bool) {
        let input = tree.input();
        self.produces |= input.intent == Intent::Produce;
        if !self.inputs.iter().any(|known| Arc::ptr_eq(known, input)) {
            self.bytes += 64 + input.name.len() + input.group.len() + POSITION_BYTES_MAX;
            self.inputs.push(input.clone());
        }
        // At worst a range of its own; or a record that says what was written.
        self.bytes += if wrote { APPLIED_BYTES + stage.len() + input.name.len() } else { RANGE_BYTES };
        if wrote {
            self.wrote.push((self.ends.len(), stage.clone(), packet.identity));
        }
        self.ends.push(tree);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// At least what its records will take, but for the gaps that it settles.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// At least what its records will take.
    pub(crate) fn bytes_max(&self) -> usize {
        // Each gap is a range of its own; they may have come since.
        self.bytes + self.inputs.iter().map(|input| input.gaps() * RANGE_BYTES).sum::<usize>()
    }

    /// An input of which it would settle more gaps than one transaction says beside all else.
    pub(crate) fn crowded(&self) -> Option<&Arc<Input>> {
        self.inputs.iter().find(|input| input.gaps() > GAPS_A_RECORD)
    }

    pub(crate) fn intent(&self) -> Intent {
        if self.produces { Intent::Produce } else { Intent::Drain }
    }

    /// Ends the branches; gives the records, settles last, and the roots that they settle. What it gives is submitted in the
    /// same step.
    pub(crate) fn finish(self) -> (Vec<Record>, Intent, Settled) {
        let intent = self.intent();
        let mut records = self.records;
        for (hosted, packets) in self.published {
            records.extend(hosted.publish(packets));
        }
        let (branches, mut settled) = (self.ends.len(), Settled::new());
        let mut wrote = self.wrote.into_iter().peekable();
        for (at, tree) in self.ends.into_iter().enumerate() {
            let wrote = wrote.next_if(|(place, ..)| *place == at);
            let (input, root) = (tree.input(), tree.seq());
            if tree.end() {
                match settled.iter_mut().find(|(known, _)| Arc::ptr_eq(known, input)) {
                    Some((_, seqs)) => seqs.push(root),
                    None => {
                        let mut seqs = Vec::with_capacity(branches - at);
                        seqs.push(root);
                        settled.push((input.clone(), seqs));
                    }
                }
            } else if let Some((_, stage, packet)) = wrote {
                let stage = nth(&stage, tree.wrote(&stage, packet));
                records.push(Record::Applied(Applied { stage, input: input.name.clone(), root, packet }));
            }
        }
        for (input, seqs) in &mut settled {
            seqs.sort_unstable();
            records.push(input.settle(seqs));
        }
        (records, intent, settled)
    }
}

/// How the journal names a stage that writes what it made of one packet of a tree another time.
fn nth(stage: &Name, before: usize) -> Name {
    if before == 0 { stage.clone() } else { format!("{stage}{AGAIN}{before}").into() }
}

/// Stands in no stage's name.
const AGAIN: char = '\0';

/// What a stage had written, before the last restart, of trees that are not settled: how often of each packet.
#[derive(Default)]
pub(crate) struct Done {
    stage: Name,
    wrote: BTreeMap<(Name, Seq, Identity), u32>,
}

impl Done {
    pub(crate) fn of(stage: &str, inputs: &[Name], image: &Image) -> Self {
        let is_of = |name: &str| name.split_once(AGAIN).map_or(name, |(name, _)| name) == stage;
        let mut wrote = BTreeMap::new();
        for input in inputs {
            for (root, (_, packet)) in image.applied(input).filter(|(_, (name, _))| is_of(name)) {
                *wrote.entry((input.clone(), root, *packet)).or_default() += 1;
            }
        }
        Done { stage: stage.into(), wrote }
    }

    /// True when nothing is left of it, as mostly.
    pub(crate) fn is_empty(&self) -> bool {
        self.wrote.is_empty()
    }

    /// True, as often as this packet of this tree was handled before the restart.
    pub(crate) fn take(&mut self, item: &Item) -> bool {
        let one = (item.tree.input().name.clone(), item.tree.seq(), item.packet.identity);
        let Some(times) = self.wrote.get_mut(&one) else { return false };
        *times -= 1;
        if *times == 0 {
            self.wrote.remove(&one);
        }
        item.tree.wrote(&self.stage, item.packet.identity);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::frame::At;

    fn input(image: &Image) -> Arc<Input> {
        let limits = Limits::of(4096, 8 << 20, 1, 8);
        Arc::new(Input::new("feed".into(), "edge".into(), Intent::Produce, limits, image, None))
    }

    #[test]
    fn what_stages_have_taken_of_open_trees_fits_an_eighth_of_a_segment_and_one_tree_always_may_begin() {
        let limits = Limits::of(4096, 32 << 10, 2, 16);
        assert_eq!(limits.applied_max, 32);
        assert_eq!(limits.left(0, (0, 0)), 32);
        assert_eq!(limits.left(20, (0, 0)), 12, "those may yet be taken");
        assert_eq!(limits.left(2, (2, 30)), 2, "one packet came to many");
        assert_eq!(limits.left(1, (1, 4000)), 0);
        assert_eq!(limits.left(0, (1, 4000)), 1);
        assert_eq!(limits.left(0, (40, 40)), 40, "they began before a restart");
        assert_eq!(limits.left(30, (40, 40)), 10);
        assert_eq!(Limits::of(1024, 8 << 20, 3, 48).left(0, (0, 0)), 1024, "segments as they are mostly");
        assert_eq!(Limits::of(4, 8 << 20, 1, 48).left(4, (9, 9)), 0);
    }

    fn begin(input: &Arc<Input>, seqs: impl Iterator<Item = u64>) -> Vec<Tree> {
        input.begin(seqs.map(|seq| (Seq(seq), None)))
    }

    #[test]
    fn what_a_source_passed_over_goes_ahead_of_a_transaction_that_it_would_crowd() {
        let input = input(&Image::default());
        let trees = begin(&input, (1..=2 * GAPS_A_RECORD as u64 + 9).map(|n| 2 * n));
        let mut tx = Tx::default();
        tx.inputs.push(input.clone());
        let mut said = 0;
        while let Some(crowded) = tx.crowded() {
            let record = crowded.settle_gaps().expect("it has too many");
            assert!(record.size() <= crowded.gaps_bytes(), "{record:?}");
            let Record::Settle(Settle { seqs, position: None, .. }) = record else { panic!("{record:?}") };
            said += seqs.len();
        }
        assert_eq!((said, input.gaps()), (2 * GAPS_A_RECORD, 9));
        drop(trees);
    }

    #[test]
    fn what_was_settled_before_a_restart_is_not_settled_again() {
        let mut image = Image::default();
        let seqs = vec![(Seq(1), Seq(3)), (Seq(5), Seq(5)), (Seq(7), Seq(9))];
        let settle = Settle { input: "feed".into(), group: "edge".into(), seqs, position: None };
        image.apply(At { segment: 1, offset: 0 }, Record::Settle(settle));
        let input = input(&image);
        // 4, 6 and 12 come again; of what lies between, nobody has settled 10 and 11.
        let trees = begin(&input, [4, 6, 12].into_iter());
        assert_eq!(input.open().gaps, [(Seq(7), Seq(11))]);
        drop(trees);
    }
}
