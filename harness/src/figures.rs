//! From a judged history to the plain data that the reports read.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;

use indexmap::IndexMap;
use seaworthy_engine::assert::{Claim, catalogue};
use seaworthy_engine::observe::What;
use seaworthy_engine::packet::Identity;
use seaworthy_reports::run::{AtSink, Broken, EventRun, FaultRun, SeedRun, Work};

use crate::check::Violation;
use crate::history::{History, OfferRecord};
use crate::ledger::Ledger;
use crate::outside;

/// Why a channel refuses what it holds already: the producer sent it again.
const RESENT: &str = "lane.duplicate";

/// What the history doesn't know of its own seed.
#[derive(Clone, Debug, Default)]
pub struct SeedFacts {
    /// The seed.
    pub seed: u64,
    /// Hash of the trace, as hexadecimal text.
    pub trace_hash: String,
    /// The world's tick; 0 on a real machine.
    pub tick_ns: u64,
    /// Packets that the system handles in one batch.
    pub batch: u64,
    /// Ids of the scenario's faults in order of the file.
    pub fault_order: Vec<String>,
    /// `[[sometimes]]` conditions and how often each was reached.
    pub sometimes: Vec<(String, u64)>,
    /// Faults that wait for a condition, and what came of it.
    pub waited: Vec<(String, String)>,
}

/// Puts together what the reports need of one seed.
#[must_use]
pub fn seed_run(facts: SeedFacts, history: &History, ledger: &Ledger, violations: &[Violation]) -> SeedRun {
    let SeedFacts { seed, trace_hash, tick_ns, batch, fault_order, sometimes, waited } = facts;
    let mut events: Vec<EventRun> = history
        .offers
        .iter()
        .zip(&ledger.answers)
        .map(|(offer, answer)| EventRun {
            event: (offer.entry.clone(), offer.seq.0),
            intended_ns: offer.intended_ns,
            accepted_ns: offer.accepted_ns,
            answer: *answer,
            at: vec![],
        })
        .collect();
    let done = done(history);
    let again = begun_again(history, &done);
    for (sink, account) in ledger.sinks.iter().enumerate() {
        for row in &account.rows {
            let began = again.get(&*history.offers[row.offer].packet_id).copied();
            events[row.offer].at.push(AtSink {
                sink,
                fate: row.fate,
                visible_ns: row.visible_ns,
                expected: row.expected,
                copies: if account.idempotent { row.copies.min(row.expected) } else { row.copies },
                raw_copies: row.copies,
                planted: row.planted,
                again_ns: began.filter(|ns| row.visible_ns.is_none_or(|visible_ns| *ns <= visible_ns)),
            });
        }
    }
    let took_effect = history.applied.iter().filter(|applied| applied.hits > 0);
    SeedRun {
        seed,
        trace_hash,
        warmup_ns: history.warmup_ns,
        load_end_ns: history.load_end_ns,
        end_ns: history.end_ns,
        drained: history.drained,
        tick_ns,
        batch,
        sinks: ledger.sinks.iter().map(|account| account.sink.to_string()).collect(),
        events,
        unexpected_ns: ledger
            .sinks
            .iter()
            .flat_map(|account| account.unexpected.iter().map(|effect| effect.at_ns))
            .collect(),
        work: done.stages.into_values().chain(done.sinks.into_values()).collect(),
        faults: took_effect
            .map(|applied| FaultRun { id: applied.fault.clone(), from_ns: applied.from_ns, to_ns: applied.to_ns })
            .collect(),
        noticed_ns: noticed(history),
        fault_order,
        violations: violations
            .iter()
            .map(|violation| Broken {
                check: violation.check.clone(),
                message: violation.message.clone(),
                at_ns: violation.at_ns,
            })
            .collect(),
        sometimes,
        waited,
        assertions: assertions(history),
        twins: Vec::new(),
        waterfalls: Vec::new(),
        cpu_ns: None,
    }
}

/// When the engine said that something is not as usual: it refused, dropped or gave up something, a member's session ended, or a
/// journal was opened in a later life of its host. What it said in the warm-up too is how it always talks, and no news.
fn noticed(history: &History) -> Vec<u64> {
    let mut usual: BTreeSet<(&str, &str, &str, &str)> = BTreeSet::new();
    let mut noticed = Vec::new();
    for probed in &history.events {
        let why = match &probed.event.what {
            What::Refused { reason } | What::Dropped { reason } | What::DeadLettered { reason } => reason,
            What::Left { member } => member,
            What::Recovered if probed.incarnation > 1 => "",
            _ => continue,
        };
        let said = (&*probed.host, probed.event.what.name(), &*probed.event.place, why);
        if probed.at_ns < history.warmup_ns {
            usual.insert(said);
        } else if !usual.contains(&said) {
            noticed.push(probed.at_ns);
        }
    }
    noticed
}

