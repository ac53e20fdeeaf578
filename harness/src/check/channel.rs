//! `channel.*`: the invariants of a channel, from the probe events of its host.
//!
//! Each (producer, pseq) is committed once, and in order, where it comes by one way · nothing is taken over a lane of a fenced epoch · a settle takes effect once · a floor never goes back, so nothing
//! settled is handed out again · what a business key tells to be a copy, or a conflict, is refused once · a packet is handed out once, once more for each restart of the host, and as often as
//! declared; where packets are leased, at most `max_deliver` times and once more for each restart · a packet is given up for
//! having been handed out too often only after that.

use std::collections::{BTreeMap, BTreeSet};

use seaworthy_engine::node::Class;
use seaworthy_engine::observe::What;
use seaworthy_engine::packet::{Epoch, Identity, ProducerId, Seq};

use super::{Case, ChannelAt, Leased, seconds};
use crate::history::Probed;
use crate::plan::Ns;

/// A channel, as its place among the case's channels, and a packet in it.
pub(super) type Slot = (usize, Seq);

/// What happened at channels and was not undone by a power cut.
pub(super) fn events<'a>(case: &'a Case<'_>) -> impl Iterator<Item = (&'a Probed, Slot)> {
    let happened = case.history.events.iter().enumerate().filter(|(at, _)| !case.undone.contains(at));
    happened.filter_map(|(_, probed)| at_channel(case, probed))
}

fn at_channel<'a>(case: &Case<'_>, probed: &'a Probed) -> Option<(&'a Probed, Slot)> {
    Some((probed, (case.channel(&probed.host, &probed.event.place)?, probed.event.seq)))
}

/// What a stored packet may be only once: the epoch is left out, because a packet keeps its number across epochs.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Stored {
    Entered(ProducerId, Seq),
    Derived(u128),
    Seq(Seq),
}

pub(super) fn committed_once(case: &Case<'_>) -> Vec<(Ns, String)> {
    let mut stored: BTreeSet<(usize, Stored)> = BTreeSet::new();
    // The numbers of packets that rotted are given again, in another incarnation of the channel.
    let mut rotted: BTreeMap<&str, usize> = BTreeMap::new();
    for (host, held) in &case.history.rotted {
        *rotted.entry(host).or_default() += held.len();
    }
    let mut found = Vec::new();
    for (probed, (channel, seq)) in events(case).filter(|(probed, _)| probed.event.what == What::Committed) {
        // Two members that both did the work put the same packet in, each once.
        let of_one_way = probed.event.identity.filter(|_| case.channels[channel].one_way);
        let by_identity = of_one_way.map(|identity| match identity {
            Identity::Entered { producer, pseq, .. } => Stored::Entered(producer, pseq),
            Identity::Derived(hash) => Stored::Derived(hash),
        });
        for (key, what) in by_identity.map(|key| (key, "packet")).into_iter().chain([(Stored::Seq(seq), "number")]) {
            let number = matches!(key, Stored::Seq(_));
            if !stored.insert((channel, key)) {
                if let Some(left @ 1..) = rotted.get_mut(&*probed.host).filter(|_| number) {
                    *left -= 1;
                    continue;
                }
                let at = seconds(probed.at_ns);
                let ChannelAt { host, channel, .. } = &case.channels[channel];
                let name = probed.event.identity.map_or(String::new(), |identity| format!(" {identity}"));
                found.push((
                    probed.at_ns,
                    format!("{host}.{channel} committed{name} as {seq} at {at}: that {what} was there"),
                ));
            }
        }
    }
    found
}

/// A life of the host refuses it once; it may be told again only where that was not stored before the host went down.
pub(super) fn refused_once(case: &Case<'_>) -> Vec<(Ns, String)> {
    let mut refused: BTreeMap<(usize, u64, Identity), Ns> = BTreeMap::new();
    let mut found = Vec::new();
    for (probed, (channel, _)) in events(case).filter(|(_, (channel, _))| case.channels[*channel].one_way) {
        let (What::Refused { reason }, Some(identity)) = (&probed.event.what, probed.event.identity) else { continue };
        if !reason.starts_with("dedup.") {
            continue;
        }
        if let Some(first_ns) = refused.insert((channel, probed.incarnation, identity), probed.at_ns) {
            let (first, again) = (seconds(first_ns), seconds(probed.at_ns));
            let ChannelAt { host, channel, .. } = &case.channels[channel];
            found.push((
                probed.at_ns,
                format!("{host}.{channel} refused {identity} {first}, and again {again}: {reason}"),
            ));
        }
    }
    found
}

pub(super) fn producer_order(case: &Case<'_>) -> Vec<(Ns, String)> {
    let mut newest: BTreeMap<(usize, ProducerId), Seq> = BTreeMap::new();
    let mut found = Vec::new();
    for (probed, (channel, seq)) in events(case).filter(|(probed, _)| probed.event.what == What::Committed) {
        let Some(Identity::Entered { producer, pseq, .. }) = probed.event.identity else { continue };
        if !case.channels[channel].one_way {
            continue;
        }
        let newest = newest.entry((channel, producer)).or_default();
        if pseq <= *newest {
            let (at, ChannelAt { host, channel, .. }) = (seconds(probed.at_ns), &case.channels[channel]);
            let producer = format!("{:016x}", producer.0);
            found.push((
                probed.at_ns,
                format!("{host}.{channel} committed packet {pseq} of {producer} as {seq} at {at}, after its {newest}"),
            ));
        }
        *newest = pseq.max(*newest);
    }
    found
}

