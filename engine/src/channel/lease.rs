//! Who holds which packets of a channel, for one group: leases, generations, redelivery, order and poison.
//!
//! ```text
//!            offer              grant                settle(ack, reject)
//!  channel ───────► waiting ───────────► leased ──────────────────────► gone
//!                     ▲  │                 │ expired, retried, its member came back without it
//!                     │  │                 ▼
//!                     │  │             max_deliver reached? ── no ─┐
//!                     │  └─ key parked ─► spent ◄──── yes          │
//!                     └────────────────────────────────────────────┘
//! ```
//! A lease belongs to a member and a generation. Another generation, lease or session than the live one settles nothing.
//! A lease outlives its connection, not its time: a member that lost its host for a while goes on where it was.

use std::collections::{BTreeMap, BTreeSet};

pub use super::terms::{Ended, Grant, MemberName, Outcome, Spent, Verdict, Why};
use crate::packet::Seq;
use crate::process::{ChannelOptions, OnPoison, Order};

/// Most packets that may stand with blocked keys; then the group stands, too.
const STANDING_MAX: usize = 1 << 16;
/// Most bytes of packets that a member holds, beyond which it gets none. The one that goes beyond may be as large as any.
const HELD_BYTES_MAX: usize = 8 << 20;
/// When a lease ends that was granted and not handed out: not by itself.
const HELD_BACK: u64 = u64::MAX;
/// Most keys that are parked; of further ones only the poison itself becomes a dead letter.
const PARKED_MAX: usize = 4096;

/// The leases of one group of one channel.
#[derive(Debug)]
pub struct Leases {
    options: ChannelOptions,
    generation: u64,
    last_lease: u64,
    members: BTreeMap<MemberName, Member>,
    packets: BTreeMap<Seq, Packet>,
    /// Those that wait, leased to nobody.
    waiting: BTreeSet<Seq>,
    /// When leases end, and when waits end.
    timers: BTreeSet<(u64, Seq)>,
    keys: BTreeMap<u64, Holder>,
    parked: BTreeSet<u64>,
    /// Keys that stand, and how many packets stand with them.
    blocked: BTreeSet<u64>,
    standing: usize,
    spent: BTreeMap<Seq, Spent>,
    ended: Vec<Ended>,
    leased: usize,
    /// Packets that were granted so far.
    grants: u64,
}

#[derive(Debug)]
struct Member {
    session: u64,
    /// Most that it wants to hold; 0 while it is away.
    credits: usize,
    held: usize,
    /// Bytes of those.
    held_bytes: usize,
    /// The how many-th grant it got last: among equals, the one whose turn is longest ago takes the next.
    turn: u64,
    /// It holds a packet on its last delivery, and nothing else meanwhile.
    alone: bool,
}

#[derive(Debug)]
struct Packet {
    key: Option<u64>,
    bytes: usize,
    deliveries: u32,
    /// When it was first delivered, by this table.
    first_ns: Option<u64>,
    stand: Stand,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stand {
    Waiting {
        due_ns: u64,
    },
    Leased {
        lease: u64,
        member: MemberName,
        until_ns: u64,
    },
    /// It will be a dead letter.
    Spent,
    /// It stays, and keeps its key from going on.
    Blocked,
}

/// Who holds a key's packets.
#[derive(Debug)]
struct Holder {
    member: MemberName,
    leased: BTreeSet<Seq>,
    /// It holds a suspect: the rest of the key waits.
    again: bool,
}

impl Leases {
    /// No leases yet. `generation` is the last one of which a lease may have been granted.
    #[must_use]
    pub fn new(options: ChannelOptions, generation: u64, parked: BTreeSet<u64>) -> Self {
        Leases {
            options,
            generation,
            // Numbers are never given again, by no later life either: a settle that comes late names a lease that is over.
            last_lease: generation << 32,
            members: BTreeMap::new(),
            packets: BTreeMap::new(),
            waiting: BTreeSet::new(),
            timers: BTreeSet::new(),
            keys: BTreeMap::new(),
            parked,
            blocked: BTreeSet::new(),
            standing: 0,
            spent: BTreeMap::new(),
            ended: Vec::new(),
            leased: 0,
            grants: 0,
        }
    }

