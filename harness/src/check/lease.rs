//! `channel.one_lease`, `channel.held`, `channel.backoff`: what holds where packets are leased, from the probe events of their host.
//!
//! A packet is leased to one member at a time: a second lease begins only once the first has ended, with a reason, or with
//! the host · only a held packet is settled, save one that becomes a dead letter in the same step · whose lease ran out waits
//! before it is handed out again.

use std::collections::BTreeMap;

use seaworthy_engine::observe::What;

use super::channel::{Slot, events};
use super::{Case, ChannelAt, seconds};
use crate::history::Probed;
use crate::plan::Ns;

/// The reasons with which a lease ends before its packet is settled.
const ENDS: [&str; 3] = ["lease.expired", "lease.retry", "lease.member_gone"];

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
            What::Settled { took_effect: true } => drop(live.remove(&slot)),
            What::Refused { reason } if ENDS.contains(&&**reason) => drop(live.remove(&slot)),
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

/// Whose lease ran out waits before it is handed out again; a clock may run a little fast.
pub(super) fn backoff(case: &Case<'_>) -> Vec<(Ns, String)> {
    let mut expired: BTreeMap<Slot, (u64, Ns)> = BTreeMap::new();
    let mut found = Vec::new();
    walk(case, |probed, slot, _| match &probed.event.what {
        What::Refused { reason } if **reason == *"lease.expired" => {
            expired.insert(slot, (probed.incarnation, probed.at_ns));
        }
        What::Granted { .. } => {
            let Some((incarnation, at_ns)) = expired.remove(&slot) else { return };
            let ChannelAt { host, channel, leased, .. } = &case.channels[slot.0];
            let wait_ns = leased.map_or(0, |leased| leased.backoff_ns) / 10 * 9;
            if incarnation == probed.incarnation && probed.at_ns < at_ns.saturating_add(wait_ns) {
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
