//! What an outsider can tell of a finished run: the journals that lie on the simulated disks, and named drops.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use seaworthy_engine::journal::frame::{self, At, Found, Header, SECTOR};
use seaworthy_engine::journal::{Durability, Record, segment};
use seaworthy_engine::observe::{Event, What};
use seaworthy_engine::packet::{Identity, Seq};

use crate::history::{Buried, History, OfferRecord};
use crate::ledger::Declared;
use crate::plan::{Ns, Plan};
use crate::reference::EventKey;

/// Outputs of one packet that are told by its name when a rule drops them.
const OUTPUTS_MAX: u32 = 8;
/// What a sync of a disk that nothing slows takes at most, and what comes before it in the queue.
const SYNC_NS: Ns = 50_000_000;

/// Every frame of the journal among `files`, with its place and its records. Not the engine's recovery: a
/// plain walk over every sector, so it sees frames that a recovery would leave out.
pub fn frames(files: &BTreeMap<String, Bytes>) -> Vec<(At, Header, Vec<Record>)> {
    let mut found = Vec::new();
    for (name, bytes) in files {
        let Some(number) = segment::number(name) else { continue };
        let mut offset = SECTOR;
        while offset + SECTOR <= bytes.len() as u64 {
            let at = At { segment: number, offset };
            match frame::parse(at, &bytes.slice(offset as usize..)) {
                Found::Frame(header, mut body) => {
                    let records = std::iter::from_fn(|| Record::decode(&mut body).ok()).collect();
                    found.push((at, header, records));
                    offset += header.padded();
                }
                Found::Nothing | Found::Bad(_) => offset += SECTOR,
            }
        }
    }
    found
}

/// Every record of the journal among `files`, with the segment and offset of its frame.
pub fn records(files: &BTreeMap<String, Bytes>) -> Vec<(At, Record)> {
    let of_frame = |(at, _, records): (At, Header, Vec<Record>)| records.into_iter().map(move |record| (at, record));
    frames(files).into_iter().flat_map(of_frame).collect()
}

/// Dead letters in the journals among the files of each host.
#[must_use]
pub fn dead_letters(hosts: impl IntoIterator<Item = (String, BTreeMap<String, Bytes>)>) -> Vec<Buried> {
    let mut letters = Vec::new();
    for (host, files) in hosts {
        letters.extend(records(&files).iter().filter_map(|(_, record)| Buried::of(&host, record)));
    }
    letters.sort();
    letters.dedup();
    letters
}

/// The hosts whose engines told of a dead letter.
#[must_use]
pub fn buriers(history: &History) -> BTreeSet<String> {
    let letters = history.events.iter().filter(|probed| matches!(probed.event.what, What::DeadLettered { .. }));
    letters.map(|probed| probed.host.to_string()).collect()
}

/// What faults destroyed and nobody else held: with a machine that was replaced, and in a frame that rotted where its host
/// reports a loss.
fn destroyed(history: &History) -> BTreeSet<String> {
    let reports = |host: &String| history.reported_lost.iter().any(|(reporter, _)| reporter == host);
    let rotted = history.rotted.iter().filter(|(host, _)| reports(host));
    history.wiped.iter().chain(rotted).flat_map(|(_, held)| held.iter().cloned()).collect()
}

