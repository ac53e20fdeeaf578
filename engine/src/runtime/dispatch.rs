//! The host's side of a group: reads the channel, leases packets to members, and settles what they say is done.
//!
//! ```text
//!  journal ── read ──► leases ── grant ──► (delivery counted, durably) ──► session ──► member
//!                        ▲                                                    │
//!                        └──── settle ◄── (generation durable first) ◄────────┘
//! ```
//! What is decided is decided in [`crate::channel::lease`]; here it is made durable, in that order, and told.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use tokio::sync::mpsc;
use xxhash_rust::xxh3::xxh3_64;

use super::EngineError;
use super::desk::GroupDesk;
use super::inputs::channel_name;
use super::shared::{BATCH, READ_BYTES, Shared, Tried, plain};
use crate::channel::lease::{Ended, Grant, Leases, MemberName, Outcome, Spent};
use crate::env::Fut;
use crate::journal::image::Cursor;
use crate::journal::letter::Origin;
use crate::journal::record::{Delivered, Generation, Name, Parked, Settle as Settled, identity_of};
use crate::journal::{Commit, Intent, JournalError, Record};
use crate::lane::protocol::BATCH_BYTES_MAX;
use crate::lane::take::{Settle, ToDesk, ToMember};
use crate::node::{Class, NodeError};
use crate::observe::{Event, Holder, Place, What};
use crate::packet::{Glance, Seq};
use crate::process::{ChannelPlan, GroupPlan};
use crate::{always, sometimes};

/// Most messages of members that wait for the dispatcher.
const MESSAGES_MAX: usize = 256;
/// Most bytes of packets that were read and not handed out.
const CACHE_BYTES: usize = 4 * READ_BYTES;

/// Packets on their way from the journal.
type Reading = Fut<'static, Result<Vec<(Seq, Bytes)>, JournalError>>;

/// Hands out a channel's packets to one group.
pub(super) struct Dispatcher {
    shared: Arc<Shared>,
    /// `channel/ID`.
    name: Name,
    group: Name,
    /// As events name it: `channel/ID`, with `@GROUP` where there are several.
    place: Place,
    counts: bool,
    incarnation: u64,
    leases: Leases,
    parked: BTreeSet<u64>,
    /// Settled, submitted settles included.
    cursor: Cursor,
    /// Numbers passed over, settled with the next that is.
    gaps: Vec<(Seq, Seq)>,
    /// The next to be read.
    next: Seq,
    /// Of packets that are not offered yet: how often they were delivered before the restart.
    delivered: BTreeMap<Seq, u32>,
    /// Read, and not handed out.
    cache: BTreeMap<Seq, Bytes>,
    cache_bytes: usize,
    messages: mpsc::Receiver<ToDesk>,
    sessions: BTreeMap<MemberName, Open>,
    last_session: u64,
    /// What is done once it is durable, in order.
    after: FuturesOrdered<Fut<'static, (Result<(), JournalError>, After)>>,
    /// Generations that are not durable yet; nothing is granted meanwhile.
    beginning: usize,
}

/// An open session.
struct Open {
    session: u64,
    out: mpsc::Sender<ToMember>,
    /// What waits for the member to hear that it is in, which comes first; `None` from then on.
    early: Option<Vec<ToMember>>,
}

/// What is done once a commit is durable. The floor is the group's, as it is durable then.
enum After {
    Joined { member: MemberName, session: u64, generation: u64, floor: Seq },
    Granted(Vec<Grant>),
    Settled { member: MemberName, session: u64, lease: u64, seqs: Vec<Seq>, floor: Seq, around: Vec<(Seq, Seq)> },
    Nothing,
}

