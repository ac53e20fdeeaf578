//! What the engine reports of its own work: the catalogue of probe events.
//!
//! Loss, duplicates, order and durability are never judged from these: they serve triggers, timing, counters and the
//! stage split. The names are a wall: scenarios trigger on their counts.

use crate::packet::{Epoch, Identity, Seq};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A node, a channel, a lane or a journal of this process; cheap to clone.
pub type Place = Arc<str>;

/// One event. Host and time are added by whoever receives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What happened.
    pub what: What,
    /// Where: node or channel.
    pub place: Place,
    /// The packet, where there is one.
    pub identity: Option<Identity>,
    /// Sequence in the channel or input, or LSN; 0 where there is none.
    pub seq: Seq,
    /// How many-th delivery of that packet at that place; the first is 1, and 0 means not applicable.
    pub attempt: u32,
}

/// Who holds a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The member.
    pub member: Place,
    /// Its lease.
    pub lease: u64,
}

/// The closed list of what can happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// A source brought a packet in.
    Entered,
    /// A node handled a packet.
    Processed,
    /// A node let a packet end without output.
    Filtered,
    /// A node made a packet.
    Produced,
    /// A channel handed a packet to a consumer.
    Granted {
        /// Who holds it, where packets are leased.
        to: Option<Holder>,
    },
    /// A member's session of a group began, durably.
    Joined {
        /// The member.
        member: Place,
        /// The generation that began with it.
        generation: u64,
    },
    /// A member's session ended; what it holds stays its own until its time is up.
    Left {
        /// The member.
        member: Place,
    },
    /// A packet's cursor entry was written durably.
    Settled {
        /// False when it had been settled before.
        took_effect: bool,
    },
    /// A sink confirmed a packet.
    SinkAcked,
    /// A packet was dropped by a named rule.
    Dropped {
        /// The rule, e.g. `inbox.drop_new`.
        reason: Place,
    },
    /// A packet ended as a dead letter.
    DeadLettered {
        /// The class, e.g. `attempts.exhausted`.
        reason: Place,
    },
    /// A packet was appended durably to a channel.
    Committed,
    /// A channel's host took what came over a lane; `seq` is the producer's last number there.
    Admitted {
        /// The producing process.
        producer: Place,
        /// The epoch in which its connection was opened.
        epoch: Epoch,
    },
    /// A journal frame counts from now on, though it is not synced; `seq` is the LSN behind it.
    Confirmed,
    /// A journal frame became durable; all below the LSN `seq` is.
    Synced,
    /// A journal was opened; `seq` is its next LSN.
    Recovered,
    /// Something was refused.
    Refused {
        /// Why, e.g. `journal.full`, `lane.duplicate`.
        reason: Place,
    },
    /// An assertion was looked at. It belongs to this binary's catalogue, and can't be written down as others can.
    #[serde(skip)]
    Asserted {
        /// Which, by its id in the catalogue.
        #[serde(skip)]
        id: &'static str,
        /// Whether it held.
        held: bool,
    },
}

impl What {
    /// The name that scenarios and traces use.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            What::Entered => "entered",
            What::Processed => "processed",
            What::Filtered => "filtered",
            What::Produced => "produced",
            What::Granted { .. } => "granted",
            What::Joined { .. } => "joined",
            What::Left { .. } => "left",
            What::Settled { .. } => "settled",
            What::SinkAcked => "sink.acked",
            What::Dropped { .. } => "dropped",
            What::DeadLettered { .. } => "dead_lettered",
            What::Committed => "committed",
            What::Admitted { .. } => "admitted",
            What::Confirmed => "confirmed",
            What::Synced => "synced",
            What::Recovered => "recovered",
            What::Refused { .. } => "refused",
            What::Asserted { .. } => "asserted",
        }
    }
}
