//! `unresolved`: once every fault is healed, the system comes to rest with nothing in flight.

use seaworthy_reports::run::Fate;

use super::{Case, seconds};
use crate::plan::Ns;

pub(super) fn judge(case: &Case<'_>) -> Vec<(Ns, String)> {
    let Some(allowed) = case.limits.unresolved else { return vec![] };
    let end_ns = case.history.end_ns;
    let mut found = Vec::new();
    for account in &case.ledger.sinks {
        for row in account.rows.iter().filter(|row| row.fate == Fate::Unresolved).skip(allowed as usize) {
            let offer = case.offer(row.offer);
            let missing = row.missing.as_deref().unwrap_or(&offer.packet_id);
            let due = seconds(offer.intended_ns);
            let end = seconds(end_ns);
            found.push((end_ns, format!("{missing}, due {due}, is not at {} when the world ends {end}", account.sink)));
        }
    }
    // Nothing is missing, yet the system is still at work: an ack or a settle never comes.
    if found.is_empty() && !case.history.drained && allowed == 0 {
        found.push((end_ns, format!("still not quiet when the world ends {}", seconds(end_ns))));
    }
    found
}
