//! Which packets of which producer a channel's host holds: pure dedup by sequence number, O(producers), never evicted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::packet::{Epoch, Seq};

/// The producers of all channels of a host. It changes only by [`Producers::open`] and
/// [`Producers::accept`], so a journal that repeats these records rebuilds it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Producers {
    channels: BTreeMap<String, BTreeMap<String, Producer>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Producer {
    epoch: Epoch,
    last: Seq,
}

/// Most journals of one process that a channel knows.
pub const JOURNALS_MAX: usize = 1024;
const AT: char = '@';

/// Under which name a channel counts what a process sends: `edge`, or `edge@JOURNAL` where it says which journal it counts in.
/// A machine that was replaced begins at number 1 again, and means other packets by it.
#[must_use]
pub fn name(process: &str, journal: Option<u128>) -> String {
    assert!(!process.contains(AT), "{process} is no name of a process");
    journal.map_or_else(|| process.to_owned(), |journal| format!("{process}{AT}{journal:032x}"))
}

/// The process of such a name.
#[must_use]
pub fn process(name: &str) -> &str {
    name.split_once(AT).map_or(name, |(process, _)| process)
}

/// What may be stored of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accept {
    /// How many packets at the batch's front are duplicates, to be left out; all of them when it equals the batch.
    pub skip: u64,
    /// The last sequence number held once the rest is stored.
    pub last: Seq,
}

/// Why a producer was turned away. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// A newer epoch of the producer was opened.
    #[error("could not take epoch {offered}: the producer opened epoch {current} since", offered = .offered.0, current = .current.0)]
    Fenced {
        /// The epoch that came.
        offered: Epoch,
        /// The epoch that holds.
        current: Epoch,
    },
    /// More journals of one process opened the channel than it keeps count of.
    #[error("could not take another journal of the producer: {JOURNALS_MAX} are known")]
    TooMany,
    /// The producer never opened the channel in this epoch.
    #[error("could not take epoch {offered}: it was never opened", offered = .offered.0)]
    Unopened {
        /// The epoch that came.
        offered: Epoch,
    },
    /// Packets are missing before this batch.
    #[error("could not take packets from {first}: {expected} comes next")]
    OutOfSequence {
        /// The batch's first.
        first: Seq,
        /// The only first that leaves no gap.
        expected: Seq,
    },
}

impl Producers {
    /// Opens a channel for a producer and fences its older epochs; returns the last sequence number held, 0 for none.
    /// Opening the same epoch again is fine.
    ///
    /// # Errors
    /// [`Rejection::Fenced`] when a newer epoch was opened before, [`Rejection::TooMany`] beyond [`JOURNALS_MAX`].
    pub fn open(&mut self, channel: &str, producer: &str, epoch: Epoch) -> Result<Seq, Rejection> {
        match self.get(channel, producer) {
            Some(known) if epoch < known.epoch => Err(Rejection::Fenced { offered: epoch, current: known.epoch }),
            None if self.journals(channel, process(producer)) >= JOURNALS_MAX => Err(Rejection::TooMany),
            known => {
                let last = known.map_or(Seq(0), |known| known.last);
                self.set(channel, producer, Producer { epoch, last });
                Ok(last)
            }
        }
    }

    fn journals(&self, channel: &str, of: &str) -> usize {
        self.channels.get(channel).map_or(0, |known| known.keys().filter(|name| process(name) == of).count())
    }

    /// Judges `count` packets from `first`, before which the producer lost `lost` numbers for good; changes nothing. Call
    /// [`Producers::accept`] once the rest is on its way into the journal.
    ///
    /// # Errors
    /// Fenced and unopened epochs, and a gap before `first` that is larger than what was lost.
    pub fn offer(
        &self,
        channel: &str,
        producer: &str,
        epoch: Epoch,
        (first, lost): (Seq, u64),
        count: u64,
    ) -> Result<Accept, Rejection> {
        assert!(first > Seq(0), "sequence numbers begin at 1, not {first}");
        let known = match self.get(channel, producer) {
            Some(known) if epoch < known.epoch => {
                return Err(Rejection::Fenced { offered: epoch, current: known.epoch });
            }
            Some(known) if epoch == known.epoch => known,
            _ => return Err(Rejection::Unopened { offered: epoch }),
        };
        let expected = known.last.next();
        if first.0.saturating_sub(lost) > expected.0 {
            return Err(Rejection::OutOfSequence { first, expected });
        }
        let expected = expected.max(first);
        let skip = (expected.0 - first.0).min(count);
        Ok(Accept { skip, last: Seq(expected.0 - 1 + count - skip) })
    }

