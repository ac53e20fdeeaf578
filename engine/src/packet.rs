//! Packets: what flows, and the identity that never changes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::json::Outline;

/// Text that is never changed, and cheap to clone: up to 23 bytes stand in place, more are shared.
pub use smol_str::{SmolStr, ToSmolStr};

/// Who brought a packet in: a hash of process, source node and journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProducerId(pub u64);

/// Incarnation of a producer; grows at each opening of its journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch(pub u64);

/// Sequence number within a producer, an input or a channel; the first is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
pub struct Seq(pub u64);

impl Seq {
    /// The one after this.
    #[must_use]
    pub fn next(self) -> Seq {
        Seq(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Identity of a packet: `(producer, epoch, pseq)` for what entered, a hash of input identity, node and output index
/// for what a node derived. Retry, replay and re-drive keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Identity {
    /// Entered through a source.
    Entered {
        /// Who brought it in.
        producer: ProducerId,
        /// In which incarnation.
        epoch: Epoch,
        /// As its how many-th packet.
        pseq: Seq,
    },
    /// Made by a node from one input packet.
    Derived(u128),
}

/// So many bytes of an identity, a node's name and an index are hashed at once.
const DERIVE_AT_ONCE: usize = 128;
/// Bytes of an encoded identity.
const IDENTITY_BYTES: usize = 25;

impl Identity {
    /// The identity of output `index` that `node` makes of the packet with this identity.
    #[must_use]
    pub fn derive(&self, node: &str, index: u32) -> Identity {
        let mut bytes = [0; DERIVE_AT_ONCE];
        let Some(bytes) = bytes.get_mut(..IDENTITY_BYTES + node.len() + 1 + size_of::<u32>()) else {
            let mut hash = xxhash_rust::xxh3::Xxh3::new();
            let parts: [&[u8]; 4] = [&self.to_bytes(), node.as_bytes(), &[0], &index.to_le_bytes()];
            parts.iter().for_each(|part| hash.update(part));
            return Identity::Derived(hash.digest128());
        };
        // The same hash, without a hasher's state, which is larger than all that goes in.
        let (identity, rest) = bytes.split_first_chunk_mut().expect("an identity and more fit");
        self.write(identity);
        let (name, end) = rest.split_at_mut(node.len());
        name.copy_from_slice(node.as_bytes());
        end[1..].copy_from_slice(&index.to_le_bytes());
        Identity::Derived(xxhash_rust::xxh3::xxh3_128(bytes))
    }

    /// A fixed-width encoding (25 bytes), equal for equal identities only.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; IDENTITY_BYTES] {
        let mut out = [0; IDENTITY_BYTES];
        self.write(&mut out);
        out
    }

    /// Writes the encoding over zeroes.
    #[inline]
    fn write(&self, out: &mut [u8; IDENTITY_BYTES]) {
        match self {
            Identity::Entered { producer, epoch, pseq } => {
                out[1..9].copy_from_slice(&producer.0.to_le_bytes());
                out[9..17].copy_from_slice(&epoch.0.to_le_bytes());
                out[17..25].copy_from_slice(&pseq.0.to_le_bytes());
            }
            Identity::Derived(hash) => {
                out[0] = 1;
                out[1..17].copy_from_slice(&hash.to_le_bytes());
            }
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Identity::Entered { producer, epoch, pseq } => write!(f, "{:016x}.{}.{}", producer.0, epoch.0, pseq.0),
            Identity::Derived(hash) => write!(f, "{hash:032x}"),
        }
    }
}

/// What a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A picture or a block of samples.
    Frame,
    /// Something that happened.
    #[default]
    Event,
    /// One reading.
    Sensor,
    /// Measurements about the system itself.
    Metrics,
    /// A command to the graph.
    Control,
    /// A reference to bytes that live elsewhere.
    BytesRef,
}

/// How payload bytes are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum ContentType {
    /// UTF-8 JSON text.
    #[default]
    Json,
    /// Opaque bytes.
    Bytes,
}

