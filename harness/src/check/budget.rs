//! `rejected`, `shed`, `dead_lettered`: ends that are declared, so not lost, but allowed only in the number that
//! the scenario gives.

use std::collections::{BTreeMap, BTreeSet};

use seaworthy_reports::run::{Answer, Fate};

use super::{Case, seconds};
use crate::history::Buried;
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

/// An event counts once, at the first sink that misses it. A rule that the scenario names may drop its share of what was
/// taken.
pub(super) fn shed(case: &Case<'_>) -> Vec<(Ns, String)> {
    let (mut found, mut by_rule, mut others) = (Vec::new(), BTreeMap::new(), 0);
    for (at, sink) in at_first_sink(case, Fate::Shed) {
        let offer = case.offer(at);
        let rule = case.ledger.shed.get(&*offer.packet_id).map_or("a rule", String::as_str);
        if case.limits.drops.contains_key(rule) {
            *by_rule.entry(rule).or_insert(0_u64) += 1;
            continue;
        }
        others += 1;
        if case.limits.shed.is_some_and(|allowed| others > allowed) {
            let due = seconds(offer.intended_ns);
            found.push((offer.intended_ns, format!("{}, due {due}, dropped by {rule} before {sink}", offer.packet_id)));
        }
    }
    let taken = |answer: &&Answer| matches!(answer, Answer::Accepted | Answer::Recovered);
    let taken = case.ledger.answers.iter().filter(taken).count();
    for (rule, limit) in &case.limits.drops {
        let dropped = by_rule.get(rule.as_str()).copied().unwrap_or(0);
        let share = dropped as f64 / taken.max(1) as f64;
        if !limit.holds(share) {
            let (share, allowed) = (share * 100.0, &limit.text);
            let what = format!("{rule} dropped {dropped} of {taken} events, {share:.2}%, promised are {allowed}");
            found.push((case.history.end_ns, what));
        }
    }
    found
}

pub(super) fn dead_lettered<'a>(case: &Case<'a>) -> Vec<(Ns, String)> {
    let Some(allowed) = case.limits.dead_lettered else { return vec![] };
    // A journal may be read in several places: one letter is one however often it is found.
    let letter = |letter: &'a Buried| (&letter.host, &letter.packet_id, &letter.class);
    let letters: BTreeSet<(&String, &String, &String)> = case.history.dead_letters.iter().map(letter).collect();
    let over = letters.into_iter().skip(allowed as usize);
    over.map(|(host, packet_id, class)| {
        (case.history.end_ns, format!("{packet_id} is a dead letter on {host}: {class}"))
    })
    .collect()
}
