//! What a user writes: sources, nodes and sinks as small traits, and the registry that names them.
//!
//! A node is plain synchronous code: packets in, packets and state changes out. It never does I/O and never waits, so the
//! harness can call the very same node as its reference. Sources and sinks meet the outside and may wait.

mod registry;

pub use registry::{ConfigError, NodeContext, Registry, RegistryError, Shape};

use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::env::Fut;
use crate::packet::{ContentType, Fields, Identity, Kind, Packet, Seq, SmolStr, beside_bytes};

/// Why a packet could not be handled. The class list is closed; it is the one that dead letters carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Class {
    /// The payload breaks its schema.
    #[serde(rename = "schema.invalid")]
    SchemaInvalid,
    /// The bytes could not be decoded.
    #[serde(rename = "decode.failed")]
    DecodeFailed,
    /// Larger than allowed.
    #[serde(rename = "size.exceeded")]
    SizeExceeded,
    /// The sink refused for good.
    #[serde(rename = "sink.permanent")]
    SinkPermanent,
    /// The sink can't take it now; trying again may help.
    #[serde(rename = "sink.unavailable")]
    SinkUnavailable,
    /// It was delivered as often as may be, and never settled.
    #[serde(rename = "attempts.exhausted")]
    AttemptsExhausted,
    /// An earlier packet of its key was given up.
    #[serde(rename = "ordering.blocked")]
    OrderingBlocked,
    /// Its business key came before with another payload.
    #[serde(rename = "conflict")]
    Conflict,
    /// A consumer rejected it.
    #[serde(rename = "policy.rejected")]
    PolicyRejected,
    /// It came too late to be of use.
    #[serde(rename = "ttl.expired")]
    TtlExpired,
    /// The node panicked.
    #[serde(rename = "plugin.panic")]
    PluginPanic,
    /// The node took longer than it may.
    #[serde(rename = "plugin.timeout")]
    PluginTimeout,
    /// Whoever is behind the node refused to deal with us.
    #[serde(rename = "auth.denied")]
    AuthDenied,
    /// What the packet refers to is not there.
    #[serde(rename = "ref.missing")]
    RefMissing,
    /// It went round more often than it may.
    #[serde(rename = "hop.limit")]
    HopLimit,
    /// None of the others.
    #[serde(rename = "unknown")]
    Unknown,
}

/// All of them.
const CLASSES: [Class; 16] = [
    Class::SchemaInvalid,
    Class::DecodeFailed,
    Class::SizeExceeded,
    Class::SinkPermanent,
    Class::SinkUnavailable,
    Class::AttemptsExhausted,
    Class::OrderingBlocked,
    Class::Conflict,
    Class::PolicyRejected,
    Class::TtlExpired,
    Class::PluginPanic,
    Class::PluginTimeout,
    Class::AuthDenied,
    Class::RefMissing,
    Class::HopLimit,
    Class::Unknown,
];

impl Class {
    /// The class of that name.
    #[must_use]
    pub fn of(name: &str) -> Option<Class> {
        CLASSES.into_iter().find(|class| class.name() == name)
    }

    /// True when the same packet may go through another time though neither it nor the graph has changed.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        match self {
            Class::SinkUnavailable
            | Class::AttemptsExhausted
            | Class::OrderingBlocked
            | Class::PluginTimeout
            | Class::RefMissing => true,
            Class::SchemaInvalid
            | Class::DecodeFailed
            | Class::SizeExceeded
            | Class::SinkPermanent
            | Class::Conflict
            | Class::PolicyRejected
            | Class::TtlExpired
            | Class::PluginPanic
            | Class::AuthDenied
            | Class::HopLimit
            | Class::Unknown => false,
        }
    }

    /// The name that files carry, e.g. `decode.failed`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Class::SchemaInvalid => "schema.invalid",
            Class::DecodeFailed => "decode.failed",
            Class::SizeExceeded => "size.exceeded",
            Class::SinkPermanent => "sink.permanent",
            Class::SinkUnavailable => "sink.unavailable",
            Class::AttemptsExhausted => "attempts.exhausted",
            Class::OrderingBlocked => "ordering.blocked",
            Class::Conflict => "conflict",
            Class::PolicyRejected => "policy.rejected",
            Class::TtlExpired => "ttl.expired",
            Class::PluginPanic => "plugin.panic",
            Class::PluginTimeout => "plugin.timeout",
            Class::AuthDenied => "auth.denied",
            Class::RefMissing => "ref.missing",
            Class::HopLimit => "hop.limit",
            Class::Unknown => "unknown",
        }
    }
}

