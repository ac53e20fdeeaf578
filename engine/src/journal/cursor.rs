//! How far a group has come in an input: a floor, and what is settled above it. Pure.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::packet::Seq;

/// How far a group has come in an input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// All up to and with this are settled.
    pub floor: Seq,
    /// Settled above the floor: start to end, both included, disjoint and not touching.
    above: BTreeMap<Seq, Seq>,
    /// For a source: the position at the floor, as far as one was stored.
    pub position: Bytes,
}

impl Cursor {
    /// True when `seq` is settled.
    #[must_use]
    pub fn has(&self, seq: Seq) -> bool {
        seq <= self.floor || self.above.range(..=seq).next_back().is_some_and(|(_, end)| *end >= seq)
    }

    /// Settles `from..=to`. Repeating it is fine.
    ///
    /// # Panics
    /// When the range is upside down.
    pub fn settle(&mut self, from: Seq, to: Seq) {
        assert!(from <= to, "a range from {from} to {to}");
        if from.0 <= self.floor.0.saturating_add(1) {
            return self.raise(to);
        }
        let (mut start, mut end) = (from, to);
        // Swallow what overlaps or touches.
        while let Some((&s, &e)) = self.above.range(..=Seq(end.0.saturating_add(1))).next_back() {
            if Seq(e.0.saturating_add(1)) < start {
                break;
            }
            self.above.remove(&s);
            start = start.min(s);
            end = end.max(e);
        }
        self.above.insert(start, end);
    }

    /// Raises the floor to `to` at least, and on through what is settled right above.
    fn raise(&mut self, to: Seq) {
        self.floor = self.floor.max(to);
        while let Some(first) = self.above.first_entry() {
            if first.key().0 > self.floor.0.saturating_add(1) {
                break;
            }
            self.floor = self.floor.max(first.remove());
        }
    }

    /// What is settled above the floor around `seq`, itself included: from and to.
    #[must_use]
    pub fn around(&self, seq: Seq) -> Option<(Seq, Seq)> {
        self.above.range(..=seq).next_back().filter(|(_, to)| **to >= seq).map(|(from, to)| (*from, *to))
    }

    /// True when all of `from..=to` is settled.
    #[must_use]
    pub fn covers(&self, from: Seq, to: Seq) -> bool {
        to <= self.floor || self.around(to).is_some_and(|(start, _)| start <= from.max(self.floor.next()))
    }

    /// What is settled above the floor, ascending.
    pub fn above(&self) -> impl Iterator<Item = (Seq, Seq)> {
        self.above.iter().map(|(from, to)| (*from, *to))
    }

    /// The ranges that make up what is settled, ascending.
    #[must_use]
    pub fn ranges(&self) -> Vec<(Seq, Seq)> {
        let first = (self.floor > Seq(0)).then_some((Seq(1), self.floor));
        first.into_iter().chain(self.above()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// A cursor against the plainest model: a set of numbers.
        #[test]
        fn a_cursor_is_a_set(ranges in proptest::collection::vec((1u64..60, 0u64..6), 0..40)) {
            let mut cursor = Cursor::default();
            let mut model = BTreeSet::new();
            for (from, len) in ranges {
                cursor.settle(Seq(from), Seq(from + len));
                model.extend(from..=from + len);
                for seq in 1..70 {
                    prop_assert_eq!(cursor.has(Seq(seq)), model.contains(&seq), "seq {}", seq);
                }
                let floor = (1..).take_while(|seq| model.contains(seq)).last().unwrap_or(0);
                prop_assert_eq!(cursor.floor, Seq(floor));
                for seq in 1..70 {
                    let covered = |to: u64| (seq..=to).all(|one| model.contains(&one));
                    prop_assert!((seq..70).all(|to| cursor.covers(Seq(seq), Seq(to)) == covered(to)));
                    let around = (seq > floor && model.contains(&seq)).then(|| {
                        let from = (1..=seq).rev().take_while(|one| model.contains(one)).last().unwrap();
                        (Seq(from), Seq((seq..).take_while(|one| model.contains(one)).last().unwrap()))
                    });
                    prop_assert_eq!(cursor.around(Seq(seq)), around);
                }
            }
        }
    }
}