    /// Notes what a journal says of a producer.
    pub fn restore(&mut self, channel: &str, producer: &str, epoch: Epoch, last: Seq) {
        self.set(channel, producer, Producer { epoch, last });
    }

    /// Notes that all up to `last` is held. Less than what is held changes nothing, so repeating a record is fine.
    pub fn accept(&mut self, channel: &str, producer: &str, last: Seq) {
        let known = self.get(channel, producer).unwrap_or(Producer { epoch: Epoch(0), last: Seq(0) });
        self.set(channel, producer, Producer { last: known.last.max(last), ..known });
    }

    /// The last sequence number held of a producer; 0 for none.
    #[must_use]
    pub fn last(&self, channel: &str, producer: &str) -> Seq {
        self.get(channel, producer).map_or(Seq(0), |known| known.last)
    }

    fn get(&self, channel: &str, producer: &str) -> Option<Producer> {
        self.channels.get(channel)?.get(producer).copied()
    }

    fn set(&mut self, channel: &str, producer: &str, state: Producer) {
        self.channels.entry(channel.to_owned()).or_default().insert(producer.to_owned(), state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CHANNEL: &str = "uplink";
    const NAME: &str = "edge";

    fn offer(producers: &Producers, epoch: u64, first: u64, count: u64) -> Result<Accept, Rejection> {
        producers.offer(CHANNEL, NAME, Epoch(epoch), (Seq(first), 0), count)
    }

    #[test]
    fn takes_what_comes_next_and_skips_what_it_holds() {
        let mut producers = Producers::default();
        assert_eq!(offer(&producers, 1, 1, 3), Err(Rejection::Unopened { offered: Epoch(1) }));
        assert_eq!(producers.open(CHANNEL, NAME, Epoch(1)), Ok(Seq(0)));
        assert_eq!(offer(&producers, 1, 1, 3), Ok(Accept { skip: 0, last: Seq(3) }));
        producers.accept(CHANNEL, NAME, Seq(3));
        assert_eq!(offer(&producers, 1, 2, 4), Ok(Accept { skip: 2, last: Seq(5) }));
        assert_eq!(offer(&producers, 1, 1, 2), Ok(Accept { skip: 2, last: Seq(3) }));
        let gap = Rejection::OutOfSequence { first: Seq(5), expected: Seq(4) };
        assert_eq!(offer(&producers, 1, 5, 1), Err(gap));
        let behind = |lost, first, count| producers.offer(CHANNEL, NAME, Epoch(1), (Seq(first), lost), count);
        assert_eq!(behind(1, 5, 2), Ok(Accept { skip: 0, last: Seq(6) }), "number 4 is lost");
        assert_eq!(behind(1, 4, 2), Ok(Accept { skip: 0, last: Seq(5) }), "what is lost is held here");
        assert_eq!(behind(9, 2, 4), Ok(Accept { skip: 2, last: Seq(5) }));
        let gap = Rejection::OutOfSequence { first: Seq(7), expected: Seq(4) };
        assert_eq!(behind(2, 7, 1), Err(gap), "more is missing than was lost");
    }

    #[test]
    fn a_new_epoch_goes_on_counting_and_fences_the_old_one() {
        let mut producers = Producers::default();
        producers.open(CHANNEL, NAME, Epoch(1)).unwrap();
        producers.accept(CHANNEL, NAME, Seq(7));
        assert_eq!(producers.open(CHANNEL, NAME, Epoch(2)), Ok(Seq(7)));
        let fenced = Rejection::Fenced { offered: Epoch(1), current: Epoch(2) };
        assert_eq!(producers.open(CHANNEL, NAME, Epoch(1)), Err(fenced));
        assert_eq!(offer(&producers, 1, 8, 1), Err(fenced));
        assert_eq!(producers.open("other", NAME, Epoch(1)), Ok(Seq(0)), "channels know nothing of each other");
    }

    #[test]
    fn another_journal_is_another_count() {
        let mut producers = Producers::default();
        let (first, second) = (name(NAME, Some(7)), name(NAME, Some(8)));
        assert_eq!((process(&first), process(NAME)), (NAME, NAME));
        assert_eq!(producers.open(CHANNEL, &first, Epoch(5)), Ok(Seq(0)));
        producers.accept(CHANNEL, &first, Seq(9));
        assert_eq!(producers.open(CHANNEL, &second, Epoch(1)), Ok(Seq(0)), "it begins anew, and nobody fences it");
        producers.accept(CHANNEL, &second, Seq(2));
        assert_eq!(producers.open(CHANNEL, &first, Epoch(6)), Ok(Seq(9)), "the old one may still have something");
        for journal in 9..7 + JOURNALS_MAX as u128 {
            assert_eq!(producers.open(CHANNEL, &name(NAME, Some(journal)), Epoch(1)), Ok(Seq(0)));
        }
        assert_eq!(producers.open(CHANNEL, &name(NAME, Some(0)), Epoch(1)), Err(Rejection::TooMany));
        assert_eq!(producers.open(CHANNEL, &second, Epoch(2)), Ok(Seq(2)), "known ones come in");
        assert_eq!(producers.open(CHANNEL, &name("van", Some(0)), Epoch(1)), Ok(Seq(0)));
    }

    #[derive(Clone, Debug)]
    enum Action {
        Open { producer: usize, epoch: u64 },
        Offer { producer: usize, epoch: u64, first: u64, count: u64 },
        Restart,
    }

    fn action() -> impl Strategy<Value = Action> {
        prop_oneof![
            (0..3usize, 1..5u64).prop_map(|(producer, epoch)| Action::Open { producer, epoch }),
            (0..3usize, 1..5u64, 1..40u64, 1..9u64).prop_map(|(producer, epoch, first, count)| Action::Offer {
                producer,
                epoch,
                first,
                count
            }),
            Just(Action::Restart),
        ]
    }

    proptest! {
        // The model holds each stored sequence number itself; the state under test only the last.
        #[test]
        fn stores_each_number_once_and_in_order(actions in proptest::collection::vec(action(), 1..200)) {
            let names = ["edge", "lab", "van"];
            let mut producers = Producers::default();
            let mut stored: [Vec<u64>; 3] = Default::default();
            let mut epochs = [0u64; 3];
            for action in actions {
                match action {
                    Action::Open { producer, epoch } => {
                        let got = producers.open(CHANNEL, names[producer], Epoch(epoch));
                        if epoch < epochs[producer] {
                            let current = Epoch(epochs[producer]);
                            prop_assert_eq!(got, Err(Rejection::Fenced { offered: Epoch(epoch), current }));
                        } else {
                            prop_assert_eq!(got, Ok(Seq(stored[producer].len() as u64)));
                            epochs[producer] = epoch;
                        }
                    }
                    Action::Offer { producer, epoch, first, count } => {
                        let got = producers.offer(CHANNEL, names[producer], Epoch(epoch), (Seq(first), 0), count);
                        let held = stored[producer].len() as u64;
                        if epoch != epochs[producer] || first > held + 1 {
                            prop_assert!(got.is_err());
                            continue;
                        }
                        let accept = got.unwrap();
                        let rest = (first..first + count).skip(accept.skip as usize);
                        stored[producer].extend(rest);
                        prop_assert_eq!(accept.last, Seq(stored[producer].len() as u64));
                        producers.accept(CHANNEL, names[producer], accept.last);
                    }
                    Action::Restart => {
                        let bytes = postcard::to_allocvec(&producers).unwrap();
                        producers = postcard::from_bytes(&bytes).unwrap();
                    }
                }
            }
            for numbers in stored {
                let expected: Vec<u64> = (1..=numbers.len() as u64).collect();
                prop_assert_eq!(numbers, expected);
            }
        }
    }
}
