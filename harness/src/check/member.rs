//! `channel.pending`, `channel.freed`, `channel.generations`: what a group promises of its members, from the probe events of the
//! channel's host.
//!
//! No more packets are leased at a time than declared · what a member held that was restarted is free once it is back · each
//! join begins a greater generation, in later lives of the host, too.

use std::collections::{BTreeMap, BTreeSet};

use seaworthy_engine::observe::{Place, What};
use seaworthy_engine::packet::Seq;

use super::channel::{Slot, events};
use super::lease::ends_lease;
use super::{Case, ChannelAt, Leased, seconds};
use crate::plan::Ns;

pub(super) fn pending(case: &Case<'_>) -> Vec<(Ns, String)> {
    // By channel: in which life of its host, and which packets.
    let mut live: BTreeMap<usize, (u64, BTreeSet<Seq>)> = BTreeMap::new();
    let mut found = Vec::new();
    for (probed, (at, seq)) in events(case) {
        let Some(Leased { pending: Some(most), .. }) = case.channels[at].leased else { continue };
        let (incarnation, leased) = live.entry(at).or_default();
        if *incarnation != probed.incarnation {
            (*incarnation, *leased) = (probed.incarnation, BTreeSet::new());
        }
        if matches!(probed.event.what, What::Granted { .. }) {
            let grew = leased.insert(seq);
            if grew && leased.len() as u64 == most + 1 {
                let (ChannelAt { host, channel, .. }, now) = (&case.channels[at], seconds(probed.at_ns));
                let what =
                    format!("{host}.{channel} {seq} handed out {now}, with {most} others that are held: {most} may be");
                found.push((probed.at_ns, what));
            }
        } else if ends_lease(&probed.event.what) {
            leased.remove(&seq);
        }
    }
    found
}

/// A member that settles what it got after its restart has joined since, as only its new life can have got it. When it joins is no
/// such proof: what it said before it ended may come later.
pub(super) fn freed(case: &Case<'_>) -> Vec<(Ns, String)> {
    let mut live: BTreeMap<Slot, (u64, Ns, &Place)> = BTreeMap::new();
    // By channel and member: the last end that was looked at.
    let mut seen: BTreeMap<(usize, &Place), Ns> = BTreeMap::new();
    let mut found = Vec::new();
    for (probed, slot) in events(case).filter(|(_, slot)| case.channels[slot.0].leased.is_some()) {
        if let What::Granted { to: Some(holder) } = &probed.event.what {
            live.insert(slot, (probed.incarnation, probed.at_ns, &holder.member));
            continue;
        }
        let over = if ends_lease(&probed.event.what) { live.remove(&slot) } else { None };
        let settled = over.filter(|_| matches!(probed.event.what, What::Settled { .. }));
        let Some((_, got_ns, member)) = settled.filter(|(incarnation, ..)| *incarnation == probed.incarnation) else {
            continue;
        };
        let ends = case.history.ends.iter().filter(|(host, at_ns)| **host == **member && *at_ns < got_ns);
        let Some(ended_ns) = ends.map(|(_, at_ns)| *at_ns).max() else { continue };
        if seen.insert((slot.0, member), ended_ns) == Some(ended_ns) {
            continue;
        }
        for ((_, seq), (incarnation, first_ns, holder)) in live.range((slot.0, Seq(0))..=(slot.0, Seq(u64::MAX))) {
            if *incarnation == probed.incarnation && *holder == member && *first_ns < ended_ns {
                let ChannelAt { host, channel, .. } = &case.channels[slot.0];
                let (first, ended, now) = (seconds(*first_ns), seconds(ended_ns), seconds(probed.at_ns));
                let what = format!(
                    "{host}.{channel} {seq} handed to {member} {first}, which ended {ended}, and not free when that settles {} {now}",
                    slot.1
                );
                found.push((probed.at_ns, what));
            }
        }
    }
    found
}

pub(super) fn generations(case: &Case<'_>) -> Vec<(Ns, String)> {
    let mut newest: BTreeMap<usize, u64> = BTreeMap::new();
    let mut found = Vec::new();
    for (probed, (at, _)) in events(case) {
        let What::Joined { member, generation } = &probed.event.what else { continue };
        let newest = newest.entry(at).or_default();
        if generation <= newest {
            let (ChannelAt { host, channel, .. }, now) = (&case.channels[at], seconds(probed.at_ns));
            let what =
                format!("{host}.{channel} generation {generation} began {now} as {member} joined, after {newest}");
            found.push((probed.at_ns, what));
        }
        *newest = (*newest).max(*generation);
    }
    found
}