/// How often each assertion was looked at, those that were never, too; what must not be reached isn't asked for.
fn assertions(history: &History) -> Vec<(String, u64)> {
    let mut hits: BTreeMap<&str, u64> = catalogue()
        .into_iter()
        .filter(|assertion| assertion.claim != Claim::Unreachable)
        .map(|assertion| (assertion.id, 0))
        .collect();
    for probed in &history.events {
        if let What::Asserted { id, held: true } = probed.event.what {
            *hits.entry(id).or_default() += 1;
        }
    }
    hits.into_iter().map(|(id, hits)| (id.to_owned(), hits)).collect()
}

/// Work per distinct (stage, event).
struct Done<'a> {
    /// At a node of a graph, or on the way over a channel.
    stages: IndexMap<(&'a str, &'a str, Identity), Work>,
    /// At an endpoint, where it is what they hold that counts, by the packet's name.
    sinks: IndexMap<(&'a str, &'a str), Work>,
}

fn done(history: &History) -> Done<'_> {
    let mut done = Done { stages: IndexMap::new(), sinks: IndexMap::new() };
    for probed in &history.events {
        let worked = match &probed.event.what {
            What::Processed | What::Committed => true,
            What::Refused { reason } => **reason == *RESENT,
            _ => false,
        };
        let Some(identity) = probed.event.identity.filter(|_| worked) else { continue };
        count(&mut done.stages, (&*probed.host, &*probed.event.place, identity), probed.at_ns);
    }
    for effect in &history.effects {
        count(&mut done.sinks, (&*effect.endpoint, &*effect.packet_id), effect.at_ns);
    }
    done
}

/// When the first of the work on each packet began that was done again, by the packet's name. What nodes made anew of a packet is
/// another one, known at endpoints alone.
fn begun_again<'a>(history: &'a History, done: &Done<'a>) -> BTreeMap<&'a str, u64> {
    let entered: BTreeMap<Identity, &OfferRecord> = outside::entered(history).collect();
    let stages = done.stages.iter().filter_map(|((.., identity), work)| Some((entered.get(identity)?, work)));
    let stages = stages.map(|(offer, work)| (&*offer.packet_id, work));
    let sinks = done.sinks.iter().map(|((_, packet_id), work)| (*packet_id, work));
    let mut began: BTreeMap<&str, u64> = BTreeMap::new();
    for (packet_id, work) in stages.chain(sinks).filter(|(_, work)| work.again > 0) {
        let first_ns = began.entry(packet_id).or_insert(work.first_ns);
        *first_ns = work.first_ns.min(*first_ns);
    }
    began
}

fn count<K: Hash + Eq>(stages: &mut IndexMap<K, Work>, key: K, at_ns: u64) {
    stages.entry(key).and_modify(|work| work.again += 1).or_insert(Work { first_ns: at_ns, again: 0 });
}

#[cfg(test)]
mod tests {
    use seaworthy_engine::observe::Event;
    use seaworthy_engine::packet::Seq;

    use super::*;
    use crate::history::Probed;

    const MS: u64 = 1_000_000;

    /// What a host said, in its how-many-th life.
    fn said(ms: u64, host: &str, incarnation: u64, what: What) -> Probed {
        let event = Event { what, place: "uplink".into(), identity: None, seq: Seq(0), attempt: 0 };
        Probed { at_ns: ms * MS, host: host.into(), incarnation, event }
    }

    #[test]
    fn the_engine_notices_what_it_did_not_say_in_the_warm_up() {
        let refused = |reason: &str| What::Refused { reason: reason.into() };
        let history = History {
            warmup_ns: 1_000 * MS,
            events: vec![
                said(6, "hub", 1, What::Recovered),
                said(500, "edge", 1, refused("lane.duplicate")),
                said(1_500, "edge", 1, refused("lane.duplicate")),
                said(1_600, "hub", 1, refused("lane.duplicate")),
                said(1_700, "edge", 1, refused("journal.full")),
                said(1_800, "edge", 1, What::Committed),
                said(1_900, "hub", 2, What::Recovered),
            ],
            ..History::default()
        };
        assert_eq!(noticed(&history), [1_600 * MS, 1_700 * MS, 1_900 * MS]);
    }
}
