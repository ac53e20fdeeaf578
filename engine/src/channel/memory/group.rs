//! One group of a channel in memory: its leases, its sessions, and what it is done with.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::Joining;
use crate::channel::lease::{Ended, Grant, Leases, MemberName, Outcome, Spent};
use crate::channel::terms::{Settle, ToMember};
use crate::node::Class;
use crate::packet::{Glance, Seq};
use crate::process::{ChannelOptions, GroupPlan};

/// Most packets that are handed out in one step.
const BATCH: usize = 256;
/// Most words that wait for a member, beside those about what it held when it joined; one that lets more gather has stalled, and
/// its session ends.
const WORDS_MAX: usize = 1024;

/// A packet that goes to a member: its number, how many-th delivery this is, and its bytes.
type Granted = (Seq, u32, Bytes);
/// A packet that the group is done with, and why where it was given up.
pub(super) type Done = (Seq, Option<(Class, String)>);

pub(super) struct Group {
    members: Vec<String>,
    leases: Leases,
    floor: Seq,
    /// Done above the floor.
    above: BTreeSet<Seq>,
    /// The next to be looked at.
    next: Seq,
    sessions: BTreeMap<MemberName, Open>,
    last_session: u64,
    told: u64,
}

struct Open {
    session: u64,
    words: VecDeque<ToMember>,
    words_max: usize,
}

impl Group {
    pub(super) fn new(plan: &GroupPlan, options: &ChannelOptions) -> Group {
        Group {
            members: plan.members.clone(),
            leases: Leases::new(options.clone(), 0, BTreeSet::new()),
            floor: Seq(0),
            above: BTreeSet::new(),
            next: Seq(1),
            sessions: BTreeMap::new(),
            last_session: 0,
            told: 0,
        }
    }

    pub(super) fn knows(&self, member: &str) -> bool {
        self.members.iter().any(|known| known == member)
    }

    pub(super) fn is_open(&self, member: &MemberName, session: u64) -> bool {
        self.sessions.get(member).is_some_and(|open| open.session == session)
    }

    pub(super) fn is_done(&self, seq: Seq) -> bool {
        seq <= self.floor || self.above.contains(&seq)
    }

    /// How many words were said to members so far.
    pub(super) fn told(&self) -> u64 {
        self.told
    }

    pub(super) fn next_timer(&self) -> Option<u64> {
        self.leases.next_timer()
    }

    /// The oldest word that waits for a member.
    pub(super) fn heard(&mut self, member: &MemberName) -> Option<ToMember> {
        self.sessions.get_mut(member)?.words.pop_front()
    }

    /// Lets a member in; gives its session.
    pub(super) fn join(&mut self, joining: &Joining, incarnation: u64, now_ns: u64) -> u64 {
        self.last_session += 1;
        let (member, session): (MemberName, u64) = (joining.member.as_str().into(), self.last_session);
        let generation = self.leases.join(&member, session, joining.credits as usize, &joining.holding, now_ns);
        self.sessions.insert(
            member.clone(),
            Open { session, words: VecDeque::new(), words_max: WORDS_MAX + joining.holding.len() },
        );
        self.tell(&member, ToMember::Joined { generation, incarnation, floor: self.floor });
        let others: Vec<MemberName> = self.sessions.keys().filter(|other| **other != member).cloned().collect();
        others.iter().for_each(|other| self.tell(other, ToMember::Generation { generation }));
        for (lease, seqs) in self.leases.over(&member, &joining.holding) {
            self.tell(&member, ToMember::Fenced { generation, still_held: false, lease, seqs });
        }
        session
    }

    /// A session ends, if it is the member's.
    pub(super) fn leave(&mut self, member: &MemberName, session: u64) {
        if self.is_open(member, session) {
            self.leases.away(member, session);
            self.sessions.remove(member);
        }
    }