/// The fields of a packet. Build one, then turn it into a [`Packet`] with `into`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fields {
    /// Never changes.
    pub identity: Identity,
    /// Name of the packet for people and dedup by business tools; the source's own id where it has one.
    pub packet_id: SmolStr,
    /// Event time, nanoseconds since 1970 UTC.
    pub ts: i64,
    /// What it carries.
    pub kind: Kind,
    /// Where it came from, for people (a camera, a file).
    pub source_id: SmolStr,
    /// Packets of equal key keep their order.
    pub key: Option<SmolStr>,
    /// How `payload` is to be read.
    pub content_type: ContentType,
    /// The payload as it entered, byte for byte.
    pub payload: Bytes,
    /// Small and loggable; never a secret. `idempotency_key` is the business key.
    pub meta: BTreeMap<String, String>,
}

/// Where a packet's `meta` has what its sender knows it by.
pub const BUSINESS_KEY: &str = "idempotency_key";

/// An encoded packet, looked at in place.
#[derive(Clone, Debug, Deserialize)]
pub struct Glance<'a> {
    /// As in [`Fields`].
    pub identity: Identity,
    /// As in [`Fields`].
    pub packet_id: &'a str,
    /// As in [`Fields`].
    pub ts: i64,
    /// As in [`Fields`].
    pub kind: Kind,
    /// As in [`Fields`].
    pub source_id: &'a str,
    /// As in [`Fields`].
    pub key: Option<&'a str>,
    /// As in [`Fields`].
    pub content_type: ContentType,
    /// As in [`Fields`].
    pub payload: &'a [u8],
    /// As in [`Fields`].
    #[serde(borrow)]
    pub meta: BTreeMap<&'a str, &'a str>,
}

impl<'a> Glance<'a> {
    /// Looks at what [`Packet::encode`] wrote, without copying it.
    ///
    /// # Errors
    /// When the bytes are not a packet of this version.
    pub fn at(bytes: &'a [u8]) -> Result<Glance<'a>, DecodeError> {
        Ok(postcard::from_bytes(bytes)?)
    }

    /// The business key, when the packet has one.
    #[must_use]
    pub fn business_key(&self) -> Option<&'a str> {
        self.meta.get(BUSINESS_KEY).copied()
    }
}

/// The key of an encoded packet, read from the front of its encoding; `None` where it has none, or is no packet.
#[must_use]
pub fn key_of(packet: &[u8]) -> Option<&str> {
    type Front<'a> = (Identity, &'a str, i64, Kind, &'a str, Option<&'a str>);
    postcard::take_from_bytes::<Front<'_>>(packet).ok().and_then(|((.., key), _)| key)
}

/// A packet: shared, immutable, cheap to clone. Its JSON is outlined, and parsed, at most once, by whoever asks first.
#[derive(Clone)]
pub struct Packet(Arc<Inner>);

struct Inner {
    fields: Fields,
    outline: OnceLock<Option<Outline>>,
    json: OnceLock<Option<Box<serde_json::Value>>>,
}

impl From<Fields> for Packet {
    fn from(fields: Fields) -> Self {
        Packet(Arc::new(Inner { fields, outline: OnceLock::new(), json: OnceLock::new() }))
    }
}

impl std::ops::Deref for Packet {
    type Target = Fields;
    fn deref(&self) -> &Fields {
        &self.0.fields
    }
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fields.fmt(f)
    }
}

