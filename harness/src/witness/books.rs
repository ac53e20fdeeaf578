//! What the lives of all processes of a run wrote down, put together as the history that the ledger and the checks read.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use seaworthy_engine::assert::catalogue;
use seaworthy_engine::node::Draft;
use seaworthy_engine::observe::{Event, What};
use seaworthy_engine::packet::{Packet, Seq};

use super::record::{Record, Taken};
use crate::history::{Effect, History, OfferRecord, Probed};
use crate::load::LoadEvent;

/// A whole run.
#[derive(Debug, Default)]
pub struct Books {
    /// What happened, from the first life's begin on.
    pub history: History,
    /// What the sources brought in, in order of time.
    pub workload: Vec<LoadEvent>,
    /// A witness had seen enough before the run ended: there the books end.
    pub is_cut: bool,
    /// Processor time of all lives, ns; `None` where one was killed, or the books are cut.
    pub cpu_ns: Option<u64>,
}

/// Why nothing is known of a run.
#[derive(Debug, thiserror::Error)]
pub enum BooksError {
    /// What was written down can't be read.
    #[error("could not read what was written down: {0}")]
    Read(#[from] io::Error),
    /// A witness could not write.
    #[error("what happened in a process could not be written down")]
    Unwritten,
}

/// One life of one process.
struct Life {
    began_ns: u64,
    process: Arc<str>,
    records: Vec<Record>,
}

/// Reads what the witnesses wrote in `dir`. `told_as` names the process whose endpoints stand for those of another, where members
/// of a group share packets.
///
/// # Errors
/// When a file can't be read, or a witness could not write its own.
pub fn read(dir: &Path, told_as: impl Fn(&str) -> String) -> Result<Books, BooksError> {
    let mut lives = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let bytes = std::fs::read(entry?.path())?;
        let mut records = Record::all(&bytes);
        let Some(Record::Began { at_ns: began_ns, process }) = records.next() else {
            return Err(BooksError::Unwritten);
        };
        lives.push(Life { began_ns, process: process.into(), records: records.collect() });
    }
    lives.sort_by_key(|life| life.began_ns);
    Ok(joined(lives, told_as))
}

fn joined(lives: Vec<Life>, told_as: impl Fn(&str) -> String) -> Books {
    let began_ns = lives.first().map_or(0, |life| life.began_ns);
    let full = |record: &Record| if let Record::Full { at_ns } = record { Some(*at_ns) } else { None };
    let cut_ns = lives.iter().flat_map(|life| &life.records).filter_map(full).min();
    let ended = |life: &Life| match life.records.last() {
        Some(Record::Ended { cpu_ns, .. }) => Some(*cpu_ns),
        _ => None,
    };
    let cpu_ns = lives.iter().map(ended).sum::<Option<u64>>().filter(|_| cut_ns.is_none());
    let catalogue = catalogue().into_iter().map(|assertion| assertion.id).collect();
    let mut joining = Joining { began_ns, cut_ns: cut_ns.unwrap_or(u64::MAX), catalogue, ..Joining::default() };
    let mut lived: BTreeMap<Arc<str>, u64> = BTreeMap::new();
    for Life { process, records, .. } in lives {
        let incarnation = lived.entry(process.clone()).or_default();
        *incarnation += 1;
        let told_as = told_as(&process);
        records.into_iter().for_each(|record| joining.take(&process, *incarnation, &told_as, record));
        let ended_ns = joining.newest_ns;
        joining.history.ends.push((process.to_string(), ended_ns));
    }
    let (mut history, workload) = joining.finish();
    history.end_ns = cut_ns.map_or(history.end_ns, |cut_ns| cut_ns - began_ns);
    Books { history, workload, is_cut: cut_ns.is_some(), cpu_ns }
}

#[derive(Default)]
struct Joining {
    began_ns: u64,
    cut_ns: u64,
    /// Ids of this binary's assertions.
    catalogue: BTreeSet<&'static str>,
    /// The newest record of the life that is read.
    newest_ns: u64,
    history: History,
    /// By entry and number: what was brought in, again after a restart, too.
    brought: BTreeMap<(Arc<str>, Seq), (OfferRecord, LoadEvent)>,
}

impl Joining {
    fn take(&mut self, process: &Arc<str>, incarnation: u64, told_as: &str, record: Record) {
        if record.at_ns() >= self.cut_ns {
            return;
        }
        let at_ns = record.at_ns() - self.began_ns;
        self.newest_ns = at_ns;
        self.history.end_ns = self.history.end_ns.max(at_ns);
        let mut tell = |event| {
            self.history.events.push(Probed { at_ns, host: process.clone(), incarnation, event });
        };
        match record {
            Record::Said { events, .. } => events.into_iter().for_each(tell),
            Record::Looked { place, id, held, .. } => {
                // Another binary's would be unknown here.
                if let Some(id) = self.catalogue.get(&*id).copied() {
                    let what = What::Asserted { id, held };
                    tell(Event { what, place, identity: None, seq: Seq(0), attempt: 0 });
                }
            }
            Record::Brought { node, entries, .. } => {
                let entry: Arc<str> = format!("{process}.{node}").into();
                for (seq, packet) in entries {
                    self.bring(at_ns, &entry, seq, &packet);
                }
            }
            Record::Settled { node, seqs, .. } => {
                let entry: Arc<str> = format!("{process}.{node}").into();
                for seq in seqs {
                    if let Some((offer, _)) = self.brought.get_mut(&(entry.clone(), seq)) {
                        offer.accepted_ns.get_or_insert(at_ns);
                    }
                }
            }
            Record::Took { node, packets, .. } => {
                let endpoint = format!("{told_as}.{node}");
                let effect = |Taken { packet_id, key, content }| {
                    let endpoint = endpoint.clone();
                    Effect { endpoint, at_ns, packet_id, key, content }
                };
                self.history.effects.extend(packets.into_iter().map(effect));
            }
            Record::Began { .. } | Record::Full { .. } | Record::Ended { .. } => {}
        }
    }