    /// A member settles; gives what the group is done with by that.
    pub(super) fn settle(&mut self, member: &MemberName, session: u64, settle: Settle, now_ns: u64) -> Vec<Done> {
        let Settle { generation, lease, seqs, outcome, reason } = settle;
        let verdict = self.leases.settle(member, session, generation, (lease, &seqs), outcome, now_ns);
        let (before, fenced): (Vec<Seq>, Vec<Seq>) =
            verdict.not_held.into_iter().partition(|seq| outcome.is_end() && self.is_done(*seq));
        let generation = self.leases.generation();
        // A lease that is another member's is over for this one, whatever the number.
        let (held, over): (Vec<Seq>, Vec<Seq>) =
            fenced.into_iter().partition(|seq| self.leases.is_held(*seq, lease, member));
        for (still_held, seqs) in [(true, held), (false, over)] {
            if !seqs.is_empty() {
                self.tell(member, ToMember::Fenced { generation, still_held, lease, seqs });
            }
        }
        let given_up = match outcome {
            Outcome::Ack => None,
            Outcome::Reject => Some((Class::PolicyRejected, reason)),
            Outcome::Retry { .. } | Outcome::Extend => return Vec::new(),
        };
        let mut answered = before;
        answered.extend(&verdict.took);
        let done: Vec<Done> = verdict.took.into_iter().map(|seq| (seq, given_up.clone())).collect();
        done.iter().for_each(|(seq, _)| self.done(*seq));
        if !answered.is_empty() {
            self.tell(member, ToMember::Settled { lease, seqs: answered, floor: self.floor, around: Vec::new() });
        }
        done
    }

    /// Ends what ran out of time, gives up what is to be given up, and hands out what can be; gives what the group is done
    /// with by that.
    pub(super) fn step(&mut self, packets: &BTreeMap<Seq, Bytes>, now_ns: u64) -> Vec<Done> {
        self.leases.expire(now_ns);
        self.tell_ended();
        let mut done = Vec::new();
        // What is offered may be given up at once, which makes room for more.
        loop {
            self.offer(packets);
            let spent = self.leases.spent();
            if spent.is_empty() {
                break;
            }
            for (seq, why) in spent {
                let given_up = match why {
                    Spent::Exhausted => (Class::AttemptsExhausted, "delivered as often as may be, and never settled"),
                    Spent::KeyParked => (Class::OrderingBlocked, "an earlier packet of its key was given up"),
                };
                self.leases.forget(seq);
                self.done(seq);
                done.push((seq, Some((given_up.0, given_up.1.to_owned()))));
            }
        }
        self.grant(packets, now_ns);
        done
    }

    fn offer(&mut self, packets: &BTreeMap<Seq, Bytes>) {
        let room = self.leases.room();
        for (seq, packet) in packets.range(self.next..).take(room) {
            let key = Glance::at(packet).ok().and_then(|glance| glance.key.map(|key| xxh3_64(key.as_bytes())));
            self.leases.offer(*seq, key, 0, packet.len());
            self.next = seq.next();
        }
    }

    fn grant(&mut self, packets: &BTreeMap<Seq, Bytes>, now_ns: u64) {
        let mut words: BTreeMap<(MemberName, u64), Vec<Granted>> = BTreeMap::new();
        for Grant { member, lease, seq, delivery, .. } in self.leases.grant(now_ns, BATCH) {
            let packet = packets.get(&seq).expect("a packet stays until every group is done with it");
            words.entry((member, lease)).or_default().push((seq, delivery, packet.clone()));
        }
        for ((member, lease), packets) in words {
            self.tell(&member, ToMember::Granted { lease, packets });
        }
    }

    /// Says which leases ended without a settle, to whoever held them.
    fn tell_ended(&mut self) {
        let mut ended: BTreeMap<(MemberName, u64), Vec<Seq>> = BTreeMap::new();
        for Ended { seq, lease, member, .. } in self.leases.take_ended() {
            ended.entry((member, lease)).or_default().push(seq);
        }
        let generation = self.leases.generation();
        for ((member, lease), seqs) in ended {
            self.tell(&member, ToMember::Fenced { generation, still_held: false, lease, seqs });
        }
    }

    /// Tells a member; one that is away hears nothing, one that listens to nothing is let go.
    fn tell(&mut self, member: &MemberName, word: ToMember) {
        let Some(open) = self.sessions.get_mut(member) else { return };
        self.told += 1;
        open.words.push_back(word);
        if open.words.len() > open.words_max {
            let session = open.session;
            self.leave(member, session);
        }
    }

    fn done(&mut self, seq: Seq) {
        self.above.insert(seq);
        while self.above.remove(&self.floor.next()) {
            self.floor = self.floor.next();
        }
    }
}