/// A node could not handle a packet. Unless it is `SinkUnavailable` (tried again), the packet becomes a dead letter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", class.name())]
pub struct NodeError {
    /// What kind of failure.
    pub class: Class,
    /// For people, lowercase, without secrets.
    pub message: String,
}

impl NodeError {
    /// A failure of `class`.
    pub fn new(class: Class, message: impl Into<String>) -> Self {
        NodeError { class, message: message.into() }
    }
}

/// A packet to be: everything but the identity, which the runtime gives.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Name for people; an output keeps its input's unless the node says otherwise.
    pub packet_id: SmolStr,
    /// Event time, nanoseconds since 1970 UTC.
    pub ts: i64,
    /// What it carries.
    pub kind: Kind,
    /// Where it came from.
    pub source_id: SmolStr,
    /// Packets of equal key keep their order.
    pub key: Option<SmolStr>,
    /// How `payload` is to be read.
    pub content_type: ContentType,
    /// The payload.
    pub payload: Bytes,
    /// Small and loggable.
    pub meta: BTreeMap<String, String>,
}

impl Draft {
    /// A draft with everything of `packet`, to change from there.
    #[must_use]
    pub fn of(packet: &Packet) -> Draft {
        Draft::with(packet, packet.payload.clone())
    }

    /// A draft with everything of `packet` but its payload.
    // Inlined, it is put together where it is to stand, and not copied there.
    #[inline(always)]
    #[must_use]
    pub fn with(packet: &Packet, payload: Bytes) -> Draft {
        let Fields { packet_id, ts, kind, source_id, key, content_type, payload: _, meta, identity: _ } =
            packet.fields();
        Draft {
            packet_id: packet_id.clone(),
            ts: *ts,
            kind: *kind,
            source_id: source_id.clone(),
            key: key.clone(),
            content_type: *content_type,
            payload,
            meta: meta.clone(),
        }
    }

    /// Bytes of what stands beside the payload: names, key, and `meta`.
    pub(crate) fn beside_bytes(&self) -> usize {
        beside_bytes(&self.packet_id, &self.source_id, self.key.as_ref(), &self.meta)
    }

    /// Gives the draft its identity.
    #[must_use]
    pub fn into_packet(self, identity: Identity) -> Packet {
        self.into_fields(identity).into()
    }

    pub(crate) fn into_fields(self, identity: Identity) -> Fields {
        let Draft { packet_id, ts, kind, source_id, key, content_type, payload, meta } = self;
        Fields { identity, packet_id, ts, kind, source_id, key, content_type, payload, meta }
    }
}

/// What a node wants done with one input: outputs and state changes, taken together or not at all.
#[derive(Debug, Default)]
pub struct Output {
    /// Outputs in order, with the port each leaves by.
    pub packets: Vec<(Port, Emitted)>,
    /// Changes of the node's keyed state; `None` removes the key.
    pub state: Vec<(Bytes, Option<Bytes>)>,
    /// Set when the input lives on inside the node's state (a window) instead of ending.
    pub folded: bool,
}

/// A port by name; `out` is the default output, `in` the default input.
pub type Port = &'static str;

/// An output of a node.
#[derive(Clone, Debug)]
pub enum Emitted {
    /// The input itself, unchanged, with its own identity.
    Pass(Packet),
    /// A new packet; its identity is derived from the input, the node and its index.
    New(Draft),
}

