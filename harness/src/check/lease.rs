//! `channel.one_lease`, `channel.held`, `channel.ack_wait`, `channel.backoff`, `channel.parked`: what holds where packets are leased, from the probe events of their host.
//!
//! A packet is leased to one member at a time: a second lease begins only once the first has ended, with a reason, or with
//! the host · only a held packet is settled, save one that becomes a dead letter in the same step · a lease runs out once its
//! time is over, or that of one before it of its key · whose lease ran out waits before it is handed out again · what is of a
//! parked key is not handed out any more, and only such is given up for its key.

use std::collections::{BTreeMap, BTreeSet};

use seaworthy_engine::node::Class;
use seaworthy_engine::observe::What;
use seaworthy_engine::packet::{Identity, Seq};

use super::channel::{Slot, events};
use super::{Case, ChannelAt, Leased, seconds};
use crate::history::Probed;
use crate::outside;
use crate::plan::Ns;

/// Keys that a group parks at most; of further ones only the poison itself is given up.
const PARKED_MAX: usize = 4096;
/// The reasons with which a lease ends before its packet is settled.
const ENDS: [&str; 3] = ["lease.expired", "lease.retry", "lease.member_gone"];

/// Whether it ends the lease of its packet, if that has one.
pub(super) fn ends_lease(what: &What) -> bool {
    match what {
        What::Settled { took_effect } => *took_effect,
        What::Refused { reason } => ENDS.contains(&&**reason),
        _ => false,
    }
}

fn ran_out(what: &What) -> bool {
    matches!(what, What::Refused { reason } if **reason == *"lease.expired")
}

/// The least that a wait of a leased place takes: a clock may run a little fast.
fn at_least(place: &ChannelAt, wait_ns: fn(Leased) -> Ns) -> Ns {
    place.leased.map_or(0, wait_ns) / 10 * 9
}

/// Goes through the events of leased places and tells `judge` of each, with the lease that is live before it: when it began.
fn walk(case: &Case<'_>, mut judge: impl FnMut(&Probed, Slot, Option<Ns>)) {
    let mut live: BTreeMap<Slot, (u64, Ns)> = BTreeMap::new();
    for (probed, slot) in events(case).filter(|(_, slot)| case.channels[slot.0].leased.is_some()) {
        // The leases of a host end with it.
        let held =
            live.get(&slot).filter(|(incarnation, _)| *incarnation == probed.incarnation).map(|(_, at_ns)| *at_ns);
        judge(probed, slot, held);
        match &probed.event.what {
            What::Granted { .. } => drop(live.insert(slot, (probed.incarnation, probed.at_ns))),
            what if ends_lease(what) => drop(live.remove(&slot)),
            _ => {}
        }
    }
}

pub(super) fn one_lease(case: &Case<'_>) -> Vec<(Ns, String)> {
    let mut found = Vec::new();
    walk(case, |probed, slot, held| {
        if let (What::Granted { .. }, Some(first_ns)) = (&probed.event.what, held) {
            let ChannelAt { host, channel, .. } = &case.channels[slot.0];
            let (seq, first, again) = (slot.1, seconds(first_ns), seconds(probed.at_ns));
            found.push((probed.at_ns, format!("{host}.{channel} {seq} leased {first}, and again {again}")));
        }
    });
    found
}

pub(super) fn held(case: &Case<'_>) -> Vec<(Ns, String)> {
    let mut found = Vec::new();
    // Dead letters of a place that its settles have not followed yet.
    let mut buried: BTreeMap<usize, u64> = BTreeMap::new();
    walk(case, |probed, slot, held| match &probed.event.what {
        What::DeadLettered { .. } => *buried.entry(slot.0).or_default() += 1,
        What::Settled { took_effect: true } if held.is_none() => {
            let letters = buried.entry(slot.0).or_default();
            if *letters > 0 {
                *letters -= 1;
                return;
            }
            let (ChannelAt { host, channel, .. }, at) = (&case.channels[slot.0], seconds(probed.at_ns));
            found.push((probed.at_ns, format!("{host}.{channel} {} settled {at}, and nobody held it", slot.1)));
        }
        _ => {}
    });
    found
}