impl Dispatcher {
    pub(super) fn new(
        shared: &Arc<Shared>,
        plan: &ChannelPlan,
        group: &GroupPlan,
        incarnation: u64,
    ) -> (Arc<GroupDesk>, Dispatcher) {
        let (name, id): (Name, Name) = (channel_name(&plan.id), group.id.as_str().into());
        let (sender, messages) = mpsc::channel(MESSAGES_MAX);
        let desk = GroupDesk::new(&plan.id, group, sender);
        let (cursor, generation, delivered, parked) = shared.journal.image(|image| {
            let delivered = image.deliveries(&name, &id);
            (image.cursor(&name, &id), image.generation(&name, &id), delivered, image.parked(&name, &id))
        });
        let place = if plan.groups.len() > 1 { format!("{name}@{id}").into() } else { name.clone() };
        let dispatcher = Dispatcher {
            shared: shared.clone(),
            place,
            counts: plan.options.max_deliver.is_some(),
            incarnation,
            leases: Leases::new(plan.options.clone(), generation, parked.clone()),
            parked,
            next: cursor.floor.next(),
            cursor,
            gaps: Vec::new(),
            delivered,
            cache: BTreeMap::new(),
            cache_bytes: 0,
            messages,
            sessions: BTreeMap::new(),
            last_session: 0,
            after: FuturesOrdered::new(),
            beginning: 0,
            name,
            group: id,
        };
        (Arc::new(desk), dispatcher)
    }

    /// Runs until dropped.
    pub(super) async fn run(mut self) -> Result<Infallible, EngineError> {
        let mut reading: Option<Reading> = None;
        loop {
            if reading.is_none() {
                reading = self.read();
            }
            let timer = self.leases.next_timer();
            let clock = self.shared.env.clock.clone();
            tokio::select! {
                biased;
                Some((durable, after)) = self.after.next(), if !self.after.is_empty() => {
                    durable?;
                    self.after(after).await?;
                }
                message = self.messages.recv() => {
                    let mut message = Some(message.expect("the desk of a running engine is never closed"));
                    for _ in 0..BATCH {
                        let Some(one) = message else { break };
                        self.message(one).await?;
                        message = self.messages.try_recv().ok();
                    }
                }
                packets = async { reading.as_mut().expect("looked at only when there is one").await }, if reading.is_some() => {
                    reading = None;
                    self.offer(packets?);
                }
                () = clock.sleep_until(timer.unwrap_or(u64::MAX)), if timer.is_some() => {}
                () = self.shared.stopped(), if !self.shared.is_stopping() => {}
            }
            self.step().await?;
        }
    }

    /// The next packets, when there is room for more and somebody to take them.
    fn read(&mut self) -> Option<Reading> {
        if self.cache_bytes >= CACHE_BYTES {
            // What stands with a blocked key is read again, should it ever go on.
            self.cache.retain(|seq, _| !self.leases.is_standing(*seq));
            self.cache_bytes = self.cache.values().map(Bytes::len).sum();
        }
        let room = self.leases.room().min(BATCH);
        if room == 0 || self.cache_bytes >= CACHE_BYTES || self.sessions.is_empty() || self.shared.is_stopping() {
            return None;
        }
        let (journal, name, next) = (self.shared.journal.clone(), self.name.clone(), self.next);
        Some(Box::pin(async move { journal.read_synced(&name, next, room, READ_BYTES).await }))
    }

    fn offer(&mut self, packets: Vec<(Seq, Bytes)>) {
        for (seq, packet) in packets {
            if seq > self.next {
                let gap = (self.next, Seq(seq.0 - 1));
                self.cursor.settle(gap.0, gap.1);
                self.gaps.push(gap);
            }
            self.next = seq.next();
            let deliveries = self.delivered.remove(&seq).unwrap_or(0);
            if self.cursor.has(seq) {
                continue;
            }
            let key = Glance::at(&packet).ok().and_then(|glance| glance.key.map(|key| xxh3_64(key.as_bytes())));
            self.leases.offer(seq, key, deliveries, packet.len());
            if !self.leases.is_standing(seq) {
                self.cache_bytes += packet.len();
                self.cache.insert(seq, packet);
            }
        }
    }

    async fn message(&mut self, message: ToDesk) -> Result<(), EngineError> {
        let now = self.shared.env.clock.mono();
        match message {
            ToDesk::Join { member, credits, holding, out, session: numbered } => {
                self.last_session += 1;
                let session = self.last_session;
                // Who waits for the number may be gone; its session is then closed, and seen to be.
                let _ = numbered.send(session);
                let generation = self.leases.join(&member, session, credits as usize, &holding, now);
                self.sessions.insert(member.clone(), Open { session, out, early: Some(Vec::new()) });
                // What it believes to hold and doesn't any more; else it would find more granted than it asked for.
                let over = self.leases.over(&member, &holding);
                let probe = &*self.shared.env.probe;
                sometimes!(
                    probe,
                    "lease.lost_while_away",
                    !over.is_empty(),
                    "a member that came back after its lease was over"
                );
                for (lease, seqs) in over {
                    self.tell(&member, session, ToMember::Fenced { generation, still_held: false, lease, seqs });
                }
                self.beginning += 1;
                let (input, group) = (self.name.clone(), self.group.clone());
                let record = Record::Generation(Generation { input, group, generation });
                let floor = self.cursor.floor;
                self.submit(vec![record], After::Joined { member, session, generation, floor }).await
            }
            ToDesk::Settle { member, session, settle } => self.settle(&member, session, settle, now).await,
        }
    }