impl Output {
    /// Wants nothing any more; keeps its room for the next input.
    pub fn clear(&mut self) {
        self.packets.clear();
        self.state.clear();
        self.folded = false;
    }

    /// Lets the input go on unchanged.
    pub fn pass(&mut self, packet: &Packet) {
        // Made where it is to stand; `push` would copy a room that is far larger than what is in it.
        self.packets.extend(std::iter::once_with(|| ("out", Emitted::Pass(packet.clone()))));
    }

    /// Sends a new packet.
    pub fn emit(&mut self, draft: Draft) {
        self.packets.push(("out", Emitted::New(draft)));
    }

    /// Writes a key of the node's durable state.
    pub fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.state.push((key.into(), Some(value.into())));
    }

    /// Removes a key of the node's durable state.
    pub fn delete(&mut self, key: impl Into<Bytes>) {
        self.state.push((key.into(), None));
    }
}

/// A node: packets in, packets and state changes out. Called for one packet at a time, in order.
pub trait Node: Send {
    /// Handles one packet. On `Err` nothing of `out` happens and the packet becomes a dead letter.
    ///
    /// # Errors
    /// Whatever makes this packet impossible to handle.
    fn process(&mut self, packet: &Packet, out: &mut Output) -> Result<(), NodeError>;

    /// Gives back the durable state, once, before the first packet.
    ///
    /// # Errors
    /// When the state is of another version.
    fn restore(&mut self, state: &BTreeMap<Bytes, Bytes>) -> Result<(), NodeError> {
        assert!(state.is_empty(), "a node without restore() wrote {} keys of state", state.len());
        Ok(())
    }
}

/// What a source brings in.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its number at this source; strictly growing, and the same again after a restart.
    pub seq: Seq,
    /// The packet.
    pub draft: Draft,
    /// From where to go on once this and all before it are settled; opaque to the runtime, at most 256 bytes.
    pub position: Bytes,
}

/// Where a source was: the floor (all up to it are settled), the position stored with it, and what is settled beyond.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resume {
    /// All entries up to and with this one are settled.
    pub floor: Seq,
    /// The position of that entry; empty at the very beginning.
    pub position: Bytes,
    /// Entries above the floor that are settled all the same, start to end, ascending. A source need not bring them again; one
    /// that does changes nothing. Whatever else it brought before is not here: with a durability other than `sync` also
    /// what it heard is settled, if the power went since.
    pub above: Vec<(Seq, Seq)>,
}

impl Resume {
    /// True when the entry is settled.
    #[must_use]
    pub fn has(&self, seq: Seq) -> bool {
        seq <= self.floor || self.above.iter().any(|(from, to)| (*from..=*to).contains(&seq))
    }
}

/// Brings packets in.
pub trait Source: Send {
    /// Starts after `resume`; called once, first.
    fn start(&mut self, resume: Resume) -> Fut<'_, Result<(), NodeError>>;
    /// The next entries, at least one and at most `max`; `None` when the input has ended. Dropping the future loses nothing.
    fn next(&mut self, max: usize) -> Fut<'_, Result<Option<Vec<Entry>>, NodeError>>;
    /// Who wants to know when entries are settled durably, if anyone.
    fn acks(&self) -> Option<Arc<dyn Acks>> {
        None
    }
}

/// Hears what became durable.
pub trait Acks: Send + Sync {
    /// These entries and all that came of them are settled durably.
    fn settled(&self, seqs: &[Seq]);
}

/// Takes packets out.
pub trait Sink: Send {
    /// Writes packets in order and answers one result a packet, each given once its effect is durable outside. The
    /// answer may be shorter than the batch: what is missing was not tried. A `SinkUnavailable` must be the last.
    fn write<'a>(&'a mut self, batch: &'a [Packet]) -> Fut<'a, Vec<Result<(), NodeError>>>;
}