/// A lease runs out once its time is over, not before, and takes with it what is held behind it of its key.
pub(super) fn ack_wait(case: &Case<'_>) -> Vec<(Ns, String)> {
    // What ran out in a channel at one instant: the lease that began first.
    let mut ends: BTreeMap<(Ns, usize), (Ns, Seq)> = BTreeMap::new();
    walk(case, |probed, (channel, seq), held| {
        if let Some(since_ns) = held.filter(|_| ran_out(&probed.event.what)) {
            let first = ends.entry((probed.at_ns, channel)).or_insert((since_ns, seq));
            *first = (since_ns, seq).min(*first);
        }
    });
    let mut found = Vec::new();
    for ((at_ns, channel), (since_ns, seq)) in ends {
        let place = &case.channels[channel];
        if at_ns < since_ns.saturating_add(at_least(place, |leased| leased.ack_wait_ns)) {
            let (ChannelAt { host, channel, .. }, since, end) = (place, seconds(since_ns), seconds(at_ns));
            found.push((at_ns, format!("{host}.{channel} {seq} leased {since}, and ran out {end}, too soon")));
        }
    }
    found
}

/// Whose lease ran out waits before it is handed out again.
pub(super) fn backoff(case: &Case<'_>) -> Vec<(Ns, String)> {
    let mut expired: BTreeMap<Slot, (u64, Ns)> = BTreeMap::new();
    let mut found = Vec::new();
    walk(case, |probed, slot, _| match &probed.event.what {
        what if ran_out(what) => drop(expired.insert(slot, (probed.incarnation, probed.at_ns))),
        What::Granted { .. } => {
            let Some((incarnation, at_ns)) = expired.remove(&slot) else { return };
            let place = &case.channels[slot.0];
            let ChannelAt { host, channel, .. } = place;
            let due_ns = at_ns.saturating_add(at_least(place, |leased| leased.backoff_ns));
            if incarnation == probed.incarnation && probed.at_ns < due_ns {
                let (seq, first, again) = (slot.1, seconds(at_ns), seconds(probed.at_ns));
                let what =
                    format!("{host}.{channel} {seq} ran out {first}, and was handed out again {again}, too soon");
                found.push((probed.at_ns, what));
            }
        }
        _ => {}
    });
    found
}

/// The keys of packets, by the identity with which they entered. What a node made of them may have another.
fn keys<'a>(case: &Case<'a>) -> BTreeMap<Identity, &'a str> {
    outside::entered(case.history).filter_map(|(identity, offer)| Some((identity, offer.key.as_deref()?))).collect()
}

/// Once a packet was given up for too many deliveries, its key is parked: nothing of it is handed out any more, in no later life of
/// the host either. And for its key a packet is given up only where that has a poison.
pub(super) fn parked(case: &Case<'_>) -> Vec<(Ns, String)> {
    let parks = |slot: &Slot| matches!(case.channels[slot.0].leased, Some(Leased { parks: true, .. }));
    let here: Vec<(&Probed, Slot)> = events(case).filter(|(_, slot)| parks(slot)).collect();
    if here.is_empty() {
        return Vec::new();
    }
    let keys = keys(case);
    let key_of = |probed: &Probed| probed.event.identity.and_then(|identity| keys.get(&identity).copied());
    let is = |what: &What, class: Class| matches!(what, What::DeadLettered { reason } if **reason == *class.name());
    // By channel and key: the poison.
    let mut since: BTreeMap<usize, BTreeMap<&str, (Ns, Seq)>> = BTreeMap::new();
    let mut found = Vec::new();
    let poisoned = here.iter().filter(|(probed, _)| is(&probed.event.what, Class::AttemptsExhausted));
    // A host that dies with a letter on its disk tells nothing of it.
    let kept = case.history.letters.iter().filter(|letter| letter.class == Class::AttemptsExhausted.name());
    let kept = kept
        .filter_map(|letter| Some((case.channel(&letter.host, &letter.node)?, keys.get(&letter.identity).copied())));
    let poisoned: BTreeSet<(usize, Option<&str>)> =
        poisoned.map(|(probed, (channel, _))| (*channel, key_of(probed))).chain(kept).collect();
    for (probed, (channel, seq)) in here {
        let Some(key) = key_of(probed) else { continue };
        let ChannelAt { host, channel: name, .. } = &case.channels[channel];
        let (at, parked) = (seconds(probed.at_ns), since.entry(channel).or_default());
        match &probed.event.what {
            what if is(what, Class::AttemptsExhausted) && parked.len() < PARKED_MAX => {
                parked.entry(key).or_insert((probed.at_ns, seq));
            }
            what if is(what, Class::OrderingBlocked) && !poisoned.contains(&(channel, Some(key))) => {
                let what =
                    format!("{host}.{name} {seq} given up {at} for its key {key}, of which no packet was poison");
                found.push((probed.at_ns, what));
            }
            What::Granted { .. } => {
                if let Some((parked_ns, poison)) = parked.get(key) {
                    let parked = seconds(*parked_ns);
                    let what =
                        format!("{host}.{name} {seq} of key {key} handed out {at}, parked {parked} with {poison}");
                    found.push((probed.at_ns, what));
                }
            }
            _ => {}
        }
    }
    found
}
