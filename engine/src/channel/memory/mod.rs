//! A channel in memory: it decides as a journal's host does, without a disk. For tests, and for who embeds the engine.
//!
//! It promises all but durability: with its last hold, all that it holds is gone. Nothing runs in the background. Whoever
//! speaks to it, or listens, also does what is due.

mod group;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use tokio::sync::Notify;

use self::group::Group;
use super::dedup::{self, Judged, KEYS_MAX, Keys, Remembered};
use super::kind::{self, Channel, ChannelError, Joining, Member, Producer, Promise, Settle, ToMember};
use super::lease::MemberName;
use super::producer::Producers;
use crate::env::{Clock, Env, Fut};
use crate::node::Class;
use crate::packet::{Epoch, Glance, Seq};
use crate::process::ChannelPlan;

/// All but that it lasts.
const PROMISES: &[Promise] = {
    let [others @ .., Promise::Durable] = &Promise::ALL else { panic!("durability is the last of the promises") };
    others
};

/// What a channel in memory may hold; its dead letters count until they are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimits {
    /// Most packets; beyond them, producers hear [`ChannelError::Full`].
    pub packets_max: usize,
    /// Most bytes of packets.
    pub bytes_max: usize,
}

impl Default for MemoryLimits {
    fn default() -> Self {
        MemoryLimits { packets_max: 1 << 16, bytes_max: 64 << 20 }
    }
}

/// A packet that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Which packet of the channel; `None` for what never came to be one.
    pub seq: Option<Seq>,
    /// What kind of failure.
    pub class: Class,
    /// Why, for people.
    pub reason: String,
    /// The packet, byte for byte.
    pub packet: Bytes,
}

/// A channel in memory. Clones share it.
#[derive(Clone)]
pub struct Memory(Arc<Shared>);

struct Shared {
    clock: Arc<dyn Clock>,
    plan: ChannelPlan,
    limits: MemoryLimits,
    /// One life of the channel's numbers: this one.
    incarnation: u64,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    producers: Producers,
    keys: Keys,
    last: Seq,
    packets: BTreeMap<Seq, Bytes>,
    groups: BTreeMap<String, Group>,
    letters: Vec<DeadLetter>,
    /// Of packets and dead letters.
    bytes: usize,
}

impl Memory {
    /// An empty channel as `plan` has it; who hosts it plays no part.
    #[must_use]
    pub fn new(env: &Env, plan: &ChannelPlan, limits: MemoryLimits) -> Memory {
        let group = |group: &crate::process::GroupPlan| (group.id.clone(), Group::new(group, &plan.options));
        let state = State { groups: plan.groups.iter().map(group).collect(), ..State::default() };
        let incarnation = env.seed.draw("channel.memory", &[env.clock.mono()]);
        let (clock, state, changed) = (env.clock.clone(), Mutex::new(state), Notify::new());
        Memory(Arc::new(Shared { clock, plan: plan.clone(), limits, incarnation, state, changed }))
    }

    /// The packets that were given up since this was last asked.
    #[must_use]
    pub fn take_dead_letters(&self) -> Vec<DeadLetter> {
        self.0.change(|state, now_ns| {
            state.step(now_ns);
            let letters = std::mem::take(&mut state.letters);
            state.bytes -= letters.iter().map(|letter| letter.packet.len()).sum::<usize>();
            letters
        })
    }
}

impl Channel for Memory {
    fn promises(&self) -> &'static [Promise] {
        PROMISES
    }

    fn open(&self, producer: &str, epoch: Epoch) -> Fut<'static, Result<Box<dyn Producer>, ChannelError>> {
        let (shared, name) = (self.0.clone(), producer.to_owned());
        Box::pin(async move {
            if !shared.plan.is_producer(&name) {
                return Err(ChannelError::Stranger { who: name });
            }
            let last = shared.change(|state, _| state.producers.open(&shared.plan.id, &name, epoch))?;
            Ok(Box::new(Opened { shared, name, epoch, last }) as Box<dyn Producer>)
        })
    }

    fn join(&self, joining: Joining) -> Fut<'static, Result<Box<dyn Member>, ChannelError>> {
        let shared = self.0.clone();
        Box::pin(async move {
            let (group, member): (String, MemberName) = (joining.group.clone(), joining.member.as_str().into());
            let incarnation = shared.incarnation;
            let session = shared.change(|state, now_ns| {
                let known = state.groups.get_mut(&group).filter(|group| group.knows(&member));
                known.map(|group| group.join(&joining, incarnation, now_ns))
            });
            let session = session.ok_or_else(|| ChannelError::Stranger { who: joining.member.clone() })?;
            Ok(Box::new(Session { shared, group, member, session }) as Box<dyn Member>)
        })
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds a channel in memory")
    }

    /// Does something to the channel at this time, and wakes who listens.
    fn change<T>(&self, act: impl FnOnce(&mut State, u64) -> T) -> T {
        let now_ns = self.clock.mono();
        let done = act(&mut self.state(), now_ns);
        self.changed.notify_waiters();
        done
    }

    fn publish(&self, opened: &Opened, first: Seq, packets: Vec<Bytes>) -> Result<Seq, ChannelError> {
        kind::check_publish(first, &packets)?;
        // It has one life only.
        let now = i64::try_from(self.clock.mono()).unwrap_or(i64::MAX);
        self.change(|state, _| {
            let count = packets.len() as u64;
            let accept = state.producers.offer(&self.plan.id, &opened.name, opened.epoch, (first, 0), count)?;
            let skip = usize::try_from(accept.skip).expect("at most a batch is skipped");
            let new = packets.get(skip..).unwrap_or_default();
            let bytes: usize = new.iter().map(Bytes::len).sum();
            let held = state.packets.len() + state.letters.len();
            if held + new.len() > self.limits.packets_max || state.bytes + bytes > self.limits.bytes_max {
                return Err(ChannelError::Full);
            }
            let horizon_ns = i64::try_from(self.plan.options.dedup_horizon_ns).unwrap_or(i64::MAX);
            new.iter().for_each(|packet| state.admit(packet.clone(), now, now.saturating_sub(horizon_ns)));
            state.producers.accept(&self.plan.id, &opened.name, accept.last);
            Ok(accept.last)
        })
    }
}