    fn bring(&mut self, at_ns: u64, entry: &Arc<str>, seq: Seq, packet: &[u8]) {
        if let Some((offer, _)) = self.brought.get_mut(&(entry.clone(), seq)) {
            offer.attempts += 1;
            return;
        }
        let Ok(packet) = Packet::decode(packet) else { return };
        let draft = Draft::of(&packet);
        let offer = OfferRecord {
            entry: entry.clone(),
            seq,
            packet_id: draft.packet_id.as_str().into(),
            key: draft.key.as_deref().map(Into::into),
            intended_ns: at_ns,
            accepted_ns: None,
            rejected: None,
            attempts: 1,
        };
        let event = LoadEvent { entry: entry.to_string(), seq, intended_ns: at_ns, draft };
        self.brought.insert((entry.clone(), seq), (offer, event));
    }

    /// All in order of time; what one process told at one instant stays in its order.
    fn finish(mut self) -> (History, Vec<LoadEvent>) {
        let mut brought: Vec<(OfferRecord, LoadEvent)> = self.brought.into_values().collect();
        brought.sort_by_key(|(offer, _)| offer.intended_ns);
        let workload;
        (self.history.offers, workload) = brought.into_iter().unzip();
        self.history.events.sort_by_key(|probed| probed.at_ns);
        self.history.effects.sort_by_key(|effect| effect.at_ns);
        self.history.load_end_ns = self.history.offers.last().map_or(0, |offer| offer.intended_ns + 1);
        (self.history, workload)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use seaworthy_engine::packet::{ContentType, Identity, Kind};

    use super::*;

    const MS: u64 = 1_000_000;

    fn life(process: &str, began_ns: u64, records: Vec<Record>) -> Life {
        Life { began_ns, process: process.into(), records }
    }

    fn draft(packet_id: &str) -> Draft {
        Draft {
            packet_id: packet_id.into(),
            ts: 0,
            kind: Kind::Event,
            source_id: "s".into(),
            key: None,
            content_type: ContentType::Bytes,
            payload: Bytes::from_static(b"in"),
            meta: BTreeMap::new(),
        }
    }

    fn brought(at_ns: u64, seqs: &[u64]) -> Record {
        let packet = |seq: &u64| (Seq(*seq), draft(&format!("p{seq}")).into_packet(Identity::Derived(0)).encode());
        Record::Brought { at_ns, node: "feed".into(), entries: seqs.iter().map(packet).collect() }
    }

    fn took(at_ns: u64, packet_id: &str) -> Record {
        let packet = Taken { packet_id: packet_id.into(), key: None, content: Bytes::from_static(b"in") };
        Record::Took { at_ns, node: "out".into(), packets: vec![packet] }
    }

    fn settled(at_ns: u64, seq: u64) -> Record {
        Record::Settled { at_ns, node: "feed".into(), seqs: vec![Seq(seq)] }
    }

    fn ended(at_ns: u64) -> Record {
        Record::Ended { at_ns, cpu_ns: 5 }
    }

    #[test]
    fn lives_are_one_history_on_one_clock() {
        let from = 50 * MS;
        let lives = vec![
            life("edge", from, vec![brought(from + MS, &[1, 2])]),
            life(
                "edge",
                from + 4 * MS,
                vec![brought(from + 5 * MS, &[2, 3]), settled(from + 6 * MS, 2), ended(from + 9 * MS)],
            ),
            life("lab", from, vec![took(from + 3 * MS, "p1"), took(from + 7 * MS, "p2"), ended(from + 8 * MS)]),
        ];
        let Books { history, workload, is_cut, cpu_ns } = joined(lives, |process| process.replace("lab", "hub"));
        assert_eq!((is_cut, cpu_ns), (false, None), "the first life was killed");
        let offers = history.offers.iter().map(|offer| (offer.seq.0, offer.intended_ns / MS, offer.attempts));
        assert_eq!(offers.collect::<Vec<_>>(), [(1, 1, 1), (2, 1, 2), (3, 5, 1)]);
        assert_eq!(history.offers[1].accepted_ns, Some(6 * MS));
        assert_eq!(workload.len(), 3);
        let effects = history.effects.iter().map(|effect| (effect.endpoint.as_str(), effect.at_ns / MS));
        assert_eq!(effects.collect::<Vec<_>>(), [("hub.out", 3), ("hub.out", 7)]);
        assert_eq!((history.load_end_ns, history.end_ns), (5 * MS + 1, 9 * MS));
    }

    #[test]
    fn the_books_end_where_the_first_witness_had_seen_enough() {
        let lives = vec![
            life("edge", 0, vec![brought(MS, &[1]), Record::Full { at_ns: 4 * MS }]),
            life("hub", 0, vec![took(2 * MS, "p1"), took(4 * MS, "p2"), took(6 * MS, "p3"), ended(9 * MS)]),
        ];
        let Books { history, is_cut, cpu_ns, .. } = joined(lives, str::to_owned);
        assert_eq!((is_cut, cpu_ns, history.end_ns), (true, None, 4 * MS));
        assert_eq!(history.effects.len(), 1);
    }
}
