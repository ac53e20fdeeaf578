//! `unexpected`: no endpoint holds what nobody expected there, or an expected name with other content.

use super::{Case, seconds};
use crate::plan::Ns;

pub(super) fn judge(case: &Case<'_>) -> Vec<(Ns, String)> {
    let Some(allowed) = case.limits.unexpected else { return vec![] };
    let mut found = Vec::new();
    for account in &case.ledger.sinks {
        for effect in &account.unexpected {
            let at = seconds(effect.at_ns);
            found.push((effect.at_ns, format!("{} at {} {at}: {}", effect.packet_id, account.sink, effect.why)));
        }
    }
    found.sort();
    found.split_off(found.len().min(allowed as usize))
}