    /// The generation that leases are granted in.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// How many more packets may be offered: twice what may be leased is looked at, so that free keys find work. What stands
    /// with a blocked key takes no part of that, up to a bound of its own.
    #[must_use]
    pub fn room(&self) -> usize {
        let moving = self.packets.len() - self.standing;
        let room = (2 * self.options.max_ack_pending as usize).saturating_sub(moving);
        room.min(STANDING_MAX.saturating_sub(self.standing))
    }

    /// True when a packet stands with a blocked key: nobody will get it soon.
    #[must_use]
    pub fn is_standing(&self, seq: Seq) -> bool {
        self.packets.get(&seq).is_some_and(|packet| packet.stand == Stand::Blocked)
    }

    /// Takes in a packet of so many bytes that the group has not settled, and that was delivered so often before.
    ///
    /// # Panics
    /// When it is here already.
    pub fn offer(&mut self, seq: Seq, key: Option<u64>, deliveries: u32, bytes: usize) {
        let key = match self.options.order {
            Order::None => None,
            Order::Key => key,
            Order::Strict => Some(0),
        };
        let new = Packet { key, bytes, deliveries, first_ns: None, stand: Stand::Waiting { due_ns: 0 } };
        assert!(self.packets.insert(seq, new).is_none(), "packet {seq} was offered twice");
        self.waiting.insert(seq);
        self.judge(seq);
    }

    /// A member came, or came again: in this session it wants at most `credits`, and still holds `holding` (lease and
    /// packet). What it held and no longer knows of is free at once. Gives the new generation, which must be durable
    /// before [`Leases::grant`].
    pub fn join(
        &mut self,
        member: &MemberName,
        session: u64,
        credits: usize,
        holding: &BTreeSet<(u64, Seq)>,
        now_ns: u64,
    ) -> u64 {
        self.generation += 1;
        let held = |(seq, packet): (&Seq, &Packet)| match &packet.stand {
            Stand::Leased { lease, member: holder, .. } if holder == member => Some((*lease, *seq)),
            _ => None,
        };
        let forgotten: Vec<Seq> =
            self.packets.iter().filter_map(held).filter(|held| !holding.contains(held)).map(|(_, seq)| seq).collect();
        for seq in forgotten {
            // It may have gone with an earlier one of its key.
            if self.is_leased(seq) {
                self.release(seq, now_ns, Why::MemberGone);
            }
        }
        let credits = credits.max(1);
        let known = self.members.entry(member.clone());
        let known = known.or_insert(Member { session, credits, held: 0, held_bytes: 0, turn: 0, alone: false });
        (known.session, known.credits) = (session, credits);
        self.generation
    }

    /// A member's session ended. It gets nothing more until it joins again; what it holds stays its own until it expires.
    pub fn away(&mut self, member: &str, session: u64) {
        if let Some(known) = self.members.get_mut(member)
            && known.session == session
        {
            known.credits = 0;
        }
    }

    /// Hands out what can be handed out, in order of the packets.
    pub fn grant(&mut self, now_ns: u64, max: usize) -> Vec<Grant> {
        let mut grants = Vec::new();
        let mut gated: BTreeSet<u64> = BTreeSet::new();
        let waiting: Vec<Seq> = self.waiting.iter().copied().collect();
        let lease = self.last_lease + 1;
        for seq in waiting {
            if grants.len() == max
                || self.leased >= self.options.max_ack_pending as usize
                || self.members.values().all(|member| !member.is_free())
            {
                break;
            }
            let packet = &self.packets[&seq];
            let (key, delivery) = (packet.key, packet.deliveries + 1);
            let due = matches!(packet.stand, Stand::Waiting { due_ns } if due_ns <= now_ns);
            let member = if due && !key.is_some_and(|key| gated.contains(&key)) {
                self.taker(key, delivery, self.is_last(delivery))
            } else {
                None
            };
            let Some(member) = member else {
                if due && self.is_last(delivery) {
                    self.make_way();
                }
                gated.extend(key);
                continue;
            };
            self.last_lease = lease;
            self.lease(seq, &member, lease, now_ns);
            grants.push(Grant { session: self.members[&member].session, member, lease, seq, delivery });
        }
        grants
    }

