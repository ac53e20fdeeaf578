//! Faults of disks: full, small, slow, standing still, failing, lying, rotting.

use std::collections::BTreeSet;

use seaworthy_engine::journal::record::{Name, Settle};
use seaworthy_engine::journal::{Record, frame, segment};
use seaworthy_engine::packet::Packet;

use super::Controls;
use crate::load::EPOCH_UNIX_NS;
use crate::outside;
use crate::plan::{Action, Ns};
use crate::sim::disk::DiskHits;

/// Switches a fault of a disk; false when it isn't one. `until_ns` is when it is to be healed.
pub(super) fn set(controls: &Controls<'_>, action: &Action, until_ns: Option<Ns>) -> bool {
    let on = until_ns.is_some();
    let disk = |host: &str| controls.machine(host).map(|machine| &machine.disk);
    match action {
        Action::DiskFull { host } => disk(host).into_iter().for_each(|disk| disk.set_full(on)),
        Action::DiskQuota { host, bytes } => {
            disk(host).into_iter().for_each(|disk| disk.set_quota(on.then_some(*bytes)));
        }
        Action::DiskLatency { host, add } => {
            disk(host).into_iter().for_each(|disk| disk.set_latency(on.then_some(*add)));
        }
        Action::DiskStall { host } => disk(host).into_iter().for_each(|disk| disk.set_stall(until_ns.unwrap_or(0))),
        Action::DiskThrottle { host, bytes_per_s } => {
            disk(host).into_iter().for_each(|disk| disk.set_throttle(on.then_some(*bytes_per_s)));
        }
        Action::DiskEio { host, op, ratio_ppm } => {
            disk(host).into_iter().for_each(|disk| disk.set_eio(on.then_some((*op, *ratio_ppm))));
        }
        Action::DiskLyingSync { host } => disk(host).into_iter().for_each(|disk| disk.set_lying_sync(on)),
        Action::DiskRot { host, newest } if on => rot(controls, host, Rot::Fair { newest: *newest }),
        Action::DiskRot { .. } => {}
        _ => return false,
    }
    true
}

/// How often faults of that kind have touched that disk so far.
pub(super) fn hits(controls: &Controls<'_>, action: &Action) -> Option<u64> {
    let (host, count): (&str, fn(DiskHits) -> u64) = match action {
        Action::DiskFull { host } => (host, |hits| hits.full),
        Action::DiskQuota { host, .. } => (host, |hits| hits.quota),
        Action::DiskLatency { host, .. } => (host, |hits| hits.latency),
        Action::DiskStall { host } => (host, |hits| hits.stall),
        Action::DiskThrottle { host, .. } => (host, |hits| hits.throttle),
        Action::DiskEio { host, .. } => (host, |hits| hits.eio),
        Action::DiskLyingSync { host } => (host, |hits| hits.lying),
        Action::DiskRot { host, .. } => (host, |hits| hits.rot),
        _ => return None,
    };
    Some(controls.machine(host).map_or(0, |machine| count(machine.disk.fault_hits())))
}

/// So long after a frame was written its journal has marked that it was confirmed, or has gone on behind it.
const MARKED_NS: Ns = 200_000_000;

/// Which frame of a journal rots.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rot {
    /// One of packets alone: who loses what it settled, or a node's state, can report that, but neither deliver nor count right
    /// any more. What it held is written down: the system may report just that as lost.
    Fair {
        /// The last of them that the journal had the time to mark, instead of one in the middle: before that, nobody can tell
        /// whether it was confirmed.
        newest: bool,
    },
    /// The one in the middle, whatever it holds.
    Foul,
}

/// Spoils a byte of the host's journal that is confirmed, and never written again.
pub(super) fn rot(controls: &Controls<'_>, host: &str, rot: Rot) {
    let Some(machine) = controls.machine(host) else { return };
    let more = |record: &Record| !matches!(record, Record::Append { .. } | Record::Producer(_));
    let marked = EPOCH_UNIX_NS.saturating_add_unsigned(controls.recorder.now_ns().saturating_sub(MARKED_NS));
    let may_rot = |(_, header, records): &Written| match rot {
        Rot::Foul => true,
        Rot::Fair { newest } => !records.iter().any(more) && (!newest || header.time <= marked),
    };
    let all = outside::frames(&machine.disk.snapshot()).into_iter().filter(|(.., records)| !records.is_empty());
    let all: Vec<Written> = all.collect();
    let mut frames: Vec<&Written> = all.iter().filter(|frame| may_rot(frame)).collect();
    if frames.is_empty() && rot == (Rot::Fair { newest: false }) {
        frames = of_outboxes(&all);
    }
    let is_newest = rot == Rot::Fair { newest: true };
    let Some((at, _, held)) = (if is_newest { frames.last() } else { frames.get(frames.len() / 2) }) else { return };
    if machine.disk.rot(&segment::name(at.segment), at.offset + frame::HEADER as u64) && rot != Rot::Foul {
        let held: BTreeSet<String> = held.iter().filter_map(packet_id).collect();
        controls.recorder.with_history(|history| history.rotted.push((host.to_owned(), held)));
    }
}

/// A frame of a journal, and its records.
type Written = (frame::At, frame::Header, Vec<Record>);

/// Frames that hold nothing but packets and what a source settled with them, where a later one says how far the source has come: it
/// goes on from there, whatever became of this one.
fn of_outboxes(all: &[Written]) -> Vec<&Written> {
    let goes_on = |input: &Name, later: &[Written]| {
        let mut settles = later.iter().flat_map(|(.., records)| records).filter_map(of_source);
        settles.any(|settle| settle.input == *input && settle.position.is_some())
    };
    let may_rot = |(place, (.., records)): &(usize, &Written)| {
        let later = &all[place + 1..];
        records.iter().any(|record| matches!(record, Record::Append { .. }))
            && records.iter().all(|record| match of_source(record) {
                Some(settle) => goes_on(&settle.input, later),
                None => matches!(record, Record::Append { .. }),
            })
    };
    all.iter().enumerate().filter(may_rot).map(|(_, frame)| frame).collect()
}

/// What a source settled.
fn of_source(record: &Record) -> Option<&Settle> {
    match record {
        Record::Settle(settle) if settle.input.starts_with("source/") => Some(settle),
        _ => None,
    }
}

/// What an append holds, by the name of its packet.
pub(super) fn packet_id(record: &Record) -> Option<String> {
    let Record::Append { packet, .. } = record else { return None };
    Packet::decode(packet).ok().map(|packet| packet.packet_id.to_string())
}
