//! Dead letters: what is kept of a packet that was given up, whole enough to explain it and to bring it back.

use bytes::Bytes;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::record::{Name, identity_of};
use crate::node::{Class, NodeError};
use crate::packet::{Glance, Identity, Seq};

/// Longest message of a failure, bytes; what is longer is cut, and ends with `…`.
pub const MESSAGE_BYTES_MAX: usize = 1024;
/// How often a dead letter may be brought back before it is quarantined, unless somebody says otherwise.
pub const REDRIVES_MAX: u32 = 3;

/// See [`Record::DeadLetter`](super::Record::DeadLetter).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The packet's identity, as ever.
    pub identity: Identity,
    /// `Packet::encode`, byte for byte: identity, key, meta and payload.
    pub packet: Bytes,
    /// SHA-256 of the payload; of all of `packet` where it can't be read as one.
    pub sha256: [u8; 32],
    /// Where its tree began; `None` for what no input brought, e.g. the state of a node that is gone.
    pub source: Option<Origin>,
    /// Why it was given up.
    pub failure: Failure,
    /// What it was given up by.
    pub runtime: Runtime,
    /// Each move, the newest last.
    pub history: Vec<Move>,
    /// What became of it since.
    pub redrive: Redrive,
}

/// A place in an input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// `channel/ID`, `source/NODE`, `stage/NODE`, `taken/ID`; the producer of a packet that a channel didn't take.
    pub input: Name,
    /// The packet's number there.
    pub seq: Seq,
}

/// Why a packet was given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The class, as [`Class::name`] writes it.
    pub class: String,
    /// [`Class::is_retryable`].
    pub retryable: bool,
    /// The node, channel or tool that gave it up.
    pub node: Name,
    /// The node's plugin; empty where no plugin was at fault.
    pub plugin: String,
    /// Its version; empty where nobody gave one.
    pub plugin_version: String,
    /// For people. At most [`MESSAGE_BYTES_MAX`].
    pub message: String,
    /// Equal for failures of one kind: class, node, plugin and message, without the numbers and quoted texts in it.
    pub fingerprint: u64,
    /// How often it was tried, by the count of who gave it up.
    pub attempts: u32,
    /// The first try that the giver knows of, unix ns.
    pub first: i64,
    /// The last try, unix ns: when it was given up.
    pub last: i64,
}

/// What was running.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// The engine's version; empty in a letter of format version 2 or before.
    pub version: String,
    /// [`graph_hash`](crate::graph::graph_hash) of the process's graph; 0 where none was running.
    pub graph_hash: u64,
    /// The process.
    pub process: Name,
}

impl Runtime {
    /// This engine, as `process` with a graph of that hash.
    #[must_use]
    pub fn here(process: Name, graph_hash: u64) -> Runtime {
        Runtime { version: env!("CARGO_PKG_VERSION").to_owned(), graph_hash, process }
    }
}

/// A dead letter came to be where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// When, unix ns.
    pub at: i64,
    /// What it became.
    pub state: State,
    /// The node, channel or tool that moved it.
    pub by: Name,
}

/// Where a dead letter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It waits for somebody to look.
    Parked,
    /// It has killed or failed as often as may be: nothing automatic touches it.
    Quarantined,
    /// It is on its way back.
    Redriving,
    /// It went through.
    Resolved,
    /// Somebody gave it up for good.
    Discarded,
}

impl State {
    /// As files carry it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            State::Parked => "parked",
            State::Quarantined => "quarantined",
            State::Redriving => "redriving",
            State::Resolved => "resolved",
            State::Discarded => "discarded",
        }
    }
}

/// Bringing it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redrive {
    /// How often that was tried.
    pub count: u32,
    /// How often it may be.
    pub max: u32,
    /// Where it stands.
    pub state: State,
}

/// A failed packet, for [`DeadLetter::new`].
#[derive(Clone, Debug)]
pub struct Failed {
    /// `Packet::encode`.
    pub packet: Bytes,
    /// Where it came from.
    pub source: Option<Origin>,
    /// The node, channel or tool that gives it up.
    pub node: Name,
    /// The node's plugin and its version; empty where there is none.
    pub plugin: (String, String),
    /// Why.
    pub error: NodeError,
    /// How often it was tried.
    pub attempts: u32,
    /// The first try, and the last, unix ns.
    pub tried: (i64, i64),
}

impl DeadLetter {
    /// What is written of a packet that is given up.
    #[must_use]
    pub fn new(failed: Failed, runtime: Runtime) -> DeadLetter {
        let Failed { packet, source, node, plugin: (plugin, plugin_version), error, attempts, tried } = failed;
        let class = error.class;
        let message = shortened(error.message);
        let fingerprint = fingerprint(class.name(), &node, &plugin, &message);
        let state = if class == Class::AttemptsExhausted { State::Quarantined } else { State::Parked };
        DeadLetter {
            identity: identity_of(&packet).unwrap_or(Identity::Derived(0)),
            sha256: sha256(&packet),
            packet,
            source,
            history: vec![Move { at: tried.1, state, by: node.clone() }],
            failure: Failure {
                class: class.name().to_owned(),
                retryable: class.is_retryable(),
                node,
                plugin,
                plugin_version,
                message,
                fingerprint,
                attempts,
                first: tried.0,
                last: tried.1,
            },
            runtime,
            redrive: Redrive { count: 0, max: REDRIVES_MAX, state },
        }
    }

