//! A peer in the middle of a lane: speaks its public protocol to both sides, and delays, repeats, loses, reorders or
//! forges acks. Neither side knows of it.
//!
//! It listens as the channels' host on a machine of its own and connects onward to the real one, a connection for each
//! that it takes. Everything passes at once but acks, and batches that a fault holds; heartbeats too, so what is late never
//! looks like a dead line.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::Stream;
use seaworthy_engine::env::{Clock, Net, Seed};
use seaworthy_engine::lane::protocol::v1::lane_server::Lane;
use seaworthy_engine::lane::protocol::v1::{
    Ack, FromHost, FromMember, FromProducer, Publish, Welcome, from_host, from_producer,
};
use seaworthy_engine::lane::protocol::{self, IDLE_NS, SILENCE_NS};
use seaworthy_engine::lane::wire::{self, CutAtEnd, Line};
use seaworthy_engine::lane::{LaneError, Mailbox};
use tonic::{Request, Response, Status, Streaming};
use xxhash_rust::xxh3::xxh3_64;

use super::lane::{LANE_FAULTS, LaneFault, LaneFaults};
use super::take_proxy::{TakeRelay, ToMember};
use crate::plan::{Ns, strikes};

/// From the loss of an ack to the cut of its connection, ns.
pub const CUT_AFTER_LOSS_NS: Ns = 100_000_000;
/// By how much an ack that is overtaken comes later, ns.
pub const OVERTAKEN_NS: Ns = 50_000_000;

/// A proxy for one host. All of it is set before it runs; what it spoils is set while it does.
#[derive(Clone)]
pub struct LaneProxy {
    /// The proxy's own machine's network, as the producers' side sees it.
    pub listen: Arc<dyn Net>,
    /// The name that producers connect to: the host's.
    pub listen_as: String,
    /// The network towards the real host.
    pub connect: Arc<dyn Net>,
    /// The name under which the real host is found there.
    pub onward: String,
    /// The proxy's own clock.
    pub clock: Arc<dyn Clock>,
    /// Draws delays and shares, keyed by channel and sequence number.
    pub seed: Arc<dyn Seed>,
    /// What to spoil.
    pub faults: Arc<ProxyFaults>,
}

impl LaneProxy {
    /// Stands in the middle until dropped; then all its connections are cut.
    ///
    /// # Errors
    /// [`LaneError::Listen`] when the network refuses.
    pub async fn run(self) -> Result<Infallible, LaneError> {
        let (net, clock, name) = (self.listen.clone(), self.clock.clone(), self.listen_as.clone());
        wire::serve(&*net, &clock, &name, self).await
    }
}

/// What a proxy spoils, a channel at a time. Shared by those who set it and the proxies that obey.
#[derive(Default)]
pub struct ProxyFaults(Mutex<Spoiling>);

#[derive(Default)]
struct Spoiling {
    channels: BTreeMap<String, Settings>,
    /// Hosts that have spoken only the oldest protocol, whether they still do, and on how many connections.
    old: BTreeMap<String, (bool, u64)>,
}

#[derive(Default)]
pub(super) struct Settings {
    /// By [`LaneFault::number`].
    active: [Option<LaneFault>; LANE_FAULTS],
    hits: [u64; LANE_FAULTS],
    /// What forging swallowed, by producer process.
    swallowed: BTreeMap<String, Swallowed>,
    /// How often each member joined.
    joins: BTreeMap<String, u64>,
}

/// What happens to one ack.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spoilt {
    /// It is lost, and the connection is cut so much later, ns.
    pub(super) cut_after_ns: Option<Ns>,
    /// By how much it is late, ns.
    pub(super) late_ns: Ns,
    /// It comes twice.
    pub(super) twice: bool,
}

impl Settings {
    /// A member joined; gives how often it has.
    pub(super) fn joined(&mut self, member: &str) -> u64 {
        let joins = self.joins.entry(member.to_owned()).or_default();
        *joins += 1;
        *joins
    }