/// Bytes that are not a packet.
#[derive(Debug, thiserror::Error)]
#[error("could not decode a packet: {0}")]
pub struct DecodeError(#[from] postcard::Error);

impl Fields {
    /// Bytes of what stands beside the payload: names, key, and `meta`.
    #[must_use]
    pub fn beside_bytes(&self) -> usize {
        beside_bytes(&self.packet_id, &self.source_id, self.key.as_ref(), &self.meta)
    }
}

pub(crate) fn beside_bytes(
    packet_id: &str,
    source_id: &str,
    key: Option<&SmolStr>,
    meta: &BTreeMap<String, String>,
) -> usize {
    let meta: usize = meta.iter().map(|(name, value)| name.len() + value.len()).sum();
    packet_id.len() + source_id.len() + key.map_or(0, SmolStr::len) + meta
}

impl Packet {
    /// Another packet, in the room of this one where nobody else has it.
    #[inline]
    pub(crate) fn replaced(mut self, fields: Fields) -> Packet {
        match Arc::get_mut(&mut self.0) {
            Some(inner) => {
                inner.fields = fields;
                (inner.outline, inner.json) = (OnceLock::new(), OnceLock::new());
            }
            None => self = fields.into(),
        }
        self
    }

    /// The payload as JSON; `None` when it is not JSON.
    #[must_use]
    pub fn json(&self) -> Option<&serde_json::Value> {
        let inner = &*self.0;
        inner
            .json
            .get_or_init(|| match inner.fields.content_type {
                ContentType::Json => serde_json::from_slice(&inner.fields.payload).ok(),
                ContentType::Bytes => None,
            })
            .as_deref()
    }

    /// Where the fields of the payload's object lie; `None` when only [`Packet::json`] can tell.
    pub(crate) fn outline(&self) -> Option<&Outline> {
        let inner = &*self.0;
        inner
            .outline
            .get_or_init(|| match inner.fields.content_type {
                ContentType::Json => Outline::of(&inner.fields.payload),
                ContentType::Bytes => None,
            })
            .as_ref()
    }

    /// The fields, to build a changed copy from.
    #[must_use]
    pub fn fields(&self) -> &Fields {
        &self.0.fields
    }

    /// The encoding that journals store and lanes carry (postcard of [`Fields`]).
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let Fields { packet_id, source_id, key, payload, .. } = &self.0.fields;
        // Identity, time and lengths; what is in `meta` may make it grow.
        const FIXED: usize = 64;
        let bytes = FIXED + packet_id.len() + source_id.len() + key.as_ref().map_or(0, SmolStr::len) + payload.len();
        let out = postcard::to_extend(&self.0.fields, Vec::with_capacity(bytes));
        out.expect("a packet holds only types that postcard can write").into()
    }

    /// Reads what `encode` wrote.
    ///
    /// # Errors
    /// When the bytes are not a packet of this version.
    pub fn decode(bytes: &[u8]) -> Result<Packet, DecodeError> {
        Ok(postcard::from_bytes::<Fields>(bytes)?.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glance_sees_what_was_encoded() {
        let fields = Fields {
            identity: Identity::Entered { producer: ProducerId(7), epoch: Epoch(1), pseq: Seq(300) },
            packet_id: "q1".into(),
            ts: -5,
            kind: Kind::Sensor,
            source_id: "cam".into(),
            key: Some("ci".into()),
            content_type: ContentType::Bytes,
            payload: Bytes::from_static(b"\x00payload"),
            meta: BTreeMap::from([("idempotency_key".into(), "order-7".into())]),
        };
        let bytes = Packet::from(fields.clone()).encode();
        let glance = Glance::at(&bytes).unwrap();
        assert_eq!((glance.identity, glance.packet_id, glance.ts), (fields.identity, "q1", -5));
        assert_eq!((glance.kind, glance.source_id, glance.key), (fields.kind, "cam", Some("ci")));
        assert_eq!((glance.content_type, glance.payload), (fields.content_type, &fields.payload[..]));
        assert_eq!(glance.business_key(), Some("order-7"));
        assert_eq!(key_of(&bytes), Some("ci"));
        assert!(Glance::at(&bytes[..10]).is_err());
    }

    #[test]
    fn a_derived_identity_does_not_depend_on_how_it_is_hashed() {
        let entered = Identity::Entered { producer: ProducerId(7), epoch: Epoch(1), pseq: Seq(9) };
        for len in 0..=DERIVE_AT_ONCE {
            let node = "n".repeat(len);
            let mut hash = xxhash_rust::xxh3::Xxh3::new();
            let parts: [&[u8]; 4] = [&entered.to_bytes(), node.as_bytes(), &[0], &5_u32.to_le_bytes()];
            parts.iter().for_each(|part| hash.update(part));
            assert_eq!(entered.derive(&node, 5), Identity::Derived(hash.digest128()), "{len}");
        }
    }
}
