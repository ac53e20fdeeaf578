//! What a journal is made of: records, and their encoding.
//!
//! Encoding: `len: u32` (of what follows), `tag: u8`, body. The body of an `Append` and a `Moved` is `channel len: u8, channel,
//! seq: u64, packet…`; all other bodies are postcard. Tags are never reused; 64 and up are kept for later kinds, and an
//! unknown tag is an error, not something to skip: a reader that can't understand a journal must not act on it.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::Lsn;
use super::durability::Durability;
pub use super::handed::{BusinessKeys, Delivered, Generation, Parked};
use super::letter::Before3;
pub use super::letter::DeadLetter;
use crate::packet::{Epoch, Identity, Seq};

/// A name in a journal: a channel, input, group, node or producer.
pub type Name = Arc<str>;

/// One fact. A transaction is a list of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A packet enters a channel.
    Append {
        /// Which channel.
        channel: Name,
        /// Its number there; one more than the last.
        seq: Seq,
        /// `Packet::encode`.
        packet: Bytes,
    },
    /// A group is done with packets of an input, and need not see them again.
    Settle(Settle),
    /// A stage (stateful node or channel end) has taken a packet of a tree that is not settled yet.
    Applied(Applied),
    /// A key of a node's state changes.
    Put(Put),
    /// A packet ended as a dead letter.
    DeadLetter(DeadLetter),
    /// How far a producer has come in a channel; older epochs are fenced.
    Producer(Producer),
    /// The last number given in a channel, so that it is known without its packets.
    Channel(Channel),
    /// The process opened its journal.
    Opened(Opened),
    /// Confirmed records that a recovery could not read.
    Quarantined(Quarantined),
    /// A group's leases are granted in a new generation: a member came.
    Generation(Generation),
    /// Packets are about to be delivered to a member of a group that counts deliveries.
    Delivered(Delivered),
    /// A key's packets become dead letters from now on.
    Parked(Parked),
    /// Business keys came with packets; older ones may be forgotten.
    BusinessKeys(BusinessKeys),
    /// The journal was closed in good order here. Stands alone in a state frame.
    Closed,
    /// A packet that is still needed, copied forward out of an old segment. No new packet: it keeps its number.
    Moved {
        /// As in `Append`.
        channel: Name,
        /// As in `Append`.
        seq: Seq,
        /// As in `Append`.
        packet: Bytes,
    },
    /// A dead letter, copied forward out of an old segment.
    MovedLetter(DeadLetter),
    /// When the commits that follow are confirmed.
    Durable(Durability),
    /// The small state follows, whole, in so many state frames, this one included.
    Snapshot(Snapshot),
    /// A group takes from an input no more, and is forgotten: a changed graph has no place for it.
    Retired(Retired),
}

/// See [`Record::Settle`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settle {
    /// `channel/ID`, `source/NODE` or `stage/NODE`.
    pub input: Name,
    /// Who is done with them.
    pub group: Name,
    /// Ranges, both ends included, ascending. Empty declares the group.
    pub seqs: Vec<(Seq, Seq)>,
    /// For a source: the position that belongs to the floor after this.
    pub position: Option<Bytes>,
}

/// See [`Record::Applied`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The stage's node.
    pub stage: Name,
    /// The input that the tree came from.
    pub input: Name,
    /// The tree's root there.
    pub root: Seq,
    /// The packet that reached the stage.
    pub packet: Identity,
}

/// See [`Record::Put`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Put {
    /// The node.
    pub node: Name,
    /// The key.
    pub key: Bytes,
    /// The value; `None` removes the key.
    pub value: Option<Bytes>,
}

/// See [`Record::Producer`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Producer {
    /// The channel.
    pub channel: Name,
    /// The producing process.
    pub producer: Name,
    /// Its newest epoch.
    pub epoch: Epoch,
    /// Its last accepted sequence number.
    pub last: Seq,
}

/// See [`Record::Channel`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// The channel.
    pub channel: Name,
    /// Its last number.
    pub last: Seq,
}

/// See [`Record::Opened`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// The epoch that begins.
    pub epoch: u64,
    /// The version that opened it.
    pub version: String,
}

