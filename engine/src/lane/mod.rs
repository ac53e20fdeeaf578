//! Lanes: the connection that carries channels from a producer process to their host, over gRPC (`docs/lane.md`).
//!
//! The lane never looks inside a packet and keeps nothing across a connection: what is un-acked stays in the producer's
//! [`Outbox`], what arrived is the host's [`Inlet`]'s. Every queue here is bounded by the credits that the host grants.

pub mod client;
mod door;
pub mod far;
mod heartbeat;
mod mailbox;
pub mod near;
pub mod protocol;
pub mod server;
pub mod take;
#[cfg(test)]
mod tests;
pub mod wire;

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::channel::producer::{JOURNALS_MAX, Rejection};
use crate::env::{Clock, Fut};
use crate::packet::{Epoch, Seq};

pub use mailbox::Mailbox;

/// Packets out of an outbox: sequence number, epoch of entry, and the bytes of `Packet::encode`.
pub type Unsent = Vec<(Seq, Epoch, Bytes)>;

/// What a producer has yet to send to one channel: a view of the outbox in its own journal.
pub trait Outbox: Send + Sync {
    /// The channel's name.
    fn channel(&self) -> &str;
    /// The producer's epoch, as of the opening of its journal; constant.
    fn epoch(&self) -> Epoch;
    /// Which journal it is in, as its numbers are that journal's; constant. `None` where the process has only ever one.
    fn journal(&self) -> Option<u128>;
    /// All up to it are acked durably by the host, as recorded by [`Outbox::settle`].
    fn floor(&self) -> Seq;
    /// Reads packets from `from` on, with consecutive sequence numbers and the epoch in which each entered; waits until
    /// there is at least one. Only packets that are durable here, or a crash could hand their numbers out again.
    /// At most `max_packets` and `max_bytes`, save that a first packet larger than `max_bytes` comes alone.
    fn read(&self, from: Seq, max_packets: usize, max_bytes: usize) -> Fut<'static, Result<Unsent, LaneError>>;
    /// Records that the host has all up to `upto`. Settling again is fine; settling what was never written means that
    /// this journal lost its end, and is [`LaneError::Ahead`].
    fn settle(&self, upto: Seq) -> Fut<'static, Result<(), LaneError>>;
}

/// Where a channel's host puts what arrives.
pub trait Inlet: Send + Sync {
    /// The channel's name.
    fn channel(&self) -> &str;
    /// Opens the channel for a producer, named as by [`crate::channel::producer::name`]: fences its older epochs durably and returns the last sequence number that is
    /// held, all of it durable (0 for none). An older epoch than one seen is [`LaneError::Fenced`]; a producer that the
    /// channel has no link from is [`LaneError::UnknownChannel`].
    fn open(&self, producer: &str, epoch: Epoch) -> Fut<'static, Result<Seq, LaneError>>;
    /// Whether a medium destroyed records here, which was reported: what was acked and is not held is among them.
    fn lost(&self) -> bool;
    /// Stores packets from a number on, before which so many are lost for good, each with the epoch in which it entered, and
    /// completes with the last sequence number held once all of them are durable. Packets already held are skipped. Several appends are in flight at a
    /// time: they are called in order, and first polled in that order. Once one failed, those behind it fail with
    /// [`LaneError::OutOfSequence`] and store nothing. After [`LaneError::Full`] those come again that it doesn't say are held.
    fn append(
        &self,
        producer: &str,
        epoch: Epoch,
        from: (Seq, u64),
        packets: Vec<(Epoch, Bytes)>,
    ) -> Fut<'static, Result<Seq, LaneError>>;
}