    /// Whether acks are forged; counts one that is.
    pub(super) fn forges(&mut self) -> bool {
        let at = LaneFault::Forge.number();
        let forges = self.active[at].is_some();
        self.hits[at] += u64::from(forges);
        forges
    }

    /// Draws what happens to an ack; a fault that is off draws nothing.
    pub(super) fn spoil(&mut self, draw: impl Fn(&'static str) -> u64) -> Spoilt {
        let mut spoilt = Spoilt::default();
        for fault in self.active.into_iter().flatten() {
            let struck = match fault {
                LaneFault::Delay(add) => {
                    spoilt.late_ns += add.draw(draw("ack.delay"));
                    true
                }
                LaneFault::Duplicate(ppm) => {
                    spoilt.twice = strikes(draw("ack.duplicate"), ppm);
                    spoilt.twice
                }
                LaneFault::Reorder(ppm) => {
                    let overtaken = strikes(draw("ack.reorder"), ppm);
                    spoilt.late_ns += if overtaken { OVERTAKEN_NS } else { 0 };
                    overtaken
                }
                LaneFault::Lose(ppm) => {
                    let lost = strikes(draw("ack.lose"), ppm);
                    spoilt.cut_after_ns = lost.then_some(CUT_AFTER_LOSS_NS);
                    lost
                }
                LaneFault::Redeliver(ppm) => {
                    let cut = strikes(draw("delivery.duplicate"), ppm);
                    spoilt.cut_after_ns = if cut { Some(0) } else { spoilt.cut_after_ns };
                    cut
                }
                LaneFault::Forge | LaneFault::DelayBatch(_) | LaneFault::RepeatBatch(_) => false,
            };
            self.hits[fault.number()] += u64::from(struck);
        }
        spoilt
    }

    /// Draws what happens to a batch: by how much it is late, ns, and whether it comes twice.
    fn spoil_batch(&mut self, draw: impl Fn(&'static str) -> u64) -> (Ns, bool) {
        let (mut late_ns, mut twice) = (0, false);
        for fault in self.active.into_iter().flatten() {
            let struck = match fault {
                LaneFault::DelayBatch(add) => {
                    late_ns = add.draw(draw("publish.delay"));
                    true
                }
                LaneFault::RepeatBatch(ppm) => {
                    twice = strikes(draw("publish.duplicate"), ppm);
                    twice
                }
                _ => false,
            };
            self.hits[fault.number()] += u64::from(struck);
        }
        (late_ns, twice)
    }
}

impl ProxyFaults {
    fn lock(&self) -> MutexGuard<'_, Spoiling> {
        self.0.lock().expect("nothing panics while it holds the settings")
    }

    pub(super) fn with<T>(&self, channel: &str, change: impl FnOnce(&mut Settings) -> T) -> T {
        change(self.lock().channels.entry(channel.to_owned()).or_default())
    }

    /// Whether a connection of `host` is to speak only the oldest protocol; counts one that is.
    fn ages(&self, host: &str) -> bool {
        let mut spoiling = self.lock();
        let Some((old, hits)) = spoiling.old.get_mut(host) else { return false };
        *hits += u64::from(*old);
        *old
    }
}

impl LaneFaults for ProxyFaults {
    fn set(&self, channel: &str, fault: LaneFault, on: bool) {
        self.with(channel, |settings| settings.active[fault.number()] = on.then_some(fault));
    }
    fn hits(&self, channel: &str, fault: LaneFault) -> u64 {
        self.lock().channels.get(channel).map_or(0, |settings| settings.hits[fault.number()])
    }
    fn set_old(&self, host: &str, on: bool) {
        self.lock().old.entry(host.to_owned()).or_default().0 = on;
    }
    fn old_hits(&self, host: &str) -> u64 {
        self.lock().old.get(host).map_or(0, |(_, hits)| *hits)
    }
}

/// Which sequence numbers of a producer the host never saw although they were acked. The rest is renumbered, so that the
/// host finds no gap.
#[derive(Debug, Default, PartialEq)]
struct Swallowed {
    /// First and last of each range; they neither touch nor overlap.
    ranges: BTreeMap<u64, u64>,
    /// The last number that was acked by forgery.
    forged: u64,
}

impl Swallowed {
    fn swallow(&mut self, first: u64, last: u64) {
        let before = self.ranges.range(..=first).next_back().map(|(&from, &to)| (from, to));
        let from = before.filter(|&(_, to)| to + 1 >= first).map_or(first, |(from, _)| from);
        self.ranges.retain(|&start, _| start < from || start > last);
        self.ranges.insert(from, last);
        self.forged = self.forged.max(last);
    }