/// What entered and is gone because a disk forgot it, where commits count before they are synced: what nothing is due of, as
/// nobody has seen it, and the names of what the declared window covers.
fn given_up(history: &History, plan: &Plan) -> (BTreeSet<EventKey>, BTreeSet<String>) {
    let (mut unseen, mut covered) = (BTreeSet::new(), BTreeSet::new());
    let window_ns = match plan.engine.durability() {
        Durability::Sync => return (unseen, covered),
        Durability::Interval { ms } => Some(u64::from(ms) * 1_000_000 + SYNC_NS),
        // Until the next sync, whenever that is.
        Durability::Os => None,
    };
    if history.gone.is_empty() {
        return (unseen, covered);
    }
    let seen: BTreeSet<&str> = history.effects.iter().map(|effect| effect.packet_id.as_str()).collect();
    for offer in &history.offers {
        let (host, key) = (host_of(&offer.entry), (offer.entry.clone(), offer.seq));
        let Some(accepted_ns) = offer.accepted_ns.filter(|_| history.gone.contains(&key)) else { continue };
        let after = |times: &[(String, Ns)]| {
            let later = times.iter().filter(|(of, at_ns)| of == host && *at_ns >= accepted_ns);
            later.map(|(_, at_ns)| *at_ns).min()
        };
        // Without a disk that forgets, nothing explains it. A machine that was replaced has nothing; what it alone held is known.
        let replaced = || history.wiped.iter().any(|(replaced, _)| replaced == host);
        let Some(forgot_ns) = after(&history.forgot).filter(|_| !replaced()) else { continue };
        if !seen.contains(&*offer.packet_id) {
            unseen.insert(key);
        }
        let synced = history.events.iter().any(|probed| {
            *probed.host == *host
                && probed.event.what == What::Synced
                && (accepted_ns + 1..=forgot_ns).contains(&probed.at_ns)
        });
        // The interval is the software's: it ends with that, and is longer where time or the disk go slower.
        let in_window = |window_ns| after(&history.ends).is_some_and(|end_ns| end_ns - accepted_ns <= window_ns);
        if !synced && (window_ns.is_none_or(in_window) || is_slowed(plan, host)) {
            covered.insert(offer.packet_id.to_string());
        }
    }
    (unseen, covered)
}

/// Whether faults let a host's clock, processor or disk go slower.
fn is_slowed(plan: &Plan, host: &str) -> bool {
    let slows = |kind: &str| ["disk.", "clock.", "cpu.", "host.pause"].iter().any(|what| kind.starts_with(what));
    plan.steps
        .iter()
        .any(|step| step.action.on() == host && slows(step.action.kind()) && step.action.kind() != "disk.torn")
}

/// The host of a node, as `host.node`.
pub(crate) fn host_of(address: &str) -> &str {
    address.split_once('.').map_or(address, |(host, _)| host)
}

/// Packets that a named rule dropped, by the engine's own word: it declares an end of its own.
#[must_use]
pub fn declared(history: &History, plan: &Plan) -> Declared {
    let (gone, lost_window) = given_up(history, plan);
    let mut declared = Declared { lost_reported: destroyed(history), lost_window, gone, ..Declared::default() };
    if !history.events.iter().any(|probed| matches!(probed.event.what, What::Dropped { .. })) {
        return declared;
    }
    // What a node made of an event goes by the event's name.
    let mut names: BTreeMap<Identity, &str> =
        entered(history).map(|(identity, offer)| (identity, &*offer.packet_id)).collect();
    for Event { what, place, identity, .. } in history.events.iter().map(|probed| &probed.event) {
        let Some((identity, name)) = identity.and_then(|identity| Some((identity, *names.get(&identity)?))) else {
            continue;
        };
        match what {
            What::Processed => names.extend((0..OUTPUTS_MAX).map(|index| (identity.derive(place, index), name))),
            What::Dropped { reason } => drop(declared.shed.insert(name.to_owned(), reason.to_string())),
            _ => {}
        }
    }
    declared
}

/// What entered, by its identity, and the offer that it came in as.
pub(crate) fn entered(history: &History) -> impl Iterator<Item = (Identity, &OfferRecord)> {
    let offers: BTreeMap<(&str, Seq), &OfferRecord> =
        history.offers.iter().map(|offer| ((&*offer.entry, offer.seq), offer)).collect();
    let entries = history.events.iter().filter(|probed| probed.event.what == What::Entered);
    entries.filter_map(move |probed| {
        let entry = format!("{}.{}", probed.host, probed.event.place);
        Some((probed.event.identity?, *offers.get(&(entry.as_str(), probed.event.seq))?))
    })
}
