//! What a channel is to those who use it, whatever keeps it: memory, a journal, a journal behind a lane, later a broker.
//!
//! ```text
//!  open ──► Producer ── publish ──► Channel ──── hear ────► Member ◄── join
//!              ▲                      │  ▲                    │
//!              └── held, durably ─────┘  └────── settle ──────┘
//! ```
//! A kind says which promises it makes ([`Channel::promises`]); what each means is written down as cases of the conformance
//! kit (`harness/src/kit/`, `docs/channels.md`). Who keeps the channel, and how it is started, is no business of this trait.

use std::collections::BTreeSet;
use std::error::Error;

use bytes::Bytes;

use super::producer::Rejection;
pub use super::terms::{Outcome, Settle, ToMember};
use crate::env::Fut;
use crate::packet::{Epoch, Seq};

/// Most packets in one publish.
pub const PUBLISH_PACKETS_MAX: usize = 256;
/// Most bytes of packets in one publish; a single packet may be larger when it comes alone.
pub const PUBLISH_BYTES_MAX: usize = 1 << 20;

/// A channel. Cheap to share; a hold on it keeps nothing of it alive.
pub trait Channel: Send + Sync {
    /// What this kind promises, in the order of [`Promise::ALL`].
    fn promises(&self) -> &'static [Promise];
    /// Opens the channel for a producer in an epoch of its own, and fences its older epochs: all durable before this
    /// completes. The same epoch may be opened again.
    ///
    /// # Errors
    /// [`ChannelError::Fenced`] when the producer opened a newer epoch before, [`ChannelError::Stranger`] for who has no
    /// link to the channel.
    fn open(&self, producer: &str, epoch: Epoch) -> Fut<'static, Result<Box<dyn Producer>, ChannelError>>;
    /// Joins a group, and ends the member's older session. Its first word is [`ToMember::Joined`].
    ///
    /// # Errors
    /// [`ChannelError::Stranger`] for who is no member of the group.
    fn join(&self, joining: Joining) -> Fut<'static, Result<Box<dyn Member>, ChannelError>>;
}

/// A producer's hold on a channel, in one epoch.
pub trait Producer: Send {
    /// The last number that the channel held of this producer when it was opened; 0 for none.
    fn last(&self) -> Seq;
    /// Stores packets, numbered from `first` on in the producer's own count, and completes once they are durable, with the
    /// last number that is then held. What is held already is left out: to repeat is fine. Several publishes may be under
    /// way: they are called in order, and first polled in that order. At most [`PUBLISH_PACKETS_MAX`] packets and
    /// [`PUBLISH_BYTES_MAX`] bytes at a time. A packet keeps the epoch that its identity names.
    ///
    /// # Errors
    /// [`ChannelError::OutOfSequence`] when packets are missing before `first`, [`ChannelError::Fenced`] once a newer epoch
    /// was opened, [`ChannelError::TooLarge`]: nothing was stored. After [`ChannelError::Full`] the first of them may be, and
    /// after [`ChannelError::Closed`] and [`ChannelError::Failed`] nobody knows; opening again tells.
    fn publish(&mut self, first: Seq, packets: Vec<Bytes>) -> Fut<'static, Result<Seq, ChannelError>>;
}

/// A member's session. Dropping it ends the session; what it holds stays its own until its lease ends, or until it joins
/// again.
pub trait Member: Send {
    /// What the channel says next. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`ChannelError::Closed`] when the session has ended: its keeper stopped, or the member joined anew elsewhere.
    fn hear(&mut self) -> Fut<'_, Result<ToMember, ChannelError>>;
    /// Says what became of packets. An ack and a rejection are answered, by [`ToMember::Settled`] once durable or by
    /// [`ToMember::Fenced`]; a retry and an extension are answered only when they change nothing, by the latter.
    ///
    /// # Errors
    /// [`ChannelError::Closed`] when the session has ended.
    fn settle(&mut self, settle: Settle) -> Fut<'_, Result<(), ChannelError>>;
}

/// Who wants to take its share of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joining {
    /// The group.
    pub group: String,
    /// The member.
    pub member: String,
    /// Most packets that it wants to hold at a time; at least 1.
    pub credits: u32,
    /// What it still holds of an earlier session: lease and packet. The rest of what it held is free at once.
    pub holding: BTreeSet<(u64, Seq)>,
}

