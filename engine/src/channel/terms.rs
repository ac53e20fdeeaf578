//! What is said about leases: grants, outcomes, what a host and a member tell each other, and why a lease or a packet ended.

use std::sync::Arc;

use bytes::Bytes;

use crate::packet::Seq;

/// A member's name: its process.
pub type MemberName = Arc<str>;

/// What a member says about packets that it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done, durably.
    Ack,
    /// Can never be done.
    Reject,
    /// Not now; again after so many ns, or after the channel's backoff.
    Retry {
        /// The wait, ns.
        delay_ns: Option<u64>,
    },
    /// Still at it: the lease begins anew.
    Extend,
}

impl Outcome {
    /// True when the packet's delivery ends with it, for good.
    #[must_use]
    pub fn is_end(self) -> bool {
        matches!(self, Outcome::Ack | Outcome::Reject)
    }
}

/// A packet that goes to a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// To whom.
    pub member: MemberName,
    /// The member's session that it goes to.
    pub session: u64,
    /// The lease that it is held under.
    pub lease: u64,
    /// The packet.
    pub seq: Seq,
    /// How many-th delivery this is; the first is 1.
    pub delivery: u32,
}

/// Why a packet is delivered no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// It was delivered as often as may be.
    Exhausted,
    /// An earlier packet of its key became a dead letter, and the key was parked.
    KeyParked,
}

/// A lease that ended without a settle: the packet is delivered again, or given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The packet.
    pub seq: Seq,
    /// The lease.
    pub lease: u64,
    /// Who held it.
    pub member: MemberName,
    /// Why; what went with an earlier packet of its key has that one's reason.
    pub why: Why,
}

/// Why a lease ended without a settle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its time was up.
    Expired,
    /// Its member gave it back.
    Retried,
    /// Its member came back without it.
    MemberGone,
}

impl Why {
    /// The reason that events name.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Why::Expired => "lease.expired",
            Why::Retried => "lease.retry",
            Why::MemberGone => "lease.member_gone",
        }
    }
}

/// What came of a settle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The settle took effect.
    pub took: Vec<Seq>,
    /// Not this member's, or not any more. Settled earlier, or fenced: the group's cursor knows.
    pub not_held: Vec<Seq>,
}

/// What a host tells a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToMember {
    /// First: the member is in. What it said to hold and doesn't any more is [`ToMember::Fenced`] next, lease by lease.
    Joined {
        /// The generation that its settles must name.
        generation: u64,
        /// Another one than before: the channel's numbers begin anew, and what was taken says nothing about them.
        incarnation: u64,
        /// All up to it are settled by the group.
        floor: Seq,
    },
    /// Packets, under one lease.
    Granted {
        /// The lease.
        lease: u64,
        /// Each packet's number, how many-th delivery this is, and its encoding.
        packets: Vec<(Seq, u32, Bytes)>,
    },
    /// Settles took effect, durably, or had before.
    Settled {
        /// The lease that they named.
        lease: u64,
        /// The packets.
        seqs: Vec<Seq>,
        /// All up to it are settled by the group.
        floor: Seq,
        /// Beyond it, what the group has settled around these packets, whoever took it: from and to, ascending. May be left out.
        around: Vec<(Seq, Seq)>,
    },
    /// A settle changed nothing, or a lease has ended.
    Fenced {
        /// The generation that holds.
        generation: u64,
        /// The settle named another generation, and the lease is live: it may be said again. Otherwise it is over.
        still_held: bool,
        /// The lease that was named, or has ended.
        lease: u64,
        /// The packets.
        seqs: Vec<Seq>,
    },
    /// A new generation began; what the member holds stays its own.
    Generation {
        /// It.
        generation: u64,
    },
}

/// What a member says about packets that it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settle {
    /// The generation that it knows.
    pub generation: u64,
    /// The lease that it holds them under.
    pub lease: u64,
    /// The packets.
    pub seqs: Vec<Seq>,
    /// What became of them.
    pub outcome: Outcome,
    /// Why, for [`Outcome::Reject`].
    pub reason: String,
}