impl State {
    /// Stores a packet that came at `now`, with the business keys in mind that came at `since` or later.
    fn admit(&mut self, packet: Bytes, now: i64, since: i64) {
        self.keys.expire(since.max(self.keys.since_for(KEYS_MAX)));
        let Ok(glance) = Glance::at(&packet) else {
            return self.give_up(None, Class::DecodeFailed, "it is no packet of this version".to_owned(), packet);
        };
        if let Some(key) = glance.business_key() {
            let (key, payload) = (dedup::key_hash(key), dedup::payload_hash(glance.payload));
            match self.keys.judge(key, payload, since) {
                Judged::New => self.keys.remember(key, Remembered { payload, at: now }),
                Judged::Duplicate => return,
                Judged::Conflict => {
                    let why = "its business key came before with another payload";
                    return self.give_up(None, Class::Conflict, why.to_owned(), packet);
                }
            }
        }
        self.last = self.last.next();
        self.bytes += packet.len();
        self.packets.insert(self.last, packet);
    }

    fn give_up(&mut self, seq: Option<Seq>, class: Class, reason: String, packet: Bytes) {
        self.bytes += packet.len();
        self.letters.push(DeadLetter { seq, class, reason, packet });
    }

    /// Does in every group what is due.
    fn step(&mut self, now_ns: u64) {
        let mut ended = Vec::new();
        for group in self.groups.values_mut() {
            ended.extend(group.step(&self.packets, now_ns));
        }
        self.end(ended);
    }

    /// A group is done with packets, some of them given up.
    fn end(&mut self, ended: Vec<(Seq, Option<(Class, String)>)>) {
        for (seq, given_up) in ended {
            if let (Some((class, reason)), Some(packet)) = (given_up, self.packets.get(&seq)) {
                let packet = packet.clone();
                self.give_up(Some(seq), class, reason, packet);
            }
            if self.groups.values().all(|group| group.is_done(seq))
                && let Some(packet) = self.packets.remove(&seq)
            {
                self.bytes -= packet.len();
            }
        }
    }
}

/// A producer's hold.
struct Opened {
    shared: Arc<Shared>,
    name: String,
    epoch: Epoch,
    last: Seq,
}

impl Producer for Opened {
    fn last(&self) -> Seq {
        self.last
    }

    fn publish(&mut self, first: Seq, packets: Vec<Bytes>) -> Fut<'static, Result<Seq, ChannelError>> {
        Box::pin(std::future::ready(self.shared.publish(self, first, packets)))
    }
}

/// A member's session.
struct Session {
    shared: Arc<Shared>,
    group: String,
    member: MemberName,
    session: u64,
}

impl Session {
    fn of<'a>(&self, state: &'a mut State) -> &'a mut Group {
        state.groups.get_mut(&self.group).expect("groups stay as they were planned")
    }

    /// What is to be heard next, once what is due is done; otherwise until when there is nothing.
    fn look(&self) -> Result<Result<ToMember, Option<u64>>, ChannelError> {
        let now_ns = self.shared.clock.mono();
        let mut state = self.shared.state();
        let before = state.told();
        state.step(now_ns);
        if state.told() != before {
            self.shared.changed.notify_waiters();
        }
        let group = self.of(&mut state);
        if !group.is_open(&self.member, self.session) {
            return Err(ChannelError::Closed);
        }
        Ok(group.heard(&self.member).ok_or_else(|| group.next_timer()))
    }
}

impl State {
    /// How many words were ever said to members.
    fn told(&self) -> u64 {
        self.groups.values().map(Group::told).sum()
    }
}

impl Member for Session {
    fn hear(&mut self) -> Fut<'_, Result<ToMember, ChannelError>> {
        Box::pin(async {
            loop {
                let changed = self.shared.changed.notified();
                tokio::pin!(changed);
                // Registered before the look, so that no change falls between the two.
                changed.as_mut().enable();
                let timer = match self.look()? {
                    Ok(message) => return Ok(message),
                    Err(timer) => timer,
                };
                tokio::select! {
                    biased;
                    () = changed => {}
                    () = self.shared.clock.sleep_until(timer.unwrap_or(u64::MAX)), if timer.is_some() => {}
                }
            }
        })
    }

    fn settle(&mut self, settle: Settle) -> Fut<'_, Result<(), ChannelError>> {
        let done = self.shared.change(|state, now_ns| {
            let group = self.of(state);
            if !group.is_open(&self.member, self.session) {
                return Err(ChannelError::Closed);
            }
            let ended = group.settle(&self.member, self.session, settle, now_ns);
            state.end(ended);
            Ok(())
        });
        Box::pin(std::future::ready(done))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.change(|state, _| self.of(state).leave(&self.member, self.session));
    }
}
