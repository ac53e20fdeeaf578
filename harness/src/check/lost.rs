//! `lost`: what was accepted is there at the end, wherever it is due. `lost.reported`: the system itself reports no loss
//! that no fault of the plan caused. `lost.window`: no more went with a power cut than the scenario allows of what the
//! durability gives up.

use seaworthy_reports::run::{Answer, Fate};

use super::{Case, budget, seconds};
use crate::outside;
use crate::plan::Ns;

pub(super) fn silent(case: &Case<'_>) -> Vec<(Ns, String)> {
    let Some(allowed) = case.limits.lost else { return vec![] };
    let mut found = Vec::new();
    for account in &case.ledger.sinks {
        for row in account.rows.iter().filter(|row| row.fate == Fate::Lost).skip(allowed as usize) {
            let offer = case.offer(row.offer);
            let taken = match (case.ledger.answers[row.offer], offer.accepted_ns) {
                (Answer::Accepted, Some(ns)) => format!("accepted {}", seconds(ns)),
                _ => format!("never answered, due {}", seconds(offer.intended_ns)),
            };
            let missing = row.missing.as_deref().unwrap_or(&offer.packet_id);
            let what = if *missing == *offer.packet_id { String::new() } else { format!(", {missing} is missing") };
            let name = format!("{} ({} {})", offer.packet_id, offer.entry, offer.seq);
            found.push((case.history.end_ns, format!("{name} {taken}{what}, never visible at {}", account.sink)));
        }
    }
    found
}

/// An event counts once, at the first sink that misses it.
pub(super) fn window(case: &Case<'_>) -> Vec<(Ns, String)> {
    let Some(allowed) = case.limits.lost_window else { return vec![] };
    let over = budget::at_first_sink(case, Fate::LostWindow).into_iter().skip(allowed as usize);
    over.map(|(at, sink)| {
        let offer = case.offer(at);
        let accepted = seconds(offer.accepted_ns.unwrap_or(offer.intended_ns));
        let host = outside::host_of(&offer.entry);
        let what =
            format!("{} accepted {accepted}, gone with what {host} had not synced, not at {sink}", offer.packet_id);
        (offer.intended_ns, what)
    })
    .collect()
}

/// A loss that no fault of the plan caused is the system's own doing; and where a stored byte rotted, no other host may
/// report one, and no more events may be gone with it than the scenario allows.
pub(super) fn reported(case: &Case<'_>) -> Vec<(Ns, String)> {
    let gone = budget::at_first_sink(case, Fate::LostReported).into_iter();
    let over = gone.skip(case.limits.lost_reported.map_or(usize::MAX, |allowed| allowed as usize));
    let over = over.map(|(at, sink)| {
        let offer = case.offer(at);
        (offer.intended_ns, format!("{} went with what a fault destroyed, not at {sink}", offer.packet_id))
    });
    let destroyed = |host: &String| case.history.rotted.iter().any(|(rotted, _)| rotted == host);
    let lost = case.history.reported_lost.iter().filter(|(host, _)| !destroyed(host));
    let lost = lost.map(|(host, what)| {
        (case.history.end_ns, format!("{host} reported lost, though no fault destroyed it: {what}"))
    });
    lost.chain(over).collect()
}
