//! Which numbers of a channel are still needed, and where they lie. Numbers that follow each other in one frame are one run,
//! so a backlog costs memory by frames rather than by packets. Pure.

use std::collections::BTreeMap;

use super::frame::{At, SECTOR};
use crate::packet::Seq;

/// Numbers that follow each other in one frame.
#[derive(Clone, Copy, Debug)]
struct Run {
    count: u32,
    /// Where the frame begins, in sectors.
    sector: u32,
    segment: u64,
}

impl Run {
    fn at(self) -> At {
        At { segment: self.segment, offset: u64::from(self.sector) * SECTOR }
    }
}

/// A run as plain data: first number, how many, where the frame is.
pub(super) type RunAt = (Seq, u32, At);

/// Numbers, each with the frame that holds it.
#[derive(Clone, Debug, Default)]
pub(super) struct Runs {
    /// By the first number of each.
    runs: BTreeMap<Seq, Run>,
    count: u64,
}

impl Runs {
    /// How many numbers there are.
    pub(super) fn len(&self) -> u64 {
        self.count
    }

    /// Adds numbers from `first` on that lie in the frame at `at`.
    ///
    /// # Panics
    /// When one of them is there already.
    pub(super) fn add(&mut self, first: Seq, count: u32, at: At) {
        let sector = u32::try_from(at.offset / SECTOR).expect("a segment has fewer than 4 G sectors");
        let before = self.runs.range_mut(..first.next()).next_back();
        self.count += u64::from(count);
        if let Some((start, run)) = before {
            let end = start.0 + u64::from(run.count);
            assert!(end <= first.0, "number {first} is there already");
            if end == first.0
                && run.at() == at
                && let Some(joined) = run.count.checked_add(count)
            {
                run.count = joined;
                return;
            }
        }
        self.runs.insert(first, Run { count, sector, segment: at.segment });
    }

    /// The first number at or after `from`, with its frame.
    pub(super) fn next(&self, from: Seq) -> Option<(Seq, At)> {
        let within =
            self.runs.range(..=from).next_back().filter(|(start, run)| start.0 + u64::from(run.count) > from.0);
        let found = within.or_else(|| self.runs.range(from..).next());
        found.map(|(start, run)| ((*start).max(from), run.at()))
    }

    /// True when the number is there.
    pub(super) fn has(&self, seq: Seq) -> bool {
        self.next(seq).is_some_and(|(next, _)| next == seq)
    }

    /// The numbers of `from..=to`, ascending.
    pub(super) fn within(&self, from: Seq, to: Seq) -> impl Iterator<Item = Seq> {
        let next = move |from| self.next(from).map(|(seq, _)| seq).filter(|seq| *seq <= to);
        std::iter::successors(next(from), move |seq| next(seq.next()))
    }

    /// All numbers, ascending.
    pub(super) fn seqs(&self) -> impl Iterator<Item = Seq> {
        self.runs.iter().flat_map(|(start, run)| (start.0..start.0 + u64::from(run.count)).map(Seq))
    }

    /// All runs, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = RunAt> {
        self.runs.iter().map(|(start, run)| (*start, run.count, run.at()))
    }

    /// Takes out those of `from..=to` that are `done`; gives how many went from which frame.
    pub(super) fn take(&mut self, from: Seq, to: Seq, done: impl Fn(Seq) -> bool) -> Vec<(At, u64)> {
        let mut taken = Vec::new();
        let mut next = from;
        while let Some((seq, at)) = self.next(next).filter(|(seq, _)| *seq <= to) {
            let (start, run) =
                self.runs.range(..=seq).next_back().map(|(start, run)| (*start, *run)).expect("next() saw it");
            let end = start.0 + u64::from(run.count);
            let last = end.min(to.0.saturating_add(1));
            let gone: Vec<bool> = (seq.0..last).map(|seq| done(Seq(seq))).collect();
            let count = gone.iter().filter(|gone| **gone).count() as u64;
            if count > 0 {
                self.runs.remove(&start);
                self.count -= u64::from(run.count);
                self.keep(start.0, seq.0, at);
                for (index, _) in gone.iter().enumerate().filter(|(_, gone)| !**gone) {
                    self.add(Seq(seq.0 + index as u64), 1, at);
                }
                self.keep(last, end, at);
                taken.push((at, count));
            }
            next = Seq(last);
        }
        taken
    }

    fn keep(&mut self, from: u64, to: u64, at: At) {
        if from < to {
            let count = u32::try_from(to - from).expect("a part of a run is no longer than the run");
            self.add(Seq(from), count, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Runs against the plainest model: a map of every number.
        #[test]
        fn runs_are_a_map(
            frames in proptest::collection::vec((1u32..9, 0u64..2), 0..20),
            settles in proptest::collection::vec((0u64..90, 0u64..20, 1u64..4), 0..20),
        ) {
            let (mut runs, mut model) = (Runs::default(), BTreeMap::new());
            let mut next = 1;
            for (index, (count, skip)) in frames.into_iter().enumerate() {
                let at = At { segment: 1 + index as u64 / 5, offset: SECTOR * (1 + index as u64) };
                next += skip;
                for seq in next..next + u64::from(count) {
                    runs.add(Seq(seq), 1, at);
                    model.insert(Seq(seq), at);
                }
                next += u64::from(count);
            }
            for (from, len, step) in settles {
                let done = |seq: Seq| seq.0.is_multiple_of(step);
                let (from, to) = (Seq(from), Seq(from + len));
                let mut expected: BTreeMap<At, u64> = BTreeMap::new();
                model.retain(|seq, at| {
                    let goes = *seq >= from && *seq <= to && done(*seq);
                    if goes {
                        *expected.entry(*at).or_default() += 1;
                    }
                    !goes
                });
                let mut taken: BTreeMap<At, u64> = BTreeMap::new();
                runs.take(from, to, done).into_iter().for_each(|(at, count)| *taken.entry(at).or_default() += count);
                prop_assert_eq!(taken, expected);
                prop_assert_eq!(runs.len(), model.len() as u64);
                prop_assert!(runs.seqs().eq(model.keys().copied()));
                for seq in 0..100 {
                    let expected = model.range(Seq(seq)..).next().map(|(seq, at)| (*seq, *at));
                    prop_assert_eq!(runs.next(Seq(seq)), expected);
                    prop_assert_eq!(runs.has(Seq(seq)), model.contains_key(&Seq(seq)));
                }
            }
        }
    }
}