/// See [`Record::Quarantined`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// First lost LSN.
    pub from: Lsn,
    /// First LSN after them.
    pub to: Lsn,
}

/// See [`Record::Snapshot`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// State frames that it takes, one after the other.
    pub frames: u32,
}

/// See [`Record::Retired`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retired {
    /// As in [`Settle`].
    pub input: Name,
    /// The group that is gone.
    pub group: Name,
}

/// Bytes that are not a record of this version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Cut short.
    #[error("a record is cut short")]
    Short,
    /// Written by a later version.
    #[error("a record has the unknown tag {0}")]
    Tag(u8),
    /// Not what its tag says.
    #[error("a record of tag {tag} can't be read: {why}")]
    Body {
        /// Its tag.
        tag: u8,
        /// The decoder's words.
        why: String,
    },
}

const APPEND: u8 = 1;
const SETTLE: u8 = 2;
const APPLIED: u8 = 3;
const PUT: u8 = 4;
/// Of format versions 1 and 2.
const DEAD_LETTER_BEFORE_3: u8 = 5;
const PRODUCER: u8 = 6;
const CHANNEL: u8 = 7;
const OPENED: u8 = 8;
const QUARANTINED: u8 = 9;
const GENERATION: u8 = 10;
const DELIVERED: u8 = 11;
const BUSINESS_KEYS: u8 = 12;
const PARKED: u8 = 13;
const DEAD_LETTER: u8 = 14;
const DURABLE: u8 = 20;
const SNAPSHOT: u8 = 21;
const CLOSED: u8 = 22;
const MOVED: u8 = 23;
/// Of format version 2.
const MOVED_LETTER_BEFORE_3: u8 = 24;
const MOVED_LETTER: u8 = 25;
const RETIRED: u8 = 30;