    async fn settle(&mut self, member: &MemberName, session: u64, settle: Settle, now: u64) -> Result<(), EngineError> {
        let Settle { generation, lease, seqs, outcome, reason } = settle;
        // Those that are rejected are forgotten at once.
        let rejected = if outcome == Outcome::Reject { &seqs[..] } else { &[] };
        let tried: BTreeMap<Seq, Tried> = rejected.iter().map(|seq| (*seq, self.tried(*seq))).collect();
        let held: BTreeSet<Seq> =
            seqs.iter().copied().filter(|seq| self.leases.holder(*seq) == Some((lease, &**member))).collect();
        let current = generation == self.leases.generation();
        let verdict = self.leases.settle(member, session, generation, (lease, &seqs), outcome, now);
        always!(
            &*self.shared.env.probe,
            "lease.settled_by_its_holder",
            verdict.took.is_empty() || (current && verdict.took.iter().all(|seq| held.contains(seq))),
            "a settle counts for the lease under which its packet is held, in the generation of now"
        );
        // What the group has settled before needs no lease any more: saying so again is fine.
        let (before, fenced): (Vec<Seq>, Vec<Seq>) =
            verdict.not_held.into_iter().partition(|seq| outcome.is_end() && self.cursor.has(*seq));
        if !fenced.is_empty() {
            self.refuse("lease.fenced", &fenced);
            let generation = self.leases.generation();
            // A lease that is another member's is over for this one, whatever the number.
            let live = |seq: &Seq| self.leases.is_held(*seq, lease, member);
            let (held, over): (Vec<Seq>, Vec<Seq>) = fenced.into_iter().partition(live);
            for (still_held, seqs) in [(true, held), (false, over)] {
                if !seqs.is_empty() {
                    self.tell(member, session, ToMember::Fenced { generation, still_held, lease, seqs });
                }
            }
        }
        let mut done = before;
        let mut records = Vec::new();
        match outcome {
            Outcome::Retry { .. } | Outcome::Extend => return Ok(()),
            Outcome::Reject => {
                for seq in verdict.took {
                    let tried = tried[&seq];
                    self.bury(seq, Class::PolicyRejected, reason.clone(), tried).await?;
                    done.push(seq);
                }
            }
            Outcome::Ack => {
                if !verdict.took.is_empty() {
                    records.push(self.settled(&verdict.took));
                }
                done.extend(verdict.took);
            }
        }
        if done.is_empty() {
            return Ok(());
        }
        let (member, floor) = (member.clone(), self.cursor.floor);
        let mut around: Vec<(Seq, Seq)> = done.iter().filter_map(|seq| self.cursor.around(*seq)).collect();
        around.sort_unstable();
        around.dedup();
        self.submit(records, After::Settled { member, session, lease, seqs: done, floor, around }).await
    }

    /// The record that settles packets, and whatever was passed over before.
    fn settled(&mut self, seqs: &[Seq]) -> Record {
        let mut sorted = seqs.to_vec();
        sorted.sort_unstable();
        let mut ranges = std::mem::take(&mut self.gaps);
        for seq in sorted {
            self.cursor.settle(seq, seq);
            if let Some(packet) = self.cache.remove(&seq) {
                self.cache_bytes -= packet.len();
            }
            push_range(&mut ranges, seq);
        }
        Record::Settle(Settled { input: self.name.clone(), group: self.group.clone(), seqs: ranges, position: None })
    }

    fn tried(&self, seq: Seq) -> Tried {
        let (times, since) = self.leases.deliveries(seq);
        Tried { times, since }
    }