/// Something that a kind of channel may promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// Each producer's packets are stored once and in order, by their numbers: repeats are left out, gaps refused.
    Numbers,
    /// A producer's older epochs are fenced.
    Epochs,
    /// `meta.idempotency_key` is remembered: a late retry is left out, another payload is a conflict.
    BusinessKeys,
    /// Several groups each see everything; the members of one compete.
    Groups,
    /// A packet is held under a lease, which ends with `ack_wait` or with its member; only its holder settles.
    Leases,
    /// Settles name a generation, which grows with each join.
    Generations,
    /// A group's floor is told; it only grows, and covers nothing that is not settled.
    Floors,
    /// A member may give a packet back, for a time.
    Retry,
    /// A member may hold on to a packet.
    Extend,
    /// What can't be delivered is kept as a dead letter.
    DeadLetters,
    /// Deliveries are counted and bounded.
    MaxDeliver,
    /// At most so many packets of a group are under lease.
    MaxAckPending,
    /// Packets of a key keep their order, and are one member's at a time.
    KeyOrder,
    /// All packets keep their order.
    StrictOrder,
    /// `on_poison: park_key`.
    ParkKey,
    /// `on_poison: block_key`.
    BlockKey,
    /// All of it outlives the end of the channel's keeper, planned or not.
    Durable,
}

impl Promise {
    /// All that can be promised.
    pub const ALL: [Promise; 17] = [
        Promise::Numbers,
        Promise::Epochs,
        Promise::BusinessKeys,
        Promise::Groups,
        Promise::Leases,
        Promise::Generations,
        Promise::Floors,
        Promise::Retry,
        Promise::Extend,
        Promise::DeadLetters,
        Promise::MaxDeliver,
        Promise::MaxAckPending,
        Promise::KeyOrder,
        Promise::StrictOrder,
        Promise::ParkKey,
        Promise::BlockKey,
        Promise::Durable,
    ];

    /// A short name, as tables have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Promise::Numbers => "numbers",
            Promise::Epochs => "epochs",
            Promise::BusinessKeys => "business keys",
            Promise::Groups => "groups",
            Promise::Leases => "leases",
            Promise::Generations => "generations",
            Promise::Floors => "floors",
            Promise::Retry => "retry",
            Promise::Extend => "extend",
            Promise::DeadLetters => "dead letters",
            Promise::MaxDeliver => "max_deliver",
            Promise::MaxAckPending => "max_ack_pending",
            Promise::KeyOrder => "order: key",
            Promise::StrictOrder => "order: strict",
            Promise::ParkKey => "park_key",
            Promise::BlockKey => "block_key",
            Promise::Durable => "durable",
        }
    }
}

/// Why a channel did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// It knows no such producer, group or member.
    #[error("could not find a link of {who} to the channel")]
    Stranger {
        /// Who asked.
        who: String,
    },
    /// A newer epoch of the producer was opened.
    #[error("could not go on in epoch {}: epoch {} of the producer was opened since", epoch.0, current.0)]
    Fenced {
        /// The epoch that came.
        epoch: Epoch,
        /// The epoch that holds.
        current: Epoch,
    },
    /// Packets are missing in between. Nothing was stored.
    #[error("could not take packets from {found}: {expected} comes next")]
    OutOfSequence {
        /// The first that came.
        found: Seq,
        /// The only first that leaves no gap.
        expected: Seq,
    },
    /// No room now for all of them. The first may have found some; the same packets may come again.
    #[error("could not find room in the channel")]
    Full,
    /// More than the channel takes at a time. Nothing was stored.
    #[error("could not take {packets} packets of {bytes} bytes at a time")]
    TooLarge {
        /// How many.
        packets: usize,
        /// Their bytes.
        bytes: usize,
    },
    /// The hold on the channel has ended: its keeper stopped, or a newer hold took over.
    #[error("could not go on: the hold on the channel has ended")]
    Closed,
    /// What keeps the channel, or leads to it, failed.
    #[error("could not reach what keeps the channel")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
}

impl From<Rejection> for ChannelError {
    fn from(rejection: Rejection) -> ChannelError {
        match rejection {
            Rejection::Fenced { offered, current } => ChannelError::Fenced { epoch: offered, current },
            Rejection::OutOfSequence { first, expected } => ChannelError::OutOfSequence { found: first, expected },
            other @ (Rejection::Unopened { .. } | Rejection::TooMany) => ChannelError::Failed(Box::new(other)),
        }
    }
}

/// Checks what can be told of a publish alone.
///
/// # Errors
/// [`ChannelError::TooLarge`] beyond the limits.
///
/// # Panics
/// When there are no packets, or they are numbered from 0.
pub(crate) fn check_publish(first: Seq, packets: &[Bytes]) -> Result<(), ChannelError> {
    assert!(first > Seq(0) && !packets.is_empty(), "{} packets are published from {first} on", packets.len());
    let bytes = packets.iter().map(Bytes::len).sum();
    if packets.len() > PUBLISH_PACKETS_MAX || packets.len() > 1 && bytes > PUBLISH_BYTES_MAX {
        return Err(ChannelError::TooLarge { packets: packets.len(), bytes });
    }
    Ok(())
}