impl Record {
    /// The name of its kind, e.g. `append`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Record::Append { .. } => "append",
            Record::Settle(_) => "settle",
            Record::Applied(_) => "applied",
            Record::Put(_) => "put",
            Record::DeadLetter(_) => "dead_letter",
            Record::Producer(_) => "producer",
            Record::Channel(_) => "channel",
            Record::Opened(_) => "opened",
            Record::Quarantined(_) => "quarantined",
            Record::Generation(_) => "generation",
            Record::Delivered(_) => "delivered",
            Record::Parked(_) => "parked",
            Record::BusinessKeys(_) => "business_keys",
            Record::Closed => "closed",
            Record::Moved { .. } => "moved",
            Record::MovedLetter(_) => "moved_letter",
            Record::Durable(_) => "durable",
            Record::Snapshot(_) => "snapshot",
            Record::Retired(_) => "retired",
        }
    }

    /// An upper bound of its encoded size in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        // Length, tag and the varint overhead of a few fields.
        const FIXED: usize = 64;
        FIXED
            + match self {
                Record::Append { channel, packet, .. } | Record::Moved { channel, packet, .. } => {
                    channel.len() + packet.len()
                }
                Record::Settle(r) => {
                    r.input.len() + r.group.len() + r.seqs.len() * 20 + r.position.as_ref().map_or(0, Bytes::len)
                }
                Record::Applied(r) => r.stage.len() + r.input.len() + 48,
                Record::Put(r) => r.node.len() + r.key.len() + r.value.as_ref().map_or(0, Bytes::len),
                Record::DeadLetter(r) | Record::MovedLetter(r) => r.size(),
                Record::Producer(r) => r.channel.len() + r.producer.len(),
                Record::Channel(r) => r.channel.len(),
                Record::Opened(r) => r.version.len(),
                Record::Quarantined(_) => 0,
                Record::Generation(r) => r.input.len() + r.group.len(),
                Record::Delivered(r) => r.input.len() + r.group.len() + r.seqs.len() * 20,
                Record::Parked(r) => r.input.len() + r.group.len(),
                Record::BusinessKeys(r) => r.channel.len() + r.keys.len() * 40,
                Record::Closed | Record::Durable(_) | Record::Snapshot(_) => 0,
                Record::Retired(r) => r.input.len() + r.group.len(),
            }
    }

    /// Appends the encoding to `out`.
    pub fn encode(&self, out: &mut BytesMut) {
        let start = out.len();
        out.put_u32_le(0);
        match self {
            Record::Append { channel, seq, packet } | Record::Moved { channel, seq, packet } => {
                out.put_u8(if matches!(self, Record::Append { .. }) { APPEND } else { MOVED });
                out.put_u8(u8::try_from(channel.len()).expect("channel ids are checked to be at most 200 bytes"));
                out.put_slice(channel.as_bytes());
                out.put_u64_le(seq.0);
                out.put_slice(packet);
            }
            Record::Settle(r) => body(out, SETTLE, r),
            Record::Applied(r) => body(out, APPLIED, r),
            Record::Put(r) => body(out, PUT, r),
            Record::DeadLetter(r) => body(out, DEAD_LETTER, r),
            Record::Producer(r) => body(out, PRODUCER, r),
            Record::Channel(r) => body(out, CHANNEL, r),
            Record::Opened(r) => body(out, OPENED, r),
            Record::Quarantined(r) => body(out, QUARANTINED, r),
            Record::Generation(r) => body(out, GENERATION, r),
            Record::Delivered(r) => body(out, DELIVERED, r),
            Record::Parked(r) => body(out, PARKED, r),
            Record::BusinessKeys(r) => body(out, BUSINESS_KEYS, r),
            Record::MovedLetter(r) => body(out, MOVED_LETTER, r),
            Record::Closed => out.put_u8(CLOSED),
            Record::Durable(r) => body(out, DURABLE, r),
            Record::Snapshot(r) => body(out, SNAPSHOT, r),
            Record::Retired(r) => body(out, RETIRED, r),
        }
        let len = u32::try_from(out.len() - start - 4).expect("a record fits a frame, and a frame is below 4 GiB");
        out[start..start + 4].copy_from_slice(&len.to_le_bytes());
        assert!(out.len() - start <= self.size(), "size() promised {} bytes for {}", self.size(), out.len() - start);
    }

    /// Takes one record off the front of `bytes`. Packets are slices of it, not copies.
    ///
    /// # Errors
    /// When the bytes are not a record of this version; `bytes` is then unusable.
    pub fn decode(bytes: &mut Bytes) -> Result<Record, RecordError> {
        if bytes.len() < 5 {
            return Err(RecordError::Short);
        }
        let len = bytes.get_u32_le() as usize;
        if len == 0 || len > bytes.len() {
            return Err(RecordError::Short);
        }
        let mut body = bytes.split_to(len);
        let tag = body.get_u8();
        Ok(match tag {
            APPEND | MOVED => {
                if body.is_empty() {
                    return Err(RecordError::Short);
                }
                let name = body.get_u8() as usize;
                if body.len() < name + 8 {
                    return Err(RecordError::Short);
                }
                let channel = body.split_to(name);
                let channel =
                    std::str::from_utf8(&channel).map_err(|e| RecordError::Body { tag, why: e.to_string() })?.into();
                let seq = Seq(body.get_u64_le());
                if tag == APPEND {
                    Record::Append { channel, seq, packet: body }
                } else {
                    Record::Moved { channel, seq, packet: body }
                }
            }
            SETTLE => Record::Settle(read(tag, &body)?),
            APPLIED => Record::Applied(read(tag, &body)?),
            PUT => Record::Put(read(tag, &body)?),
            DEAD_LETTER => Record::DeadLetter(read(tag, &body)?),
            DEAD_LETTER_BEFORE_3 => Record::DeadLetter(read::<Before3>(tag, &body)?.into()),
            PRODUCER => Record::Producer(read(tag, &body)?),
            CHANNEL => Record::Channel(read(tag, &body)?),
            OPENED => Record::Opened(read(tag, &body)?),
            QUARANTINED => Record::Quarantined(read(tag, &body)?),
            GENERATION => Record::Generation(read(tag, &body)?),
            DELIVERED => Record::Delivered(read(tag, &body)?),
            PARKED => Record::Parked(read(tag, &body)?),
            BUSINESS_KEYS => Record::BusinessKeys(read(tag, &body)?),
            MOVED_LETTER => Record::MovedLetter(read(tag, &body)?),
            MOVED_LETTER_BEFORE_3 => Record::MovedLetter(read::<Before3>(tag, &body)?.into()),
            CLOSED => Record::Closed,
            DURABLE => Record::Durable(read(tag, &body)?),
            SNAPSHOT => Record::Snapshot(read(tag, &body)?),
            RETIRED => Record::Retired(read(tag, &body)?),
            unknown => return Err(RecordError::Tag(unknown)),
        })
    }
}