    /// A packet becomes a dead letter, in the frame that settles it.
    async fn bury(&mut self, seq: Seq, class: Class, message: String, tried: Tried) -> Result<(), EngineError> {
        let mut records = Vec::new();
        if let Some(packet) = self.packet(seq).await? {
            tracing::warn!(process = %self.shared.process, channel = %self.place, %seq, class = class.name(), "{message}");
            let source = Origin { input: self.name.clone(), seq };
            let error = NodeError::new(class, message);
            records.push(self.shared.refused_letter(&self.place, packet, Some(source), error, tried));
        }
        let parked: Vec<u64> = self.leases.parked().difference(&self.parked).copied().collect();
        for key in parked {
            self.parked.insert(key);
            records.push(Record::Parked(Parked { input: self.name.clone(), group: self.group.clone(), key }));
        }
        records.push(self.settled(&[seq]));
        self.leases.forget(seq);
        self.submit(records, After::Nothing).await
    }

    async fn packet(&mut self, seq: Seq) -> Result<Option<Bytes>, JournalError> {
        match self.cache.get(&seq) {
            Some(packet) => Ok(Some(packet.clone())),
            None => self.shared.journal.packet(&self.name, seq).await,
        }
    }

    /// Ends what ran out of time, gives up what is to be given up, and hands out what can be.
    async fn step(&mut self) -> Result<(), EngineError> {
        let now = self.shared.env.clock.mono();
        let closed = self.sessions.iter().filter(|(_, open)| open.out.is_closed());
        for member in closed.map(|(member, _)| member.clone()).collect::<Vec<_>>() {
            self.leave(&member);
        }
        self.leases.expire(now);
        self.end();
        for (seq, why) in self.leases.spent() {
            let (class, message) = match why {
                Spent::Exhausted => (Class::AttemptsExhausted, "delivered as often as may be, and never settled"),
                Spent::KeyParked => (Class::OrderingBlocked, "an earlier packet of its key was given up"),
            };
            let tried = self.tried(seq);
            self.bury(seq, class, message.to_owned(), tried).await?;
        }
        if self.beginning > 0 || self.shared.is_stopping() {
            return Ok(());
        }
        let grants = self.leases.grant(now, BATCH);
        if grants.is_empty() {
            return Ok(());
        }
        if !self.counts {
            return self.hand_out(grants).await;
        }
        self.leases.hold_back(&grants);
        let records = self.counted(&grants);
        self.submit(records, After::Granted(grants)).await
    }

    /// Says which leases ended without a settle, to whoever held them, too.
    fn end(&mut self) {
        let mut told: BTreeMap<(MemberName, u64), Vec<Seq>> = BTreeMap::new();
        for Ended { seq, lease, member, why } in self.leases.take_ended() {
            self.refuse(why.reason(), &[seq]);
            told.entry((member, lease)).or_default().push(seq);
        }
        let generation = self.leases.generation();
        for ((member, lease), seqs) in told {
            if let Some(session) = self.sessions.get(&member).map(|open| open.session) {
                self.tell(&member, session, ToMember::Fenced { generation, still_held: false, lease, seqs });
            }
        }
    }

    /// The records that count deliveries before they are made: what may be in flight at a crash was delivered once more.
    fn counted(&self, grants: &[Grant]) -> Vec<Record> {
        let mut by_count: BTreeMap<u32, Vec<(Seq, Seq)>> = BTreeMap::new();
        for grant in grants {
            push_range(by_count.entry(grant.delivery).or_default(), grant.seq);
        }
        let record = |(deliveries, seqs)| {
            let (input, group) = (self.name.clone(), self.group.clone());
            Record::Delivered(Delivered { input, group, seqs, deliveries })
        };
        by_count.into_iter().map(record).collect()
    }

    async fn submit(&mut self, records: Vec<Record>, after: After) -> Result<(), EngineError> {
        if records.is_empty() {
            // Nothing to write; but it is said only after what was submitted before is durable.
            self.after.push_back(Box::pin(async move { (Ok(()), after) }));
            return Ok(());
        }
        let commit: Commit = self.shared.journal.append(records, Intent::Drain).await?;
        self.after.push_back(Box::pin(async move { (commit.synced().await.map(drop), after) }));
        Ok(())
    }