    /// An upper bound of its encoded size in bytes.
    pub(super) fn size(&self) -> usize {
        // Numbers, hashes, lengths and states.
        const FIXED: usize = 192;
        const MOVE: usize = 16;
        let Failure { class, node, plugin, plugin_version, message, .. } = &self.failure;
        let failure = class.len() + node.len() + plugin.len() + plugin_version.len() + message.len();
        let runtime = self.runtime.version.len() + self.runtime.process.len();
        let source = self.source.as_ref().map_or(0, |source| source.input.len());
        let history: usize = self.history.iter().map(|step| MOVE + step.by.len()).sum();
        FIXED + self.packet.len() + failure + runtime + source + history
    }
}

/// A dead letter as format versions 1 and 2 have it.
#[derive(Deserialize)]
pub(super) struct Before3 {
    identity: Identity,
    node: Name,
    class: String,
    message: String,
    packet: Bytes,
    at: i64,
}

impl From<Before3> for DeadLetter {
    fn from(old: Before3) -> DeadLetter {
        let Before3 { identity, node, class, message, packet, at } = old;
        let state = State::Parked;
        DeadLetter {
            identity,
            sha256: sha256(&packet),
            packet,
            source: None,
            history: vec![Move { at, state, by: node.clone() }],
            failure: Failure {
                retryable: Class::of(&class).is_some_and(Class::is_retryable),
                fingerprint: fingerprint(&class, &node, "", &message),
                class,
                node,
                plugin: String::new(),
                plugin_version: String::new(),
                message,
                attempts: 1,
                first: at,
                last: at,
            },
            runtime: Runtime { version: String::new(), graph_hash: 0, process: "".into() },
            redrive: Redrive { count: 0, max: REDRIVES_MAX, state },
        }
    }
}

fn sha256(packet: &[u8]) -> [u8; 32] {
    let payload = Glance::at(packet).map_or(packet, |glance| glance.payload);
    digest(&SHA256, payload).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

fn shortened(mut message: String) -> String {
    const MARK: &str = "…";
    if message.len() > MESSAGE_BYTES_MAX {
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX - MARK.len()));
        message.push_str(MARK);
    }
    message
}

/// Failures of one kind have one fingerprint, whatever packet they met.
fn fingerprint(class: &str, node: &str, plugin: &str, message: &str) -> u64 {
    let mut kind = [class, node, plugin].join("\0");
    kind.push('\0');
    let (mut quoted, mut number) = (false, false);
    for letter in message.chars() {
        quoted ^= letter == '"';
        if quoted {
            continue;
        }
        if letter.is_ascii_digit() {
            if !number {
                kind.push('#');
            }
        } else {
            kind.push(letter);
        }
        number = letter.is_ascii_digit();
    }
    xxh3_64(kind.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{ContentType, Epoch, Fields, Kind, Packet, ProducerId};

    fn packet(payload: &'static [u8]) -> Bytes {
        let identity = Identity::Entered { producer: ProducerId(7), epoch: Epoch(1), pseq: Seq(3) };
        let fields = Fields {
            identity,
            packet_id: "q1".into(),
            ts: 5,
            kind: Kind::Event,
            source_id: "s".into(),
            key: Some("ci".into()),
            content_type: ContentType::Json,
            payload: Bytes::from_static(payload),
            meta: Default::default(),
        };
        Packet::from(fields).encode()
    }

    fn letter(class: Class, message: &str) -> DeadLetter {
        let failed = Failed {
            packet: packet(b"abc"),
            source: Some(Origin { input: "source/feed".into(), seq: Seq(3) }),
            node: "strong".into(),
            plugin: ("std:filter".into(), "0.1.0".into()),
            error: NodeError::new(class, message),
            attempts: 2,
            tried: (10, 20),
        };
        DeadLetter::new(failed, Runtime { version: "0.1.0".into(), graph_hash: 9, process: "edge".into() })
    }

    #[test]
    fn a_letter_knows_its_packet_and_the_hash_of_the_payload_alone() {
        let letter = letter(Class::DecodeFailed, "not JSON");
        let hex: String = letter.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(letter.identity, identity_of(&letter.packet).expect("it is a packet"));
        assert_eq!(letter.history, [Move { at: 20, state: State::Parked, by: "strong".into() }]);
    }

    #[test]
    fn poison_is_quarantined_and_whatever_may_go_better_is_retryable() {
        let letter = letter(Class::AttemptsExhausted, "delivered as often as may be");
        assert_eq!((letter.redrive.state, letter.failure.retryable), (State::Quarantined, true));
    }

    #[test]
    fn a_fingerprint_leaves_out_what_differs_from_packet_to_packet() {
        let of = |message| letter(Class::DecodeFailed, message).failure.fingerprint;
        assert_eq!(of("byte 17 of \"abc\" is no digit"), of("byte 4 of \"é\" is no digit"));
        assert_ne!(of("byte 17 is no digit"), of("byte 17 is no letter"));
        assert_ne!(of("no digit"), letter(Class::Unknown, "no digit").failure.fingerprint);
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let letter = letter(Class::Unknown, &"é".repeat(2000));
        assert!(letter.failure.message.len() <= MESSAGE_BYTES_MAX);
        assert!(letter.failure.message.ends_with("é…"));
    }
}