/// A host writes an epoch durably before it takes anything in it, so also its crash leaves older ones fenced.
pub(super) fn fenced(case: &Case<'_>) -> Vec<(Ns, String)> {
    let mut newest: BTreeMap<(usize, &str), Epoch> = BTreeMap::new();
    let mut found = Vec::new();
    for (probed, (channel, _)) in events(case) {
        let What::Admitted { producer, epoch } = &probed.event.what else { continue };
        let newest = newest.entry((channel, producer)).or_insert(*epoch);
        if epoch < newest {
            let (at, ChannelAt { host, channel, .. }) = (seconds(probed.at_ns), &case.channels[channel]);
            let (old, new) = (epoch.0, newest.0);
            let what =
                format!("{host}.{channel} took packets of {producer} in epoch {old} at {at}, after some in {new}");
            found.push((probed.at_ns, what));
        }
        *newest = (*newest).max(*epoch);
    }
    found
}

pub(super) fn settled_once(case: &Case<'_>) -> Vec<(Ns, String)> {
    let mut settled: BTreeMap<Slot, Ns> = BTreeMap::new();
    let mut found = Vec::new();
    for (probed, slot) in events(case).filter(|(probed, _)| probed.event.what == What::Settled { took_effect: true }) {
        if let Some(first_ns) = settled.insert(slot, probed.at_ns) {
            let (seq, first, again) = (slot.1, seconds(first_ns), seconds(probed.at_ns));
            let ChannelAt { host, channel, .. } = &case.channels[slot.0];
            found
                .push((probed.at_ns, format!("{host}.{channel} {seq} settled {first}, and took effect again {again}")));
        }
    }
    found
}

pub(super) fn floor(case: &Case<'_>) -> Vec<(Ns, String)> {
    let mut settled: BTreeMap<Slot, Ns> = BTreeMap::new();
    let mut found = Vec::new();
    for (probed, slot) in events(case) {
        match probed.event.what {
            What::Settled { took_effect: true } => {
                settled.entry(slot).or_insert(probed.at_ns);
            }
            What::Granted { .. } => {
                if let Some(settled_ns) = settled.get(&slot) {
                    let (seq, first, again) = (slot.1, seconds(*settled_ns), seconds(probed.at_ns));
                    let ChannelAt { host, channel, .. } = &case.channels[slot.0];
                    found.push((
                        probed.at_ns,
                        format!("{host}.{channel} {seq} settled {first}, yet handed out {again}"),
                    ));
                }
            }
            _ => {}
        }
    }
    found
}

pub(super) fn deliveries(case: &Case<'_>) -> Vec<(Ns, String)> {
    let mut handed: BTreeMap<Slot, u64> = BTreeMap::new();
    let mut found = Vec::new();
    for (probed, slot) in events(case).filter(|(probed, _)| matches!(probed.event.what, What::Granted { .. })) {
        let count = handed.entry(slot).or_default();
        *count += 1;
        let allowed = match case.channels[slot.0].leased {
            None => probed.incarnation + case.limits.retries,
            // How often a lease may end is its members' doing; that each has its reason is `channel.one_lease`'s to say.
            Some(Leased { max_deliver: None, .. }) => continue,
            Some(Leased { max_deliver: Some(max), .. }) => u64::from(max) + probed.incarnation - 1,
        };
        if *count > allowed {
            let (seq, at) = (slot.1, seconds(probed.at_ns));
            let ChannelAt { host, channel, .. } = &case.channels[slot.0];
            found.push((
                probed.at_ns,
                format!("{host}.{channel} {seq} handed out {count} times at {at}, {allowed} allowed"),
            ));
        }
    }
    found
}

/// What was counted when its host went down may not have been handed out any more: so much less for each restart.
pub(super) fn given_up(case: &Case<'_>) -> Vec<(Ns, String)> {
    // How often, and in which life of the host first.
    let mut handed: BTreeMap<Slot, (u64, u64)> = BTreeMap::new();
    let mut found = Vec::new();
    // Also what was undone was handed out.
    for (probed, slot) in case.history.events.iter().filter_map(|probed| at_channel(case, probed)) {
        let wanted = match &probed.event.what {
            What::Granted { .. } => {
                handed.entry(slot).or_insert((0, probed.incarnation)).0 += 1;
                continue;
            }
            What::DeadLettered { reason } if **reason == *Class::AttemptsExhausted.name() => {
                let Some(Leased { max_deliver: Some(max), .. }) = case.channels[slot.0].leased else { continue };
                // What was counted, and never handed out, may have been in the life before the first.
                let first = handed.get(&slot).map_or(1, |(_, first)| first.saturating_sub(1).max(1));
                u64::from(max).saturating_sub(probed.incarnation - first)
            }
            _ => continue,
        };
        let times = handed.get(&slot).map_or(0, |(times, _)| *times);
        if times < wanted {
            let (seq, at) = (slot.1, seconds(probed.at_ns));
            let ChannelAt { host, channel, .. } = &case.channels[slot.0];
            let what = format!("{host}.{channel} {seq} given up at {at}, handed out {times} times of {wanted}");
            found.push((probed.at_ns, what));
        }
    }
    found
}