    async fn after(&mut self, after: After) -> Result<(), EngineError> {
        match after {
            After::Joined { member, session, generation, floor } => {
                self.beginning -= 1;
                let incarnation = self.incarnation;
                let joined = What::Joined { member: member.clone(), generation };
                self.shared.emit(&[plain(joined, &self.place)]);
                let open = self.sessions.get_mut(&member).filter(|open| open.session == session);
                let early = open.and_then(|open| open.early.take()).unwrap_or_default();
                self.tell(&member, session, ToMember::Joined { generation, incarnation, floor });
                early.into_iter().for_each(|message| self.tell(&member, session, message));
                let others: Vec<(MemberName, u64)> = self
                    .sessions
                    .iter()
                    .filter(|(other, _)| **other != member)
                    .map(|(other, open)| (other.clone(), open.session))
                    .collect();
                for (other, session) in others {
                    self.tell(&other, session, ToMember::Generation { generation });
                }
            }
            After::Granted(grants) => self.hand_out(grants).await?,
            After::Settled { member, session, lease, seqs, floor, around } => {
                self.tell(&member, session, ToMember::Settled { lease, seqs, floor, around });
            }
            After::Nothing => {}
        }
        Ok(())
    }

    /// Sends granted packets to their members.
    async fn hand_out(&mut self, grants: Vec<Grant>) -> Result<(), EngineError> {
        let mut messages: BTreeMap<MemberName, Vec<Message>> = BTreeMap::new();
        let mut events = Vec::with_capacity(grants.len());
        let now = self.shared.env.clock.mono();
        for grant in grants {
            if !self.leases.hand_out(&grant, now) {
                continue;
            }
            let Grant { member, session, lease, seq, delivery } = grant;
            let Some(packet) = self.packet(seq).await? else { continue };
            if let Some(cached) = self.cache.remove(&seq) {
                self.cache_bytes -= cached.len();
            }
            let to = Some(Holder { member: member.clone(), lease });
            let (what, place, identity) = (What::Granted { to }, self.place.clone(), identity_of(&packet));
            events.push(Event { what, place, identity, seq, attempt: delivery });
            let of_member = messages.entry(member).or_default();
            match of_member.last_mut() {
                Some(last) if last.lease == lease && last.bytes + packet.len() <= BATCH_BYTES_MAX => {
                    last.bytes += packet.len();
                    last.packets.push((seq, delivery, packet));
                }
                _ => {
                    let bytes = packet.len();
                    of_member.push(Message { session, lease, bytes, packets: vec![(seq, delivery, packet)] });
                }
            }
        }
        self.shared.emit(&events);
        for (member, messages) in messages {
            for Message { session, lease, packets, .. } in messages {
                self.tell(&member, session, ToMember::Granted { lease, packets });
            }
        }
        Ok(())
    }

    /// Tells a member. One that is gone hears it when it comes again; one that reads nothing is let go.
    fn tell(&mut self, member: &str, session: u64, message: ToMember) {
        let Some(open) = self.sessions.get_mut(member).filter(|open| open.session == session) else { return };
        let told = match &mut open.early {
            None => open.out.try_send(message),
            // Before them comes the word that it has joined.
            Some(early) if early.len() + 1 < open.out.max_capacity() => return early.push(message),
            Some(_) => Err(mpsc::error::TrySendError::Full(message)),
        };
        if let Err(error) = told {
            if let mpsc::error::TrySendError::Full(_) = error {
                tracing::warn!(member, channel = %self.place, "a member reads nothing: its session ends");
            }
            self.leave(member);
        }
    }

    /// Ends a member's session.
    fn leave(&mut self, member: &str) {
        let Some((member, open)) = self.sessions.remove_entry(member) else { return };
        self.leases.away(&member, open.session);
        self.shared.emit(&[plain(What::Left { member }, &self.place)]);
    }

    fn refuse(&self, reason: &str, seqs: &[Seq]) {
        let reason: Place = reason.into();
        let event = |seq: &Seq| {
            let what = What::Refused { reason: reason.clone() };
            Event { what, place: self.place.clone(), identity: None, seq: *seq, attempt: 0 }
        };
        self.shared.emit(&seqs.iter().map(event).collect::<Vec<_>>());
    }
}

/// Packets for one member, as one message.
struct Message {
    session: u64,
    lease: u64,
    bytes: usize,
    packets: Vec<(Seq, u32, Bytes)>,
}

fn push_range(ranges: &mut Vec<(Seq, Seq)>, seq: Seq) {
    match ranges.last_mut() {
        Some((_, to)) if to.next() == seq => *to = seq,
        _ => ranges.push((seq, seq)),
    }
}
