//! Everything that one seed left behind for its judges: offers, effects, probe events, applied faults.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use seaworthy_engine::journal::Record;
use seaworthy_engine::observe::Event;
use seaworthy_engine::packet::{Identity, Packet, Seq};

/// What reached an endpoint that the harness owns: an outside system's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// The endpoint, as `host.node`.
    pub endpoint: String,
    /// When it became visible, virtual ns since the world's start.
    pub at_ns: u64,
    /// Which event, by the name that the load stamped or a node derived.
    pub packet_id: String,
    /// The key, when it has one.
    pub key: Option<String>,
    /// What was written, byte for byte.
    pub content: Bytes,
}

/// One event of the load and what became of it at the border.
#[derive(Clone, Debug)]
pub struct OfferRecord {
    /// The entry, as `host.node`.
    pub entry: Arc<str>,
    /// Its number there, from 1.
    pub seq: Seq,
    /// The name that the load stamped.
    pub packet_id: Arc<str>,
    /// The key, when it has one.
    pub key: Option<Arc<str>>,
    /// When it was meant to arrive, virtual ns.
    pub intended_ns: u64,
    /// When the system took it durably, virtual ns.
    pub accepted_ns: Option<u64>,
    /// Why it was refused for good.
    pub rejected: Option<String>,
    /// How many times it was handed over.
    pub attempts: u32,
}

/// A probe event with its place in the world.
#[derive(Clone, Debug)]
pub struct Probed {
    /// Virtual ns since the world's start.
    pub at_ns: u64,
    /// Host.
    pub host: Arc<str>,
    /// The host's incarnation.
    pub incarnation: u64,
    /// The event.
    pub event: Event,
}

/// When a step of the plan began and ended, as it came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The fault's id in the scenario.
    pub fault: String,
    /// Its step in the plan.
    pub step: usize,
    /// Start, virtual ns.
    pub from_ns: u64,
    /// Heal, virtual ns.
    pub to_ns: u64,
    /// How often its effect was observed (bytes held back, calls failed, acks delayed …). 0 = it did nothing.
    pub hits: u64,
    /// `backlog` gauges when it began, by address.
    pub gauges: Vec<(String, u64)>,
}

/// When each step began, by its number in the plan.
pub(crate) fn began(applied: &[Applied]) -> impl Fn(usize) -> Option<u64> {
    move |step| applied.iter().find(|applied| applied.step == step).map(|applied| applied.from_ns)
}

/// What a simulated disk knows about its journal promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskFact {
    /// Host.
    pub host: String,
    /// Virtual ns.
    pub at_ns: u64,
    /// What was seen, e.g. `power cut lost 3 dirty sectors`.
    pub what: String,
}

/// One seed, start to end.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The load's events in order of intended arrival.
    pub offers: Vec<OfferRecord>,
    /// What became visible, in order.
    pub effects: Vec<Effect>,
    /// Probe events in order.
    pub events: Vec<Probed>,
    /// Faults as they came out.
    pub applied: Vec<Applied>,
    /// What the disks saw.
    pub disk: Vec<DiskFact>,
    /// When a disk forgot what was not synced: its host's power went, or a sync failed. Host, virtual ns.
    pub forgot: Vec<(String, u64)>,
    /// When the software of a host ended, by itself or not: host, virtual ns.
    pub ends: Vec<(String, u64)>,
    /// Entries, as `host.node` and number, that were accepted in one life of a host and were not there in the next.
    pub gone: BTreeSet<(Arc<str>, Seq)>,
    /// Loss that the system itself reported: the host, and the exact range.
    pub reported_lost: Vec<(String, String)>,
    /// Frames that faults made rot: the host, and the packets that were in it. What a host reports as lost lies in them.
    pub rotted: Vec<(String, BTreeSet<String>)>,
    /// Packets over which faults made nodes panic, or which they made sinks refuse for good: the node as `host.node`, and the
    /// packet's name.
    pub struck: Vec<(String, String)>,
    /// Machines that were replaced: the host, and the packets that it alone held.
    pub wiped: Vec<(String, BTreeSet<String>)>,
    /// Dead letters that an independent reader found in the journals, each once, sorted.
    pub dead_letters: Vec<Buried>,
    /// Dead letters as the journals on the simulated disks hold them at the end, in order.
    pub letters: Vec<Letter>,
    /// What is wrong with the journals on the simulated disks at the end, and the first times that their hosts went down.
    pub unsound: Vec<Unsound>,
    /// Samples of used disk space: host, virtual ns, bytes.
    pub disk_used: Vec<(String, u64, u64)>,
    /// Software that ended by panic or error: host, virtual ns, message.
    pub exits: Vec<(String, u64, String)>,
    /// End of the warm-up, virtual ns.
    pub warmup_ns: u64,
    /// End of the load, virtual ns.
    pub load_end_ns: u64,
    /// When the world ended, virtual ns.
    pub end_ns: u64,
    /// Whether everything was quiet at the end.
    pub drained: bool,
    /// Backlog samples: virtual ns and packets accepted but not yet visible, as the system's gauges say.
    pub backlog: Vec<(u64, u64)>,
}

/// A dead letter, as the engine's own reader tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// The host whose journal holds it.
    pub host: String,
    /// The packet's identity.
    pub identity: Identity,
    /// The packet's name.
    pub packet_id: String,
    /// Its key.
    pub key: Option<String>,
    /// Its payload.
    pub content: Bytes,
    /// Its number where it came from.
    pub seq: Option<Seq>,
    /// The class.
    pub class: String,
    /// The node, channel or tool that gave it up.
    pub node: String,
    /// How often it was tried.
    pub attempts: u32,
}

/// Something that is wrong with a journal, as the engine's own reader tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsound {
    /// The host whose journal it is.
    pub host: String,
    /// When it was looked at, virtual ns.
    pub at_ns: u64,
    /// The finding.
    pub what: String,
    /// What would explain it.
    pub unless: Option<Unless>,
}

/// What explains something that is wrong with a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unless {
    /// Its machine went down, and a write was cut short.
    Fell,
    /// It had no room, and gave up what it kept for replays.
    Full,
    /// The system was still at work.
    Busy,
}

/// A dead letter, as it lies in a journal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Buried {
    /// The host whose journal holds it.
    pub host: String,
    /// The packet's name.
    pub packet_id: String,
    /// The class, as `attempts.exhausted`.
    pub class: String,
    /// The node, channel or tool that gave it up.
    pub node: String,
}

impl Buried {
    /// What a record in the journal of `host` says of a dead letter; `None` where it is none, or its packet can't be read.
    #[must_use]
    pub fn of(host: &str, record: &Record) -> Option<Buried> {
        let (Record::DeadLetter(letter) | Record::MovedLetter(letter)) = record else { return None };
        let packet_id = Packet::decode(&letter.packet).ok()?.packet_id.to_string();
        let (class, node) = (letter.failure.class.clone(), letter.failure.node.to_string());
        Some(Buried { host: host.to_owned(), packet_id, class, node })
    }
}
