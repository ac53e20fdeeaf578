//! What an outsider can tell of a finished run: the journals that lie on the simulated disks, and named drops.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use seaworthy_engine::journal::frame::{self, At, Found, SECTOR};
use seaworthy_engine::journal::{Durability, Record, segment};
use seaworthy_engine::observe::What;
use seaworthy_engine::packet::{Identity, Packet, Seq};

use crate::history::{History, OfferRecord};
use crate::ledger::Declared;
use crate::reference::EventKey;

/// Every record of the journal among `files`, with the segment and offset of its frame. Not the engine's recovery: a
/// plain walk over every sector, so it sees frames that a recovery would leave out.
pub fn records(files: &BTreeMap<String, Bytes>) -> Vec<(At, Record)> {
    let mut found = Vec::new();
    for (name, bytes) in files {
        let Some(number) = segment::number(name) else { continue };
        let mut offset = SECTOR;
        while offset + SECTOR <= bytes.len() as u64 {
            let at = At { segment: number, offset };
            match frame::parse(at, &bytes.slice(offset as usize..)) {
                Found::Frame(header, mut body) => {
                    while let Ok(record) = Record::decode(&mut body) {
                        found.push((at, record));
                    }
                    offset += header.padded();
                }
                Found::Nothing | Found::Bad(_) => offset += SECTOR,
            }
        }
    }
    found
}

/// Dead letters in the journals among the files of each host: host, packet id, class.
#[must_use]
pub fn dead_letters(
    hosts: impl IntoIterator<Item = (String, BTreeMap<String, Bytes>)>,
) -> Vec<(String, String, String)> {
    let mut letters = Vec::new();
    for (host, files) in hosts {
        for (_, record) in records(&files) {
            if let Record::DeadLetter(letter) | Record::MovedLetter(letter) = record
                && let Ok(packet) = Packet::decode(&letter.packet)
            {
                letters.push((host.clone(), packet.packet_id.to_string(), letter.failure.class));
            }
        }
    }
    letters.sort();
    letters.dedup();
    letters
}

/// What faults destroyed and nobody else held: with a machine that was replaced, and in a frame that rotted where its host
/// reports a loss.
fn destroyed(history: &History) -> BTreeSet<String> {
    let reports = |host: &String| history.reported_lost.iter().any(|(reporter, _)| reporter == host);
    let rotted = history.rotted.iter().filter(|(host, _)| reports(host));
    history.wiped.iter().chain(rotted).flat_map(|(_, held)| held.iter().cloned()).collect()
}

/// What entered so shortly before a power cut of its host that it may be gone: in the interval, while the disk still did
/// something else, and in the sync that followed.
fn given_up(history: &History, durability: Durability) -> BTreeSet<String> {
    let Durability::Interval { ms } = durability else { return BTreeSet::new() };
    let interval_ns = u64::from(ms) * 1_000_000;
    let given_up = |offer: &&OfferRecord| {
        let Some(accepted_ns) = offer.accepted_ns else { return false };
        let cuts = history.power_cuts.iter().filter(|cut| cut.host == host_of(&offer.entry));
        cuts.into_iter().any(|cut| (accepted_ns..=accepted_ns + interval_ns + 2 * cut.sync_ns).contains(&cut.at_ns))
    };
    history.offers.iter().filter(given_up).map(|offer| offer.packet_id.to_string()).collect()
}

/// What was accepted and went with the power of its host, without having been seen before. A machine that was replaced has
/// nothing; what it alone held is known.
fn gone(history: &History) -> BTreeSet<EventKey> {
    if history.gone.is_empty() {
        return BTreeSet::new();
    }
    let seen: BTreeSet<&str> = history.effects.iter().map(|effect| effect.packet_id.as_str()).collect();
    let replaced = |entry: &str| history.wiped.iter().any(|(host, _)| host == host_of(entry));
    let keys = history.offers.iter().filter(|offer| !seen.contains(&*offer.packet_id) && !replaced(&offer.entry));
    let keys = keys.map(|offer| (offer.entry.clone(), offer.seq));
    keys.filter(|key| history.gone.contains(key)).collect()
}

/// The host of a node, as `host.node`.
pub(crate) fn host_of(address: &str) -> &str {
    address.split_once('.').map_or(address, |(host, _)| host)
}

/// Packets that a named rule dropped, by the engine's own word: it declares an end of its own.
#[must_use]
pub fn declared(history: &History, durability: Durability) -> Declared {
    // Where commits are synced, what is gone is due all the same.
    let gone = if durability == Durability::Sync { BTreeSet::new() } else { gone(history) };
    let lost_window = given_up(history, durability);
    let mut declared = Declared { lost_reported: destroyed(history), lost_window, gone, ..Declared::default() };
    if !history.events.iter().any(|probed| matches!(probed.event.what, What::Dropped { .. })) {
        return declared;
    }
    let names: BTreeMap<Identity, &str> = entered(history).collect();
    for probed in history.events.iter().filter(|probed| matches!(probed.event.what, What::Dropped { .. })) {
        if let Some(name) = probed.event.identity.and_then(|identity| names.get(&identity)) {
            declared.shed.insert((*name).to_owned());
        }
    }
    declared
}

/// What entered, by its identity and by the name that the load stamped.
pub(crate) fn entered(history: &History) -> impl Iterator<Item = (Identity, &str)> {
    let offers: BTreeMap<(&str, Seq), &str> =
        history.offers.iter().map(|offer| ((&*offer.entry, offer.seq), &*offer.packet_id)).collect();
    let entries = history.events.iter().filter(|probed| probed.event.what == What::Entered);
    entries.filter_map(move |probed| {
        let entry = format!("{}.{}", probed.host, probed.event.place);
        Some((probed.event.identity?, *offers.get(&(entry.as_str(), probed.event.seq))?))
    })
}