/// Why a lane, or one channel of it, could not go on. The client connects again after any of them.
#[derive(Debug, thiserror::Error)]
pub enum LaneError {
    /// No connection came about.
    #[error("could not connect to {process}")]
    Connect {
        /// The peer.
        process: String,
        /// The network's word.
        source: io::Error,
    },
    /// The process can't be reached by others.
    #[error("could not listen as {process}")]
    Listen {
        /// This process.
        process: String,
        /// The network's word.
        source: io::Error,
    },
    /// The connection broke, or the peer ended it.
    #[error("could not go on with the connection: {0}")]
    Broken(#[source] Box<tonic::Status>),
    /// The gRPC transport could not start.
    #[error("could not start gRPC")]
    Transport(#[from] tonic::transport::Error),
    /// The peer closed the stream in good order.
    #[error("could not go on: the peer closed the lane")]
    Closed,
    /// Not a byte came for [`protocol::SILENCE_NS`].
    #[error("could not hear anything from the peer for {} s", protocol::SILENCE_NS / 1_000_000_000)]
    Silent,
    /// The peer did not read for [`protocol::SILENCE_NS`].
    #[error("could not send: the peer has read nothing for {} s", protocol::SILENCE_NS / 1_000_000_000)]
    Stalled,
    /// A newer connection of the same process took over, or this side stopped.
    #[error("could not go on: the connection was cut on this side")]
    Cut,
    /// No protocol version in common.
    #[error(
        "could not agree on a protocol: this side speaks {} to {}, the peer {} to {}",
        ours.min, ours.max, theirs.min, theirs.max
    )]
    Version {
        /// What this side speaks.
        ours: protocol::v1::ProtocolRange,
        /// What the peer speaks.
        theirs: protocol::v1::ProtocolRange,
    },
    /// Someone else answered.
    #[error("could not find {expected}: {found} answered")]
    WrongPeer {
        /// Who was called.
        expected: String,
        /// Who answered.
        found: String,
    },
    /// One side doesn't believe who the other says it is: by its certificate, its name or its access token.
    #[error("could not authenticate: {why}")]
    Unauthenticated {
        /// What doesn't fit; names of processes, no secrets.
        why: String,
    },
    /// The peer broke the protocol.
    #[error("could not make sense of the peer: {0}")]
    Protocol(&'static str),
    /// The host has no such channel.
    #[error("could not find channel {channel} at the host")]
    UnknownChannel {
        /// The channel.
        channel: String,
    },
    /// The host knows too many journals of this process; it needs another name.
    #[error("could not publish to {channel}: the host knows {JOURNALS_MAX} journals of this process")]
    TooMany {
        /// The channel.
        channel: String,
    },
    /// A newer epoch of the same producer was seen.
    #[error("could not publish to {channel}: epoch {} is fenced by {}", epoch.0, current.0)]
    Fenced {
        /// The channel.
        channel: String,
        /// The epoch that was refused.
        epoch: Epoch,
        /// The epoch that holds.
        current: Epoch,
    },
    /// Packets are missing in between.
    #[error("could not take packets of {channel} from {found}: {expected} comes next")]
    OutOfSequence {
        /// The channel.
        channel: String,
        /// What came.
        found: Seq,
        /// What should have come.
        expected: Seq,
    },
    /// The host holds these packets already, or they are on their way to its disk. Nothing changed.
    #[error("could not take packets of {channel} from {found} again: {expected} comes next")]
    Duplicate {
        /// The channel.
        channel: String,
        /// What came.
        found: Seq,
        /// What comes next.
        expected: Seq,
    },
    /// No room in the host's journal; it will be tried again.
    #[error("could not find room for {channel}")]
    Full {
        /// The channel.
        channel: String,
        /// The last number that is held, or on its way to the disk: the first of a batch may have found room.
        held: Seq,
    },
    /// The host holds less than it acked: it lost acknowledged packets.
    #[error("could not resume {channel}: the host acked all up to {floor}, but holds only up to {last}")]
    Forgot {
        /// The channel.
        channel: String,
        /// Acked and settled here.
        floor: Seq,
        /// Held there.
        last: Seq,
    },
    /// The host holds less than it acked, because a medium destroyed the rest, as it reported: the channel goes on.
    #[error("the host of {channel} acked all up to {floor}, and holds only up to {last}: a medium destroyed the rest")]
    Lost {
        /// The channel.
        channel: String,
        /// Acked and settled here.
        floor: Seq,
        /// Held there.
        last: Seq,
    },
    /// The host holds more than was ever written here: this journal lost its end.
    #[error("could not resume {channel}: the host holds all up to {upto}, but only {end} were written here")]
    Ahead {
        /// The channel.
        channel: String,
        /// Held by the host.
        upto: Seq,
        /// Written here.
        end: Seq,
    },
    /// A packet is larger than a lane carries.
    #[error("could not send packet {seq} of {channel}: {bytes} bytes, at most {}", protocol::PACKET_BYTES_MAX)]
    TooLarge {
        /// The channel.
        channel: String,
        /// Which packet.
        seq: Seq,
        /// Its size.
        bytes: usize,
    },
    /// The journal behind an outbox or inlet failed.
    #[error("could not use the journal for {channel}")]
    Journal {
        /// The channel.
        channel: String,
        /// The journal's word.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl From<tonic::Status> for LaneError {
    fn from(status: tonic::Status) -> LaneError {
        LaneError::Broken(Box::new(status))
    }
}

impl LaneError {
    /// What a producer hears that a channel turned away.
    #[must_use]
    pub fn rejected(channel: &str, rejection: Rejection) -> LaneError {
        let channel = channel.to_owned();
        match rejection {
            Rejection::Fenced { offered, current } => LaneError::Fenced { channel, epoch: offered, current },
            Rejection::TooMany => LaneError::TooMany { channel },
            Rejection::Unopened { .. } => LaneError::Protocol("packets of an epoch that was never opened"),
            Rejection::OutOfSequence { first, expected } => {
                LaneError::OutOfSequence { channel, found: first, expected }
            }
        }
    }

    /// Whether it concerns one channel, which then rests on this connection while the others go on.
    pub(crate) fn closes(&self) -> bool {
        matches!(self, LaneError::Fenced { .. } | LaneError::UnknownChannel { .. } | LaneError::TooMany { .. })
    }

    /// A short name for counters and probe events, e.g. `lane.fenced`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            LaneError::Connect { .. } => "lane.connect",
            LaneError::Listen { .. } => "lane.listen",
            LaneError::Broken(_) | LaneError::Transport(_) => "lane.broken",
            LaneError::Closed => "lane.closed",
            LaneError::Silent => "lane.silent",
            LaneError::Stalled => "lane.stalled",
            LaneError::Cut => "lane.cut",
            LaneError::Version { .. } => "lane.version",
            LaneError::WrongPeer { .. } => "lane.wrong_peer",
            LaneError::Unauthenticated { .. } => "lane.unauthenticated",
            LaneError::Protocol(_) => "lane.protocol",
            LaneError::UnknownChannel { .. } => "lane.unknown_channel",
            LaneError::TooMany { .. } => "lane.too_many",
            LaneError::Fenced { .. } => "lane.fenced",
            LaneError::OutOfSequence { .. } => "lane.out_of_sequence",
            LaneError::Duplicate { .. } => "lane.duplicate",
            LaneError::Full { .. } => "lane.full",
            LaneError::Forgot { .. } => "lane.forgot",
            LaneError::Lost { .. } => "lane.lost",
            LaneError::Ahead { .. } => "lane.ahead",
            LaneError::TooLarge { .. } => "lane.too_large",
            LaneError::Journal { .. } => "lane.journal",
        }
    }
}

/// Completes with `work`, or with `TimedOut` once `ns` have passed.
pub(crate) async fn within<T>(clock: &Arc<dyn Clock>, ns: u64, work: impl Future<Output = T>) -> io::Result<T> {
    tokio::select! {
        biased;
        done = work => Ok(done),
        () = clock.sleep(ns) => Err(io::ErrorKind::TimedOut.into()),
    }
}