    /// A last delivery waits for a member that holds nothing: one of them gets nothing more until it does.
    fn make_way(&mut self) {
        if self.members.values().any(|member| member.alone && member.credits > 0) {
            return;
        }
        let busy = self.members.values_mut().filter(|member| member.credits > 0 && member.held > 0);
        if let Some(member) = busy.min_by_key(|member| member.held) {
            member.alone = true;
        }
    }

    /// True when nothing follows but the dead letters: such a packet goes alone, so that only what really kills its member is
    /// found to do so.
    fn is_last(&self, delivery: u32) -> bool {
        self.options.max_deliver.is_some_and(|max| delivery >= max && max > 1)
    }

    /// True when a packet was delivered before and may be given up: the rest of its key waits until it is settled, so that
    /// they are not given up with it.
    fn is_suspect(&self, delivery: u32) -> bool {
        self.options.max_deliver.is_some() && delivery > 1
    }

    /// Who gets the next packet of a key.
    fn taker(&self, key: Option<u64>, delivery: u32, last: bool) -> Option<MemberName> {
        let fits = |member: &Member| member.is_free() && !(last && member.held > 0);
        if let Some(holder) = key.and_then(|key| self.keys.get(&key)) {
            let fits = !holder.again && !self.is_suspect(delivery) && fits(&self.members[&holder.member]);
            return fits.then(|| holder.member.clone());
        }
        let free = self.members.iter().filter(|(_, member)| fits(member));
        free.min_by_key(|(_, member)| (member.held, member.turn)).map(|(name, _)| name.clone())
    }

    fn lease(&mut self, seq: Seq, member: &MemberName, lease: u64, now_ns: u64) {
        let packet = self.packets.get_mut(&seq).expect("what waits is here");
        if let Stand::Waiting { due_ns } = packet.stand {
            self.timers.remove(&(due_ns, seq));
        }
        let until_ns = now_ns.saturating_add(self.options.ack_wait_ns);
        packet.deliveries += 1;
        packet.first_ns.get_or_insert(now_ns);
        packet.stand = Stand::Leased { lease, member: member.clone(), until_ns };
        let (key, deliveries, bytes) = (packet.key, packet.deliveries, packet.bytes);
        let suspect = self.is_suspect(deliveries);
        self.timers.insert((until_ns, seq));
        self.waiting.remove(&seq);
        self.leased += 1;
        self.grants += 1;
        let last = self.is_last(deliveries);
        let holder = self.members.get_mut(member).expect("who takes is a member");
        holder.held += 1;
        holder.held_bytes += bytes;
        holder.turn = self.grants;
        holder.alone |= last;
        if let Some(key) = key {
            let none = || Holder { member: member.clone(), leased: BTreeSet::new(), again: false };
            let holder = self.keys.entry(key).or_insert_with(none);
            holder.leased.insert(seq);
            holder.again |= suspect;
        }
    }

    /// A member settles packets. Nothing changes for what it doesn't hold under that lease, in this generation and session.
    pub fn settle(
        &mut self,
        member: &str,
        session: u64,
        generation: u64,
        (lease, seqs): (u64, &[Seq]),
        outcome: Outcome,
        now_ns: u64,
    ) -> Verdict {
        let mut verdict = Verdict::default();
        let current = generation == self.generation
            && self.members.get(member).is_some_and(|known| known.session == session && known.credits > 0);
        for seq in seqs {
            if !current || !self.is_held(*seq, lease, member) {
                verdict.not_held.push(*seq);
                continue;
            }
            verdict.took.push(*seq);
            match outcome {
                Outcome::Ack | Outcome::Reject => self.forget(*seq),
                Outcome::Retry { delay_ns } => {
                    let wait_ns = delay_ns.unwrap_or_else(|| self.backoff_ns(*seq));
                    self.release(*seq, now_ns.saturating_add(wait_ns), Why::Retried);
                }
                Outcome::Extend => self.set_until(*seq, Some(now_ns.saturating_add(self.options.ack_wait_ns))),
            }
        }
        verdict
    }

    /// Ends what has run out of time.
    pub fn expire(&mut self, now_ns: u64) {
        while let Some(&(at_ns, seq)) = self.timers.first()
            && at_ns <= now_ns
        {
            self.timers.pop_first();
            if self.is_leased(seq) {
                let due_ns = now_ns.saturating_add(self.backoff_ns(seq));
                self.release(seq, due_ns, Why::Expired);
            }
        }
    }