fn body<T: Serialize>(out: &mut BytesMut, tag: u8, value: &T) {
    out.put_u8(tag);
    let mut writer = out.writer();
    postcard::to_io(value, &mut writer).expect("records hold only types that postcard can write");
}

fn read<'a, T: Deserialize<'a>>(tag: u8, body: &'a [u8]) -> Result<T, RecordError> {
    postcard::from_bytes(body).map_err(|e| RecordError::Body { tag, why: e.to_string() })
}

/// The identity of the packet in an `Append`, read from the front of its encoding.
#[must_use]
pub fn identity_of(packet: &[u8]) -> Option<Identity> {
    postcard::take_from_bytes::<Identity>(packet).ok().map(|(identity, _)| identity)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::dedup::Remembered;
    use proptest::prelude::*;

    fn name() -> impl Strategy<Value = Name> {
        "[a-z/]{1,20}".prop_map(|s| s.as_str().into())
    }
    fn bytes() -> impl Strategy<Value = Bytes> {
        proptest::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from)
    }
    fn record() -> impl Strategy<Value = Record> {
        prop_oneof![
            (name(), any::<u64>(), bytes()).prop_map(|(channel, seq, packet)| Record::Append {
                channel,
                seq: Seq(seq),
                packet
            }),
            (name(), any::<u64>(), bytes()).prop_map(|(channel, seq, packet)| Record::Moved {
                channel,
                seq: Seq(seq),
                packet
            }),
            (
                name(),
                name(),
                proptest::collection::vec((any::<u64>(), any::<u64>()), 0..5),
                proptest::option::of(bytes())
            )
                .prop_map(|(input, group, seqs, position)| Record::Settle(Settle {
                    input,
                    group,
                    seqs: seqs.into_iter().map(|(a, b)| (Seq(a), Seq(b))).collect(),
                    position
                })),
            (name(), bytes(), proptest::option::of(bytes())).prop_map(|(node, key, value)| Record::Put(Put {
                node,
                key,
                value
            })),
            (name(), name(), any::<u64>(), any::<u64>(), any::<u32>()).prop_map(
                |(input, group, from, to, deliveries)| {
                    Record::Delivered(Delivered { input, group, seqs: vec![(Seq(from), Seq(to))], deliveries })
                }
            ),
            (name(), any::<i64>(), proptest::collection::vec((any::<u128>(), any::<u64>(), any::<i64>()), 0..5))
                .prop_map(|(channel, since, keys)| {
                    let keys = keys.into_iter().map(|(key, payload, at)| (key, Remembered { payload, at })).collect();
                    Record::BusinessKeys(BusinessKeys { channel, since, keys })
                }),
            (name(), name(), any::<u64>(), any::<u128>()).prop_map(|(stage, input, root, id)| Record::Applied(
                Applied { stage, input, root: Seq(root), packet: Identity::Derived(id) }
            )),
        ]
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(records in proptest::collection::vec(record(), 0..10)) {
            let mut out = BytesMut::new();
            records.iter().for_each(|r| r.encode(&mut out));
            let mut bytes = out.freeze();
            for expected in records {
                prop_assert_eq!(Record::decode(&mut bytes), Ok(expected));
            }
            prop_assert!(bytes.is_empty());
        }

        #[test]
        fn no_bytes_panic_the_decoder(input in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut bytes = Bytes::from(input);
            while Record::decode(&mut bytes).is_ok() {}
        }
    }
}
