//! A member of a group: begins a tree for each packet that its host grants, and says what became of it.
//!
//! What it took is in its own journal, in the frame with all that was made of it: a packet that is granted again, because the
//! host never heard that it was done, is not handled again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use tokio::sync::Notify;

use super::EngineError;
use super::inbox::Inbox;
use super::inputs::stored_items;
use super::shared::{BATCH, Shared};
use super::tree::{Input, Tx};
use crate::channel::lease::Outcome;
use crate::env::{Clock, Fut};
use crate::journal::image::Cursor;
use crate::journal::record::{Name, Retired, Settle as Settled};
use crate::journal::{Intent, Journal, Lsn, Record};
use crate::lane::LaneError;
use crate::lane::take::{Seat, Settle, ToMember};
use crate::node::Acks;
use crate::packet::Seq;
use crate::sometimes;

/// What a member holds of a channel, over all its sessions. Cheap to clone.
#[derive(Clone)]
pub(super) struct Taken(Arc<Inner>);

struct Inner {
    channel: String,
    group: String,
    credits: u32,
    clock: Arc<dyn Clock>,
    journal: Journal,
    /// How often what is in hand is held on to, ns; `None` lets it go when its time is up.
    extend_ns: Option<u64>,
    state: Mutex<State>,
    /// Something was granted.
    granted: Notify,
    /// Something is to be told.
    told: Notify,
}

#[derive(Default)]
struct State {
    /// False until the host said that this session is in.
    joined: bool,
    generation: u64,
    /// Which numbers of the channel these are; the host's other life has others.
    incarnation: Option<u64>,
    /// It has changed, and the journal is yet to know.
    anew: bool,
    /// What the group is done with, whoever took it, as far as it was told since the last packets were begun.
    passed: Cursor,
    held: BTreeMap<Seq, Held>,
    /// Granted, and not begun.
    queue: VecDeque<(Seq, Bytes)>,
    /// Begun, and not settled durably; those whose lease has ended, too.
    working: BTreeSet<Seq>,
    /// Done, and to be told once all below the LSN is synced: the host forgets what it is told of.
    unsynced: VecDeque<(Lsn, Vec<Seq>)>,
    /// Done, and yet to be told.
    tell: BTreeMap<u64, Vec<Seq>>,
    /// In hand, and to be held on to.
    extend: BTreeMap<u64, Vec<Seq>>,
    /// When to look again what is.
    extend_at_ns: u64,
}

/// Most ranges of what a group is done with that wait until packets are begun.
const PASSED_MAX: usize = 256;

struct Held {
    lease: u64,
    done: bool,
}

/// What a member is to do next.
enum Next {
    /// The channel's numbers begin anew: what was taken before says nothing about them.
    Anew(u64),
    Packets(Vec<(Seq, Bytes)>),
}

impl Taken {
    /// Nothing is held yet. `position` is what the journal has of the channel's incarnation.
    pub(super) fn new(
        shared: &Shared,
        channel: &str,
        group: &str,
        credits: u32,
        position: &[u8],
        extend_ns: Option<u64>,
    ) -> Self {
        let incarnation = position.try_into().ok().map(u64::from_le_bytes);
        let state = Mutex::new(State { incarnation, ..State::default() });
        let (channel, group) = (channel.to_owned(), group.to_owned());
        let (clock, journal) = (shared.env.clock.clone(), shared.journal.clone());
        let (granted, told) = (Notify::new(), Notify::new());
        Taken(Arc::new(Inner { channel, group, credits, clock, journal, extend_ns, state, granted, told }))
    }