    /// What was granted is yet to be handed out: its time does not run before [`Leases::hand_out`], and what is taken back
    /// until then was not delivered.
    pub fn hold_back(&mut self, grants: &[Grant]) {
        grants.iter().for_each(|grant| self.set_until(grant.seq, None));
    }

    /// A packet goes to its member: from now on the lease's time runs. False when `member` holds it no more.
    pub fn hand_out(&mut self, grant: &Grant, now_ns: u64) -> bool {
        let held = self.is_held(grant.seq, grant.lease, &grant.member);
        if held {
            self.set_until(grant.seq, Some(now_ns.saturating_add(self.options.ack_wait_ns)));
        }
        held
    }

    /// When the lease of a packet ends; `None` for not by itself.
    fn set_until(&mut self, seq: Seq, until: Option<u64>) {
        let Some(Packet { stand: Stand::Leased { until_ns, .. }, .. }) = self.packets.get_mut(&seq) else { return };
        self.timers.remove(&(*until_ns, seq));
        *until_ns = until.unwrap_or(HELD_BACK);
        self.timers.extend(until.map(|until| (until, seq)));
    }

    /// The leases that ended without a settle since this was last asked.
    pub fn take_ended(&mut self) -> Vec<Ended> {
        std::mem::take(&mut self.ended)
    }

    /// True when `member` holds a packet under that very lease.
    #[must_use]
    pub fn is_held(&self, seq: Seq, lease: u64, member: &str) -> bool {
        let held = |packet: &Packet| matches!(&packet.stand, Stand::Leased { lease: live, member: holder, .. } if *live == lease && **holder == *member);
        self.packets.get(&seq).is_some_and(held)
    }

    /// What a member believes to hold and doesn't, by lease.
    #[must_use]
    pub fn over(&self, member: &str, holding: &BTreeSet<(u64, Seq)>) -> BTreeMap<u64, Vec<Seq>> {
        let mut over: BTreeMap<u64, Vec<Seq>> = BTreeMap::new();
        for (lease, seq) in holding.iter().filter(|(lease, seq)| !self.is_held(*seq, *lease, member)) {
            over.entry(*lease).or_default().push(*seq);
        }
        over
    }

    /// The lease and the member that hold a packet now.
    #[must_use]
    pub fn holder(&self, seq: Seq) -> Option<(u64, &str)> {
        match &self.packets.get(&seq)?.stand {
            Stand::Leased { lease, member, .. } => Some((*lease, member)),
            _ => None,
        }
    }

    fn is_leased(&self, seq: Seq) -> bool {
        self.packets.get(&seq).is_some_and(|packet| matches!(packet.stand, Stand::Leased { .. }))
    }

    /// When to look again: a lease or a wait ends then.
    #[must_use]
    pub fn next_timer(&self) -> Option<u64> {
        self.timers.first().map(|(at_ns, _)| *at_ns)
    }

    /// Packets that are to become dead letters, in order. They stay until [`Leases::forget`].
    #[must_use]
    pub fn spent(&self) -> Vec<(Seq, Spent)> {
        self.spent.iter().map(|(seq, why)| (*seq, *why)).collect()
    }

    /// Keys that are parked.
    #[must_use]
    pub fn parked(&self) -> &BTreeSet<u64> {
        &self.parked
    }

    /// How often a packet was delivered, and when first, as far as this table knows; monotonic ns.
    #[must_use]
    pub fn deliveries(&self, seq: Seq) -> (u32, Option<u64>) {
        self.packets.get(&seq).map_or((0, None), |packet| (packet.deliveries, packet.first_ns))
    }

    /// A packet is settled: nothing is known of it any more.
    pub fn forget(&mut self, seq: Seq) {
        self.unlease(seq);
        self.spent.remove(&seq);
        self.waiting.remove(&seq);
        match self.packets.remove(&seq).map(|packet| packet.stand) {
            Some(Stand::Waiting { due_ns }) => drop(self.timers.remove(&(due_ns, seq))),
            Some(Stand::Blocked) => self.standing -= 1,
            _ => {}
        }
    }

    /// Packets that are leased now.
    #[must_use]
    pub fn leased(&self) -> usize {
        self.leased
    }

    fn backoff_ns(&self, seq: Seq) -> u64 {
        let doublings = self.packets.get(&seq).map_or(0, |packet| packet.deliveries.saturating_sub(1)).min(32);
        self.options.backoff_ns.saturating_mul(1 << doublings).min(self.options.backoff_max_ns)
    }

