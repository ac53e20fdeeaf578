//! `order.key`: at each sink, with repeats taken out, what came of one entry's events of one key keeps their order. What
//! has no key, and events of different entries, promise none. Nor does what was given up as a dead letter: its key has gone
//! on, and a member that is cut off may still be at it.

use std::collections::{BTreeMap, BTreeSet};

use seaworthy_engine::packet::Seq;

use super::{Case, seconds};
use crate::plan::Ns;

/// The furthest event of a key so far: its place in input order, and its name.
type Furthest<'a> = ((Seq, usize), &'a str);

pub(super) fn judge(case: &Case<'_>) -> Vec<(Ns, String)> {
    let mut found = Vec::new();
    if !case.limits.key_order {
        return found;
    }
    let given_up: BTreeSet<&str> = case.history.dead_letters.iter().map(|letter| letter.packet_id.as_str()).collect();
    for account in &case.ledger.sinks {
        // By entry and key: the furthest place seen, and who was there.
        let mut furthest: BTreeMap<(&str, &str), Furthest<'_>> = BTreeMap::new();
        for sighting in &account.seen {
            let Some(key) = sighting.key.as_deref() else { continue };
            if given_up.contains(&*sighting.packet_id) {
                continue;
            }
            let offer = case.offer(sighting.offer);
            let place = (offer.seq, sighting.copy);
            let last = furthest.entry((&offer.entry, key)).or_insert((place, &sighting.packet_id));
            if place < last.0 {
                let at = seconds(sighting.at_ns);
                let (name, after, sink) = (&sighting.packet_id, last.1, &account.sink);
                found.push((
                    sighting.at_ns,
                    format!("{name} of key {key} at {sink} {at}, after {after}, which is younger"),
                ));
            } else {
                *last = (place, &sighting.packet_id);
            }
        }
    }
    found
}