    /// The host's number of what the producer calls `seq`, which lies behind all that was swallowed.
    fn onward(&self, seq: u64) -> u64 {
        seq - self.ranges.iter().map(|(first, last)| last - first + 1).sum::<u64>()
    }

    /// The producer's number of what the host calls `seq`; with what was swallowed right behind it.
    fn back(&self, seq: u64) -> u64 {
        self.ranges.iter().fold(seq, |seq, (first, last)| if *first <= seq + 1 { seq + last - first + 1 } else { seq })
    }

    /// What to tell a producer of the host's last number. What was acked by forgery will not be sent again, so what the
    /// host lacks of it is swallowed as well.
    fn welcome(&mut self, last: u64) -> u64 {
        let last = self.back(last);
        if last < self.forged {
            self.swallow(last + 1, self.forged);
        }
        last.max(self.forged)
    }
}

type Sent = Result<FromHost, Status>;

#[tonic::async_trait]
impl Lane for LaneProxy {
    type CarryStream = Pin<Box<dyn Stream<Item = Sent> + Send>>;
    type TakeStream = Pin<Box<dyn Stream<Item = ToMember> + Send>>;

    async fn take(&self, request: Request<Streaming<FromMember>>) -> Result<Response<Self::TakeStream>, Status> {
        let line = line_of(&request);
        line.greet();
        let to_member = Mailbox::default();
        let clock = self.clock.clone();
        let outgoing = to_member.outgoing(move || clock.mono());
        let (proxy, inbound) = (self.clone(), request.into_inner());
        tokio::spawn(async move {
            let Err(error) = TakeRelay::new(&proxy, to_member).run(inbound).await;
            tracing::debug!(error = &error as &dyn std::error::Error, "a proxied member's lane ended");
            line.cut();
        });
        Ok(Response::new(Box::pin(outgoing)))
    }

    async fn carry(&self, request: Request<Streaming<FromProducer>>) -> Result<Response<Self::CarryStream>, Status> {
        let line = line_of(&request);
        line.greet();
        let to_producer = Mailbox::default();
        let clock = self.clock.clone();
        let outgoing = to_producer.outgoing(move || clock.mono());
        let (proxy, inbound) = (self.clone(), request.into_inner());
        tokio::spawn(async move {
            let relay = Relay {
                proxy: &proxy,
                to_producer: to_producer.clone(),
                to_host: Mailbox::default(),
                process: String::new(),
                knows: None,
                held: VecDeque::new(),
                late: BTreeMap::new(),
                acks: 0,
                lost: BTreeSet::new(),
                cut_at_ns: None,
            };
            let Err(error) = relay.run(inbound).await;
            tracing::debug!(error = &error as &dyn std::error::Error, "a proxied lane ended");
            line.cut();
        });
        Ok(Response::new(Box::pin(outgoing)))
    }
}

fn line_of<T>(request: &Request<T>) -> Arc<Line> {
    let line = request.extensions().get::<Arc<Line>>().cloned();
    line.expect("wire::serve gives each connection a line")
}

/// One connection on each side.
struct Relay<'a> {
    proxy: &'a LaneProxy,
    to_producer: Mailbox<Sent>,
    to_host: Mailbox<FromProducer>,
    /// The producer's name, once its Hello passed.
    process: String,
    /// The newest protocol that it knows, where it is an older release.
    knows: Option<u32>,
    /// Batches that wait, in order, with when they are due. Bounded by the host's credits.
    held: VecDeque<(Ns, FromProducer)>,
    /// Acks that wait, by when they are due and in which order they came. Bounded by the host's credits.
    late: BTreeMap<(Ns, u64), Ack>,
    acks: u64,
    /// Channels that lost an ack on this connection: a later one would make up for it, so none passes any more.
    lost: BTreeSet<String>,
    cut_at_ns: Option<Ns>,
}

