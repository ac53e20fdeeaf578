//! `dead_letter.record`: a dead letter says what happened: its packet as it came to the node that gave it up, and how often it was
//! tried. A journal holds it once.

use std::collections::BTreeMap;

use seaworthy_engine::node::Class;
use seaworthy_engine::observe::What;
use seaworthy_engine::packet::Identity;

use super::Case;
use crate::history::{Letter, Probed};
use crate::plan::Ns;

pub(super) fn judge(case: &Case<'_>) -> Vec<(Ns, String)> {
    // What happened at the nodes that gave something up.
    let mut places: BTreeMap<(&str, &str), Vec<&Probed>> =
        case.history.letters.iter().map(|letter| ((&*letter.host, &*letter.node), Vec::new())).collect();
    if places.is_empty() {
        return Vec::new();
    }
    for probed in &case.history.events {
        if let Some(here) = places.get_mut(&(&*probed.host, &*probed.event.place)) {
            here.push(probed);
        }
    }
    let mut known: BTreeMap<(&str, Identity, &str), usize> = BTreeMap::new();
    let mut found = Vec::new();
    for letter in &case.history.letters {
        let address = format!("{}.{}", letter.host, letter.node);
        let mut wrong = |what: String| {
            found.push((case.history.end_ns, format!("the dead letter of {} ({address}) {what}", letter.packet_id)));
        };
        let times = known.entry((&letter.host, letter.identity, &letter.node)).or_default();
        *times += 1;
        if *times == 2 {
            wrong("is there twice".to_owned());
        }
        let due = case.ledger.letters.get(&(letter.packet_id.clone(), address.as_str().into()));
        if let Some(due) = due
            && !due.iter().any(|due| due.content == letter.content && due.key == letter.key)
        {
            wrong("holds another packet than what came there".to_owned());
        }
        if let Some((least, most)) = tries(case, letter, &places[&(&*letter.host, &*letter.node)])
            && !(least..=most).contains(&u64::from(letter.attempts))
        {
            let tries = if least == most { most.to_string() } else { format!("{least} to {most}") };
            wrong(format!("counts {} tries, there were {tries}", letter.attempts));
        }
    }
    found
}

/// How often a packet was tried, at least and at most, by what happened `here`; `None` where nobody can tell.
fn tries(case: &Case<'_>, letter: &Letter, here: &[&Probed]) -> Option<(u64, u64)> {
    match letter.class.as_str() {
        class if class == Class::SinkPermanent.name() => {
            // Its sink counts anew after a restart.
            let of_it = || here.iter().filter(|probed| probed.event.identity == Some(letter.identity));
            let given_up = of_it().find(|probed| matches!(probed.event.what, What::DeadLettered { .. }));
            let refused =
                |what: &What| matches!(what, What::Refused { reason } if **reason == *Class::SinkUnavailable.name());
            let of_life = of_it().filter(|probed| given_up.is_none_or(|it| it.incarnation == probed.incarnation));
            let tries = 1 + of_life.filter(|probed| refused(&probed.event.what)).count() as u64;
            Some((given_up.map_or(1, |_| tries), tries))
        }
        class if class == Class::AttemptsExhausted.name() => {
            let (seq, channel) = (letter.seq?, case.channel(&letter.host, &letter.node)?);
            case.channels[channel].leased?;
            let granted = here
                .iter()
                .filter(|probed| probed.event.seq == seq && matches!(probed.event.what, What::Granted { .. }));
            // What was counted when the host went down may not have been handed out any more.
            let lives = here.iter().map(|probed| probed.incarnation).max().unwrap_or(1);
            // Each is counted, durably, before it is made.
            let granted = granted.count() as u64;
            Some((granted.max(1), granted + lives - 1))
        }
        _ => None,
    }
}
