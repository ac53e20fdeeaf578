//! `rejected`, `shed`, `dead_lettered`: ends that are declared, so not lost, but allowed only in the number that
//! the scenario gives.

use std::collections::{BTreeMap, BTreeSet};

use seaworthy_reports::run::{Answer, Fate};

use super::{Case, seconds};
use crate::plan::Ns;

pub(super) fn rejected(case: &Case<'_>) -> Vec<(Ns, String)> {
    let Some(allowed) = case.limits.rejected else { return vec![] };
    let answered = case.history.offers.iter().zip(&case.ledger.answers);
    let rejected = answered.filter(|(_, answer)| **answer == Answer::Rejected);
    rejected
        .skip(allowed as usize)
        .map(|(offer, _)| {
            let reason = offer.rejected.as_deref().unwrap_or("no reason");
            let due = seconds(offer.intended_ns);
            (offer.intended_ns, format!("{}, due {due}, rejected at {}: {reason}", offer.packet_id, offer.entry))
        })
        .collect()
}

/// Events of that fate, each with the first sink that misses it.
pub(super) fn at_first_sink<'a>(case: &Case<'a>, fate: Fate) -> BTreeMap<usize, &'a str> {
    let mut events = BTreeMap::new();
    for account in &case.ledger.sinks {
        for row in account.rows.iter().filter(|row| row.fate == fate) {
            events.entry(row.offer).or_insert(&*account.sink);
        }
    }
    events
}

/// An event counts once, at the first sink that misses it.
pub(super) fn shed(case: &Case<'_>) -> Vec<(Ns, String)> {
    let Some(allowed) = case.limits.shed else { return vec![] };
    let over = at_first_sink(case, Fate::Shed).into_iter().skip(allowed as usize);
    over.map(|(at, sink)| {
        let offer = case.offer(at);
        let due = seconds(offer.intended_ns);
        (offer.intended_ns, format!("{}, due {due}, dropped by a rule before {sink}", offer.packet_id))
    })
    .collect()
}

pub(super) fn dead_lettered(case: &Case<'_>) -> Vec<(Ns, String)> {
    let Some(allowed) = case.limits.dead_lettered else { return vec![] };
    // A journal may be read in several places: one letter is one however often it is found.
    let letters: BTreeSet<&(String, String, String)> = case.history.dead_letters.iter().collect();
    let over = letters.into_iter().skip(allowed as usize);
    over.map(|(host, packet_id, class)| {
        (case.history.end_ns, format!("{packet_id} is a dead letter on {host}: {class}"))
    })
    .collect()
}