    /// Takes a packet from its member, to be delivered again from `due_ns` on. Later packets of its key go with it: they may
    /// not arrive before it.
    fn release(&mut self, seq: Seq, due_ns: u64, why: Why) {
        let mut freed = vec![seq];
        if let Some(holder) = self.packets[&seq].key.and_then(|key| self.keys.get(&key)) {
            freed.extend(holder.leased.range(seq.next()..));
        }
        for seq in freed {
            let mut held_back = false;
            if let Stand::Leased { lease, member, until_ns } = &self.packets[&seq].stand {
                self.ended.push(Ended { seq, lease: *lease, member: member.clone(), why });
                held_back = *until_ns == HELD_BACK;
            }
            self.unlease(seq);
            let packet = self.packets.get_mut(&seq).expect("it was held a moment ago");
            packet.deliveries -= u32::from(held_back);
            packet.stand = Stand::Waiting { due_ns };
            self.waiting.insert(seq);
            self.timers.insert((due_ns, seq));
            self.judge(seq);
        }
    }

    fn unlease(&mut self, seq: Seq) {
        let Some(packet) = self.packets.get_mut(&seq) else { return };
        let Stand::Leased { member, until_ns, .. } = &packet.stand else { return };
        let (member, until_ns, key, bytes) = (member.clone(), *until_ns, packet.key, packet.bytes);
        packet.stand = Stand::Waiting { due_ns: 0 };
        self.timers.remove(&(until_ns, seq));
        self.leased -= 1;
        let known = self.members.get_mut(&member).expect("who holds is a member");
        known.held -= 1;
        known.held_bytes -= bytes;
        known.alone &= known.held > 0;
        if let Some(key) = key {
            let holder = self.keys.get_mut(&key).expect("a key with leases has a holder");
            holder.leased.remove(&seq);
            if holder.leased.is_empty() {
                self.keys.remove(&key);
            }
        }
    }

    /// Decides whether a packet that waits is delivered at all.
    fn judge(&mut self, seq: Seq) {
        let packet = &self.packets[&seq];
        let key = packet.key;
        if key.is_some_and(|key| self.parked.contains(&key)) {
            return self.spend(seq, Spent::KeyParked);
        }
        if key.is_some_and(|key| self.blocked.contains(&key)) {
            return self.stand(seq);
        }
        if self.options.max_deliver.is_none_or(|max| packet.deliveries < max) {
            return;
        }
        match (self.options.on_poison, key) {
            (OnPoison::BlockKey, Some(key)) => {
                self.blocked.insert(key);
                self.of_key(key).into_iter().for_each(|seq| self.stand(seq));
            }
            (OnPoison::ParkKey, Some(key)) if self.parked.len() < PARKED_MAX => {
                self.parked.insert(key);
                self.spend(seq, Spent::Exhausted);
                self.of_key(key).into_iter().for_each(|seq| self.spend(seq, Spent::KeyParked));
            }
            _ => self.spend(seq, Spent::Exhausted),
        }
    }

    /// The packets of a key that wait.
    fn of_key(&self, key: u64) -> Vec<Seq> {
        self.waiting.iter().copied().filter(|seq| self.packets[seq].key == Some(key)).collect()
    }

    /// It stays, for as long as its key is blocked.
    fn stand(&mut self, seq: Seq) {
        let packet = self.packets.get_mut(&seq).expect("what stands is here");
        if let Stand::Waiting { due_ns } = packet.stand {
            self.timers.remove(&(due_ns, seq));
        }
        packet.stand = Stand::Blocked;
        self.waiting.remove(&seq);
        self.standing += 1;
    }

    fn spend(&mut self, seq: Seq, why: Spent) {
        let packet = self.packets.get_mut(&seq).expect("what is spent is here");
        if let Stand::Waiting { due_ns } = packet.stand {
            self.timers.remove(&(due_ns, seq));
        }
        packet.stand = Stand::Spent;
        self.waiting.remove(&seq);
        self.spent.insert(seq, why);
    }
}

impl Member {
    fn is_free(&self) -> bool {
        self.held < self.credits && self.held_bytes < HELD_BYTES_MAX && !self.alone
    }
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