    /// What is to be done next, with at most `max` packets, and what the group is done with.
    async fn next(&self, max: usize) -> (Vec<(Seq, Seq)>, Next) {
        loop {
            let granted = self.0.granted.notified();
            {
                let mut state = self.0.state();
                if let (true, Some(incarnation)) = (state.anew, state.incarnation) {
                    state.anew = false;
                    return (Vec::new(), Next::Anew(incarnation));
                }
                if !state.queue.is_empty() {
                    let count = state.queue.len().min(max);
                    let packets: Vec<(Seq, Bytes)> = state.queue.drain(..count).collect();
                    state.working.extend(packets.iter().map(|(seq, _)| *seq));
                    return (std::mem::take(&mut state.passed).ranges(), Next::Packets(packets));
                }
            }
            granted.await;
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds what was taken")
    }

    async fn next_settle(&self) -> Settle {
        loop {
            let told = self.told.notified();
            let (look_ns, unsynced) = {
                let (mut state, now_ns) = (self.state(), self.clock.mono());
                if let Some(extend_ns) = self.extend_ns.filter(|_| state.extend_at_ns <= now_ns) {
                    state.extend_at_ns = now_ns.saturating_add(extend_ns);
                    state.hold_on();
                }
                if state.joined
                    && let Some((lease, seqs, outcome)) = state.next_word()
                {
                    let (generation, reason) = (state.generation, String::new());
                    return Settle { generation, lease, seqs, outcome, reason };
                }
                (state.extend_at_ns, state.unsynced.front().map(|(upto, _)| *upto))
            };
            tokio::select! {
                biased;
                () = told => {}
                () = self.synced(unsynced.unwrap_or_default()), if unsynced.is_some() => {}
                () = self.clock.sleep_until(look_ns), if self.extend_ns.is_some() => {}
            }
        }
    }

    /// Waits until what was done up to there is synced, and lets it be told.
    async fn synced(&self, upto: Lsn) {
        if self.journal.synced(upto).await.is_err() {
            // The process is about to end.
            return std::future::pending().await;
        }
        let mut state = self.state();
        while let Some((_, seqs)) = state.unsynced.pop_front_if(|(upto, _)| self.journal.is_synced(*upto)) {
            state.done(&seqs);
        }
    }
}

impl State {
    /// Notes what may be told.
    fn done(&mut self, seqs: &[Seq]) {
        for seq in seqs {
            if let Some(held) = self.held.get_mut(seq).filter(|held| !held.done) {
                held.done = true;
                let lease = held.lease;
                self.tell.entry(lease).or_default().push(*seq);
            }
        }
    }

    /// Notes what is in hand, to be held on to.
    fn hold_on(&mut self) {
        self.extend.clear();
        for (seq, held) in self.held.iter().filter(|(_, held)| !held.done) {
            self.extend.entry(held.lease).or_default().push(*seq);
        }
    }

    /// What the host is to be told next.
    fn next_word(&mut self) -> Option<(u64, Vec<Seq>, Outcome)> {
        if let Some((lease, seqs)) = self.tell.pop_first() {
            return Some((lease, seqs, Outcome::Ack));
        }
        self.extend.pop_first().map(|(lease, seqs)| (lease, seqs, Outcome::Extend))
    }

    fn join(&mut self, generation: u64, incarnation: u64, floor: Seq) -> Result<(), LaneError> {
        if self.incarnation != Some(incarnation) {
            if !self.working.is_empty() {
                // Their numbers mean other packets now. They end first; the next session finds nothing in the way.
                return Err(LaneError::Protocol(
                    "the channel began anew, and packets of its last life are still in hand",
                ));
            }
            (self.incarnation, self.anew) = (Some(incarnation), true);
            self.held.clear();
            self.queue.clear();
            self.unsynced.clear();
            self.passed = Cursor::default();
        }
        self.joined = true;
        self.generation = generation;
        self.pass(floor, &[]);
        for (seq, held) in self.held.iter().filter(|(_, held)| held.done) {
            self.tell.entry(held.lease).or_default().push(*seq);
        }
        Ok(())
    }

    /// Packets that were granted: those that are in hand already only change their lease.
    fn grant(&mut self, credits: u32, lease: u64, packets: Vec<(Seq, u32, Bytes)>) -> Result<(), LaneError> {
        // A lease that ended is told of before its packet is granted again.
        if self.held.len() + packets.len() > 2 * credits as usize {
            return Err(LaneError::Protocol("more was granted than was asked for"));
        }
        for (seq, _, packet) in packets {
            let before = self.held.insert(seq, Held { lease, done: false });
            let in_hand = self.working.contains(&seq) || before.is_some_and(|held| !held.done);
            if !in_hand {
                self.queue.push_back((seq, packet));
            }
        }
        Ok(())
    }

    fn fence(&mut self, generation: u64, still_held: bool, lease: u64, seqs: &[Seq]) {
        self.generation = self.generation.max(generation);
        let mut over = BTreeSet::new();
        for seq in seqs {
            let Some(held) = self.held.get(seq).filter(|held| held.lease == lease) else { continue };
            if still_held && held.done {
                // Said in another generation.
                self.tell.entry(lease).or_default().push(*seq);
            } else if !still_held {
                self.held.remove(seq);
                over.insert(*seq);
            }
        }
        self.unqueue(&over);
    }

    /// Takes out what is not to be begun.
    fn unqueue(&mut self, over: &BTreeSet<Seq>) {
        if !over.is_empty() {
            self.queue.retain(|(queued, _)| !over.contains(queued));
        }
    }

