//! `durability`: what was accepted before a host went down survives it. Names the fault that stands between.
//! `journal.recovered`: an opening goes on no earlier than what the journal had said is durable.
//! `journal.sound`: a reader finds nothing wrong with a journal that no fault explains, at the end and where its host went down.

use std::collections::BTreeMap;

use seaworthy_engine::observe::What;

use seaworthy_reports::run::Fate;

use super::{Case, seconds};
use crate::history::{Applied, Unless, Unsound};
use crate::plan::{Action, Ns};

pub(super) fn judge(case: &Case<'_>) -> Vec<(Ns, String)> {
    if case.limits.lost.is_none() {
        return vec![];
    }
    let falls: Vec<(&Applied, &str, &str)> =
        case.history.applied.iter().filter_map(|applied| fall(case, applied)).collect();
    let mut found = Vec::new();
    for account in &case.ledger.sinks {
        for row in account.rows.iter().filter(|row| row.fate == Fate::Lost) {
            let offer = case.offer(row.offer);
            let Some(accepted_ns) = offer.accepted_ns else { continue };
            let between = falls.iter().filter(|(applied, ..)| applied.to_ns >= accepted_ns);
            let Some((applied, host, how)) = between.min_by_key(|(applied, ..)| applied.from_ns) else { continue };
            let at_ns = applied.from_ns.max(accepted_ns);
            let (accepted, fell, sink) = (seconds(accepted_ns), seconds(applied.from_ns), &account.sink);
            let facts = disk_facts(case, host, applied);
            found.push((
                at_ns,
                format!("{} accepted {accepted}, {host} {how} {fell}, not at {sink}{facts}", offer.packet_id),
            ));
        }
    }
    found
}

/// A machine that was replaced may begin anew.
pub(super) fn recovered(case: &Case<'_>) -> Vec<(Ns, String)> {
    let mut durable: BTreeMap<&str, (u64, Ns)> = BTreeMap::new();
    let mut found = Vec::new();
    for probed in &case.history.events {
        let (host, at_ns, lsn) = (&*probed.host, probed.at_ns, probed.event.seq.0);
        let before = match probed.event.what {
            What::Synced => None,
            What::Recovered => durable.get(host).copied(),
            _ => continue,
        };
        durable.insert(host, (lsn, at_ns));
        let replaced = || case.history.wiped.iter().any(|(wiped, _)| wiped == host);
        if let Some((upto, synced_ns)) = before.filter(|(upto, _)| lsn < *upto && !replaced()) {
            let (synced, opened) = (seconds(synced_ns), seconds(at_ns));
            found.push((
                at_ns,
                format!("the journal of {host} had all below {upto} durable {synced}, and goes on at {lsn} when opened {opened}"),
            ));
        }
    }
    found
}

/// What a fault made rot explains all that is wrong there. A footer may be torn where its writer did not come to an end, and what
/// replays may ask for goes where room is pressing.
pub(super) fn sound(case: &Case<'_>) -> Vec<(Ns, String)> {
    let history = case.history;
    let rotted = |host: &str| history.rotted.iter().any(|(rotted, _)| rotted == host);
    let fell = |host: &str| history.ends.iter().chain(&history.forgot).any(|(fell, _)| fell == host);
    let full = |what: &What| matches!(what, What::Refused { reason } if **reason == *"journal.full");
    let was_full = |host: &str| history.events.iter().any(|probed| *probed.host == *host && full(&probed.event.what));
    let explained = |one: &&Unsound| match one.unless {
        Some(Unless::Busy) => !history.drained || one.at_ns < history.end_ns,
        Some(Unless::Fell) => rotted(&one.host) || fell(&one.host),
        Some(Unless::Full) => rotted(&one.host) || was_full(&one.host),
        None => rotted(&one.host),
    };
    let unexplained = history.unsound.iter().filter(|one| !explained(one));
    unexplained.map(|one| (one.at_ns, format!("the journal of {}: {}", one.host, one.what))).collect()
}

/// The host that a step took down, and how.
fn fall<'a>(case: &Case<'a>, applied: &'a Applied) -> Option<(&'a Applied, &'a str, &'static str)> {
    match &case.plan.steps.get(applied.step)?.action {
        Action::HostCrash { host, .. } => Some((applied, host, "killed")),
        Action::HostPowerCut { host, .. } => Some((applied, host, "power cut")),
        Action::HostStop { host, .. } => Some((applied, host, "stopped")),
        Action::HostWipe { host, .. } => Some((applied, host, "replaced")),
        Action::HostRestartStorm { host, power: true, .. } => Some((applied, host, "power cut again and again from")),
        Action::HostRestartStorm { host, power: false, .. } => Some((applied, host, "killed again and again from")),
        _ => None,
    }
}

fn disk_facts(case: &Case<'_>, host: &str, applied: &Applied) -> String {
    let here = |at_ns: Ns| (applied.from_ns..=applied.to_ns).contains(&at_ns);
    let facts = case.history.disk.iter().filter(|fact| fact.host == host && here(fact.at_ns)).take(2);
    facts.map(|fact| format!("; disk: {} {}", fact.what, seconds(fact.at_ns))).collect()
}