impl Relay<'_> {
    async fn run(mut self, mut from_producer: Streaming<FromProducer>) -> Result<Infallible, LaneError> {
        let clock = &self.proxy.clock;
        let (mut client, line) = wire::dial(&*self.proxy.connect, clock, &self.proxy.onward).await?;
        let _cut = CutAtEnd(line.clone());
        let mono = clock.clone();
        let answered = tokio::select! {
            biased;
            answered = client.carry(self.to_host.outgoing(move || mono.mono())) => answered.map_err(LaneError::from)?,
            () = clock.sleep(SILENCE_NS) => return Err(LaneError::Silent),
        };
        let mut from_host = answered.into_inner();
        loop {
            tokio::select! {
                biased;
                message = from_producer.message() => match message {
                    Ok(Some(message)) => self.up(message),
                    ended => return self.outlive(ended.map_or_else(LaneError::from, |_| LaneError::Closed), from_host).await,
                },
                message = from_host.message() => match message {
                    Ok(Some(message)) => self.down(message),
                    // How the host ended is the producer's to know.
                    ended => return self.end(ended.err()).await,
                },
                () = clock.sleep_until(self.due_ns()) => {
                    self.deliver();
                    self.pass_on();
                    let cut = self.cut_at_ns.is_some_and(|at| at <= clock.mono());
                    if cut || line.is_silent() {
                        return Err(LaneError::Cut);
                    }
                }
            }
        }
    }

    /// The producer is gone; what is still under way to the host arrives all the same.
    async fn outlive(mut self, error: LaneError, mut from_host: Streaming<FromHost>) -> Result<Infallible, LaneError> {
        let clock = self.proxy.clock.clone();
        while let Some((due_ns, _)) = self.held.front() {
            tokio::select! {
                biased;
                message = from_host.message() => if !matches!(message, Ok(Some(_))) { return Err(error) },
                () = clock.sleep_until(*due_ns) => {
                    self.pass_on();
                    if self.held.is_empty() {
                        // The last one needs a moment to leave.
                        clock.sleep(IDLE_NS).await;
                    }
                }
            }
        }
        Err(error)
    }

    async fn end(&self, status: Option<Status>) -> Result<Infallible, LaneError> {
        if let Some(status) = status {
            self.to_producer.push(self.proxy.clock.mono(), None, Err(status));
        }
        self.to_producer.close();
        self.proxy.clock.sleep(IDLE_NS).await;
        Err(LaneError::Closed)
    }

    /// When to look up at the latest.
    fn due_ns(&self) -> Ns {
        let late = self.late.keys().next().map(|(due, _)| *due);
        let held = self.held.front().map(|(due, _)| *due);
        [late, held, self.cut_at_ns].into_iter().flatten().fold(self.proxy.clock.mono() + IDLE_NS, Ns::min)
    }

    fn up(&mut self, mut message: FromProducer) {
        match &mut message.message {
            Some(from_producer::Message::Hello(hello)) => {
                self.process = hello.process.clone();
                if let Some(spoken) = hello.protocol.as_mut().filter(|_| self.proxy.faults.ages(&self.process)) {
                    spoken.max = spoken.min;
                    self.knows = Some(spoken.max);
                }
            }
            Some(from_producer::Message::Publish(publish)) => {
                if let Some(ack) = self.forge(publish) {
                    return self.ack(ack);
                }
                return self.publish(message);
            }
            _ => {}
        }
        self.to_host.push(self.proxy.clock.mono(), None, message);
    }

    /// Sends a batch on: late or twice, where that is asked for, and never before one that came earlier.
    fn publish(&mut self, message: FromProducer) {
        let Some(from_producer::Message::Publish(publish)) = &message.message else { return };
        let key = [xxh3_64(publish.channel.as_bytes()), publish.epoch, publish.first];
        let (late_ns, twice) = self
            .proxy
            .faults
            .with(&publish.channel, |settings| settings.spoil_batch(|stream| self.proxy.seed.draw(stream, &key)));
        let due_ns = self.proxy.clock.mono() + late_ns;
        let due_ns = self.held.back().map_or(due_ns, |(last_ns, _)| due_ns.max(*last_ns));
        if twice {
            self.held.push_back((due_ns, message.clone()));
        }
        self.held.push_back((due_ns, message));
        self.pass_on();
    }

    fn pass_on(&mut self) {
        let now = self.proxy.clock.mono();
        while let Some((_, message)) = self.held.pop_front_if(|(due_ns, _)| *due_ns <= now) {
            self.to_host.push(now, None, message);
        }
    }

    /// Swallows a batch and acks it, where that is asked for; otherwise numbers it as the host must see it.
    fn forge(&self, publish: &mut Publish) -> Option<Ack> {
        let (first, last) = (publish.first, publish.first + (publish.packets.len() as u64).max(1) - 1);
        let forged = self.proxy.faults.with(&publish.channel, |settings| {
            let forges = settings.forges();
            let swallowed = settings.swallowed.entry(self.process.clone()).or_default();
            if forges {
                swallowed.swallow(first, last);
            } else {
                publish.first = swallowed.onward(first);
            }
            forges
        });
        forged.then(|| Ack { channel: publish.channel.clone(), upto: last, credits: None })
    }

    fn down(&mut self, mut message: FromHost) {
        match &mut message.message {
            Some(from_host::Message::Ack(ack)) => return self.spoil(ack.clone()),
            Some(from_host::Message::Welcome(welcome)) => {
                self.renumber(welcome);
                // An older release turns away what it doesn't know; the producer here would know it.
                if self.knows.is_some_and(|knows| welcome.protocol > knows) {
                    welcome.protocol = u32::MAX;
                }
            }
            _ => {}
        }
        self.to_producer.push(self.proxy.clock.mono(), None, Ok(message));
    }

    fn renumber(&self, welcome: &mut Welcome) {
        for opened in &mut welcome.channels {
            opened.last = self.proxy.faults.with(&opened.channel, |settings| {
                settings.swallowed.entry(self.process.clone()).or_default().welcome(opened.last)
            });
        }
    }

    fn spoil(&mut self, mut ack: Ack) {
        if self.lost.contains(&ack.channel) {
            return;
        }
        let now = self.proxy.clock.mono();
        let key = [xxh3_64(ack.channel.as_bytes()), ack.upto];
        let Spoilt { cut_after_ns, late_ns, twice } = self.proxy.faults.with(&ack.channel, |settings| {
            if let Some(swallowed) = settings.swallowed.get(&self.process) {
                ack.upto = swallowed.back(ack.upto);
            }
            settings.spoil(|stream| self.proxy.seed.draw(stream, &key))
        });
        if let Some(after_ns) = cut_after_ns {
            self.lost.insert(ack.channel);
            self.cut_at_ns = Some(self.cut_at_ns.unwrap_or(Ns::MAX).min(now + after_ns));
            return;
        }
        if twice {
            self.later(now + late_ns, ack.clone());
        }
        self.later(now + late_ns, ack);
        self.deliver();
    }

    fn later(&mut self, due_ns: Ns, ack: Ack) {
        self.acks += 1;
        self.late.insert((due_ns, self.acks), ack);
    }

    fn deliver(&mut self) {
        let now = self.proxy.clock.mono();
        while let Some(entry) = self.late.first_entry().filter(|entry| entry.key().0 <= now) {
            let ack = entry.remove();
            if !self.lost.contains(&ack.channel) {
                self.ack(ack);
            }
        }
    }

    fn ack(&self, ack: Ack) {
        self.to_producer.push(self.proxy.clock.mono(), None, Ok(protocol::from_host(from_host::Message::Ack(ack))));
    }
}

#[cfg(test)]
#[path = "lane_proxy_tests.rs"]
mod tests;