    /// Its own journal would grow with each packet that it took, while one of another member stands at the floor.
    fn pass(&mut self, floor: Seq, around: &[(Seq, Seq)]) {
        if floor > Seq(0) {
            self.passed.settle(Seq(1), floor);
        }
        // What is left out is only kept longer.
        let room = PASSED_MAX.saturating_sub(self.passed.above().count());
        around.iter().take(room).for_each(|(from, to)| self.passed.settle(*from, *to));
    }

    fn settled(&mut self, lease: u64, seqs: &[Seq], floor: Seq, around: &[(Seq, Seq)]) {
        self.pass(floor, around);
        let mut over = BTreeSet::new();
        for seq in seqs {
            let Some(held) = self.held.get(seq).filter(|held| held.lease == lease) else { continue };
            // What is done was begun.
            if !held.done {
                over.insert(*seq);
            }
            self.held.remove(seq);
        }
        self.unqueue(&over);
    }
}

impl Seat for Taken {
    fn channel(&self) -> &str {
        &self.0.channel
    }

    fn group(&self) -> &str {
        &self.0.group
    }

    fn credits(&self) -> u32 {
        self.0.credits
    }

    fn joining(&self) -> BTreeSet<(u64, Seq)> {
        let mut state = self.0.state();
        state.joined = false;
        state.tell.clear();
        state.extend.clear();
        state.held.iter().map(|(seq, held)| (held.lease, *seq)).collect()
    }

    fn heard(&self, message: ToMember) -> Result<(), LaneError> {
        {
            let mut state = self.0.state();
            match message {
                ToMember::Joined { generation, incarnation, floor } => state.join(generation, incarnation, floor)?,
                ToMember::Granted { lease, packets } => state.grant(self.0.credits, lease, packets)?,
                ToMember::Settled { lease, seqs, floor, around } => state.settled(lease, &seqs, floor, &around),
                ToMember::Fenced { generation, still_held, lease, seqs } => {
                    state.fence(generation, still_held, lease, &seqs);
                }
                ToMember::Generation { generation } => state.generation = state.generation.max(generation),
            }
        }
        self.0.granted.notify_one();
        self.0.told.notify_one();
        Ok(())
    }

    fn next(&self) -> Fut<'static, Settle> {
        let inner = self.0.clone();
        Box::pin(async move { inner.next_settle().await })
    }
}

impl Acks for Taken {
    fn settled(&self, seqs: &[Seq]) {
        {
            let mut state = self.0.state();
            for seq in seqs {
                state.working.remove(seq);
            }
            let upto = self.0.journal.confirmed();
            if self.0.journal.is_synced(upto) {
                state.done(seqs);
            } else {
                state.unsynced.push_back((upto, seqs.to_vec()));
            }
        }
        self.0.told.notify_one();
    }
}

/// Hands what is granted to the nodes behind a channel's end.
pub(super) async fn run(
    shared: Arc<Shared>,
    node: Name,
    input: Arc<Input>,
    taken: Taken,
    outputs: Vec<Arc<Inbox>>,
) -> Result<(), EngineError> {
    loop {
        let (passed, next) = tokio::select! {
            biased;
            () = shared.stopped() => break,
            next = async {
                let room = input.room(&shared.journal).await.min(BATCH);
                taken.next(room).await
            } => next,
        };
        let mut packets = match next {
            Next::Packets(packets) => packets,
            Next::Anew(incarnation) => {
                input.begin_anew();
                let (name, group) = (input.name.clone(), input.group.clone());
                let retired = Record::Retired(Retired { input: name.clone(), group: group.clone() });
                let position = Some(Bytes::copy_from_slice(&incarnation.to_le_bytes()));
                let settle = Record::Settle(Settled { input: name, group, seqs: Vec::new(), position });
                shared.journal.append(vec![retired, settle], Intent::Drain).await?.wait().await?;
                continue;
            }
        };
        input.pass(&passed);
        // Done before, and the host never heard of it.
        let known: Vec<Seq> = packets.extract_if(.., |(seq, _)| input.has(*seq)).map(|(seq, _)| seq).collect();
        let items = stored_items(&input, packets)?;
        sometimes!(
            &*shared.env.probe,
            "member.known",
            !known.is_empty(),
            "a packet granted again that was done before"
        );
        if !known.is_empty() {
            taken.settled(&known);
        }
        shared.hand_on(&node, &outputs, items, Tx::default()).await?;
    }
    outputs.iter().for_each(|inbox| inbox.leave());
    Ok(())
}
