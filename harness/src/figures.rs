//! From a judged history to the plain data that the reports read.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;

use indexmap::IndexMap;
use seaworthy_engine::assert::{Claim, catalogue};
use seaworthy_engine::observe::What;
use seaworthy_engine::packet::Identity;
use seaworthy_reports::run::{AtSink, Broken, EventRun, FaultRun, SeedRun, Work};

use crate::check::Violation;
use crate::history::History;
use crate::ledger::Ledger;

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
}

/// Puts together what the reports need of one seed.
#[must_use]
pub fn seed_run(facts: SeedFacts, history: &History, ledger: &Ledger, violations: &[Violation]) -> SeedRun {
    let SeedFacts { seed, trace_hash, tick_ns, batch, fault_order, sometimes } = facts;
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
    for (sink, account) in ledger.sinks.iter().enumerate() {
        for row in &account.rows {
            events[row.offer].at.push(AtSink {
                sink,
                fate: row.fate,
                visible_ns: row.visible_ns,
                expected: row.expected,
                copies: if account.idempotent { row.copies.min(row.expected) } else { row.copies },
                raw_copies: row.copies,
                planted: row.planted,
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
        work: work(history),
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

/// Work per distinct (stage, event). The stages are the nodes of the graphs, the way over each channel, and the endpoints,
/// where it is what they hold that counts.
fn work(history: &History) -> Vec<Work> {
    let mut nodes: IndexMap<(&str, &str, Identity), Work> = IndexMap::new();
    for probed in &history.events {
        let worked = match &probed.event.what {
            What::Processed | What::Committed => true,
            What::Refused { reason } => **reason == *RESENT,
            _ => false,
        };
        let Some(identity) = probed.event.identity.filter(|_| worked) else { continue };
        count(&mut nodes, (&*probed.host, &*probed.event.place, identity), probed.at_ns);
    }
    let mut sinks: IndexMap<(&str, &str), Work> = IndexMap::new();
    for effect in &history.effects {
        count(&mut sinks, (&*effect.endpoint, &*effect.packet_id), effect.at_ns);
    }
    nodes.into_values().chain(sinks.into_values()).collect()
}

fn count<K: Hash + Eq>(stages: &mut IndexMap<K, Work>, key: K, at_ns: u64) {
    stages.entry(key).and_modify(|work| work.again += 1).or_insert(Work { first_ns: at_ns, again: 0 });
}
