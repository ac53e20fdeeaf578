//! What an outsider can tell of a finished run: the journals that lie on the simulated disks, and named drops.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use seaworthy_engine::journal::frame::{self, At, Found, SECTOR};
use seaworthy_engine::journal::{Record, segment};
use seaworthy_engine::observe::What;
use seaworthy_engine::packet::{Identity, Packet, Seq};

use crate::history::History;
use crate::ledger::Declared;

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

/// Packets that a named rule dropped, by the engine's own word: it declares an end of its own.
#[must_use]
pub fn declared(history: &History) -> Declared {
    let mut declared = Declared { lost_reported: destroyed(history), ..Declared::default() };
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
