//! A channel that breaks one promise: a peer between the kit and a channel that keeps all of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use seaworthy_engine::channel::kind::{
    Channel, ChannelError, Joining, Member, Outcome, PUBLISH_PACKETS_MAX, Producer, Promise, Settle, ToMember,
};
use seaworthy_engine::env::{Clock, Fut};
use seaworthy_engine::packet::{BUSINESS_KEY, Epoch, Fields, Glance, Identity, Packet, Seq};
use seaworthy_engine::process::{ChannelPlan, OnPoison, Order};
use seaworthy_harness::kit::kinds::InJournal;
use seaworthy_harness::kit::{End, Kind, Letter, Rig, RigError};

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    Nothing,
    // Options that are not kept.
    DeliversOnceMore,
    NeverGivesUp,
    KeepsNoOrder,
    OnlyBuries,
    LeasesLastLong,
    LeasesEndEarly,
    PendingIsUnbounded,
    KeysAreForgottenSoon,
    KeysAreKeptForever,
    // Producers.
    ChangesPackets,
    StoresRepeats,
    TakesGaps,
    TakesOneAtATime,
    TakesTooMuch,
    SharesNumbers,
    WelcomesStrangers,
    OpensOldEpochs,
    PublishesInOldEpochs,
    ForgetsKeys,
    ForgetsKeysAtTheAck,
    ForgetsKeysAtARestart,
    MergesConflicts,
    // Members.
    LosesPackets,
    MergesGroups,
    SharesLeases,
    IgnoresCredits,
    IgnoresHolding,
    AssumesHolding,
    LetsSessionsLinger,
    ReversesGrants,
    JudgesTogether,
    TakesStaleLeases,
    TakesAnyones,
    TakesTheFuture,
    TakesStaleGenerations,
    RefusesRepeats,
    IgnoresExtensions,
    IgnoresRetries,
    RetriesAtOnce,
    IgnoresDelays,
    AcksRejections,
    GenerationsStand,
    FloorRunsAhead,
    FloorFallsBack,
    FloorIsShared,
    // All of it.
    BuriesNothing,
    ForgetsAll,
    ForgetsDeliveriesInACrash,
}

use Sabotage as S;

/// A channel in a journal, with something broken.
pub struct Spoiled(pub Sabotage);

impl Kind for Spoiled {
    fn name(&self) -> &str {
        "spoiled"
    }

    fn beat_ns(&self) -> u64 {
        InJournal::here().beat_ns()
    }

    fn set_up<'a>(&'a self, plan: &'a ChannelPlan) -> LocalBoxFuture<'a, Result<Box<dyn Rig>, RigError>> {
        Box::pin(async {
            let mut plan = plan.clone();
            self.0.spoil(&mut plan);
            let inner = InJournal::here().set_up(&plan).await?;
            let known = Arc::new(Mutex::new(Known::default()));
            Ok(Box::new(SpoiledRig { inner, plan, how: self.0, known }) as Box<dyn Rig>)
        })
    }
}

impl Sabotage {
    fn spoil(self, plan: &mut ChannelPlan) {
        let options = &mut plan.options;
        match self {
            S::DeliversOnceMore => options.max_deliver = options.max_deliver.map(|max| max + 1),
            S::NeverGivesUp => options.max_deliver = None,
            S::KeepsNoOrder => options.order = Order::None,
            S::OnlyBuries => options.on_poison = OnPoison::Dlq,
            S::LeasesLastLong => options.ack_wait_ns *= 100,
            S::LeasesEndEarly => options.ack_wait_ns /= 4,
            S::PendingIsUnbounded => options.max_ack_pending = 1000,
            S::KeysAreForgottenSoon => options.dedup_horizon_ns = 2_000_000_000,
            S::KeysAreKeptForever => options.dedup_horizon_ns = 1 << 60,
            _ => {}
        }
    }
}

struct SpoiledRig {
    inner: Box<dyn Rig>,
    plan: ChannelPlan,
    how: Sabotage,
    known: Arc<Mutex<Known>>,
}

/// What the peer in the middle has seen.
#[derive(Default)]
struct Known {
    /// Who was granted a packet last, and under which lease.
    live: BTreeMap<Seq, (u64, String)>,
    /// Copies of grants that were handed to who doesn't hold them.
    copied: BTreeSet<(String, Seq, u64)>,
    /// The bytes of what is live.
    packets: BTreeMap<Seq, (u32, Bytes)>,
    /// Taken for settled, and not settled.
    hidden: BTreeSet<Seq>,
    /// By group.
    settled: BTreeSet<(String, Seq)>,
    sent: u64,
    generation: u64,
    floor: Seq,
    /// By business key: what came with it first.
    keys: BTreeMap<String, Bytes>,
    restarted: bool,
    /// More was stored of a producer than it knows of.
    more: BTreeMap<String, u64>,
    under_way: usize,
}

impl Rig for SpoiledRig {
    fn channel(&self) -> Arc<dyn Channel> {
        Arc::new(SpoiledChannel { inner: self.inner.channel(), how: self.how, known: self.known.clone() })
    }

    fn clock(&self) -> Arc<dyn Clock> {
        self.inner.clock()
    }

    fn restart(&mut self, end: End) -> LocalBoxFuture<'_, Result<(), RigError>> {
        Box::pin(async move {
            lock(&self.known).restarted = true;
            match self.how {
                S::ForgetsAll => self.inner = InJournal::here().set_up(&self.plan).await?,
                _ => self.inner.restart(end).await?,
            }
            Ok(())
        })
    }

    fn dead_letters(&mut self) -> LocalBoxFuture<'_, Result<Vec<Letter>, RigError>> {
        match self.how {
            S::BuriesNothing => Box::pin(async { Ok(Vec::new()) }),
            _ => self.inner.dead_letters(),
        }
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().expect("no test panics while it holds what is known")
}

struct SpoiledChannel {
    inner: Arc<dyn Channel>,
    how: Sabotage,
    known: Arc<Mutex<Known>>,
}

impl Channel for SpoiledChannel {
    fn promises(&self) -> &'static [Promise] {
        self.inner.promises()
    }

    fn open(&self, producer: &str, epoch: Epoch) -> Fut<'static, Result<Box<dyn Producer>, ChannelError>> {
        let (inner, how, known) = (self.inner.clone(), self.how, self.known.clone());
        let name = match (how, producer) {
            (S::SharesNumbers, "van") | (S::WelcomesStrangers, "nobody") => "edge",
            (_, name) => name,
        };
        let name = name.to_owned();
        Box::pin(async move {
            let opened = match inner.open(&name, epoch).await {
                Err(ChannelError::Fenced { current, .. }) if how == S::OpensOldEpochs => {
                    inner.open(&name, current).await?
                }
                opened => opened?,
            };
            Ok(Box::new(SpoiledProducer { opened, channel: inner, name, epoch, how, known }) as Box<dyn Producer>)
        })
    }

    fn join(&self, mut joining: Joining) -> Fut<'static, Result<Box<dyn Member>, ChannelError>> {
        let (inner, how, known) = (self.inner.clone(), self.how, self.known.clone());
        match how {
            S::MergesGroups if joining.group == "audit" => {
                (joining.group, joining.member) = ("crew".to_owned(), "cay".to_owned());
            }
            S::IgnoresCredits => joining.credits = 1000,
            S::IgnoresHolding => joining.holding.clear(),
            S::AssumesHolding => {
                let known = lock(&known);
                let own = known.live.iter().filter(|(_, (_, holder))| *holder == joining.member);
                joining.holding.extend(own.map(|(seq, (lease, _))| (*lease, *seq)));
            }
            _ => {}
        }
        let (name, group) = (joining.member.clone(), joining.group.clone());
        Box::pin(async move {
            let member = inner.join(joining).await?;
            Ok(Box::new(SpoiledMember { member, name, group, how, known, extra: VecDeque::new() }) as Box<dyn Member>)
        })
    }
}

struct SpoiledProducer {
    opened: Box<dyn Producer>,
    channel: Arc<dyn Channel>,
    name: String,
    epoch: Epoch,
    how: Sabotage,
    known: Arc<Mutex<Known>>,
}

/// The packet with its business key changed, or its identity.
fn rewritten(packet: &Bytes, change: impl FnOnce(&mut Fields)) -> Bytes {
    let Ok(packet_read) = Packet::decode(packet) else { return packet.clone() };
    let mut fields = Fields::clone(&packet_read);
    change(&mut fields);
    Packet::from(fields).encode()
}

impl SpoiledProducer {
    fn spoil(&self, packet: Bytes) -> Bytes {
        let mut known = lock(&self.known);
        let business = Glance::at(&packet).ok().and_then(|glance| glance.business_key().map(str::to_owned));
        match (self.how, business) {
            (S::ChangesPackets, _) => rewritten(&packet, |fields| {
                if let Identity::Entered { epoch, .. } = &mut fields.identity {
                    epoch.0 += 100;
                }
            }),
            (S::ForgetsKeys, Some(key)) => {
                known.sent += 1;
                anew(&packet, &key, known.sent)
            }
            (S::ForgetsKeysAtTheAck, Some(key)) if !known.settled.is_empty() => anew(&packet, &key, 0),
            (S::ForgetsKeysAtARestart, Some(key)) if known.restarted => anew(&packet, &key, 0),
            (S::MergesConflicts, Some(key)) => known.keys.entry(key).or_insert(packet).clone(),
            _ => packet,
        }
    }
}

/// The packet under another business key.
fn anew(packet: &Bytes, key: &str, nth: u64) -> Bytes {
    rewritten(packet, |fields| drop(fields.meta.insert(BUSINESS_KEY.to_owned(), format!("{key}, {nth}"))))
}

impl Producer for SpoiledProducer {
    fn last(&self) -> Seq {
        let more = lock(&self.known).more.get(&self.name).copied().unwrap_or(0);
        Seq(self.opened.last().0 - more)
    }

    fn publish(&mut self, first: Seq, packets: Vec<Bytes>) -> Fut<'static, Result<Seq, ChannelError>> {
        let packets: Vec<Bytes> = packets.into_iter().map(|packet| self.spoil(packet)).collect();
        let (channel, name, how, known) = (self.channel.clone(), self.name.clone(), self.how, self.known.clone());
        let epoch = self.epoch;
        match how {
            S::TakesOneAtATime => {
                let flies = std::mem::replace(&mut lock(&known).under_way, 1) > 0;
                let published = self.opened.publish(first, packets);
                Box::pin(async move {
                    let held = if flies { Err(ChannelError::Closed) } else { published.await };
                    lock(&known).under_way = 0;
                    held
                })
            }
            S::TakesGaps | S::StoresRepeats => Box::pin(async move {
                // Whatever its number, it is stored as what comes next.
                let mut anew = channel.open(&name, epoch).await?;
                let held = anew.last();
                let claimed = Seq(first.0 + packets.len() as u64 - 1);
                let more = lock(&known).more.get(&name).copied().unwrap_or(0);
                let expected = Seq(held.0 - more + 1);
                let strict = how == S::TakesGaps && first <= expected || how == S::StoresRepeats && first >= expected;
                if strict {
                    return anew.publish(Seq(first.0 + more), packets).await.map(|held| Seq(held.0 - more)).map_err(
                        |error| match error {
                            ChannelError::OutOfSequence { .. } => {
                                ChannelError::OutOfSequence { found: first, expected }
                            }
                            error => error,
                        },
                    );
                }
                let stored = packets.len() as u64;
                anew.publish(held.next(), packets).await?;
                let new = claimed.0.saturating_sub(held.0 - more);
                *lock(&known).more.entry(name).or_default() += stored - new.min(stored);
                Ok(claimed.max(Seq(expected.0 - 1)))
            }),
            S::TakesTooMuch if packets.len() > PUBLISH_PACKETS_MAX => {
                let first_part = packets[..PUBLISH_PACKETS_MAX].to_vec();
                self.opened.publish(first, first_part)
            }
            S::PublishesInOldEpochs => {
                let published = self.opened.publish(first, packets.clone());
                Box::pin(async move {
                    match published.await {
                        Err(ChannelError::Fenced { current, .. }) => {
                            channel.open(&name, current).await?.publish(first, packets).await
                        }
                        held => held,
                    }
                })
            }
            _ => self.opened.publish(first, packets),
        }
    }
}

struct SpoiledMember {
    member: Box<dyn Member>,
    name: String,
    group: String,
    how: Sabotage,
    known: Arc<Mutex<Known>>,
    /// Heard of nobody.
    extra: VecDeque<ToMember>,
}

impl SpoiledMember {
    /// What the member hears instead, and what is acked behind its back.
    fn spoil(&self, word: &mut ToMember) -> Option<Settle> {
        let mut known = lock(&self.known);
        match word {
            ToMember::Joined { generation, floor, .. } => {
                known.generation = *generation;
                match self.how {
                    S::GenerationsStand => *generation = 1,
                    S::FloorFallsBack => *floor = Seq(0),
                    S::FloorIsShared => *floor = known.floor.max(*floor),
                    _ => {}
                }
            }
            ToMember::Generation { generation } => {
                known.generation = *generation;
                if self.how == S::GenerationsStand {
                    *generation = 1;
                }
            }
            ToMember::Fenced { generation, .. } if self.how == S::GenerationsStand => *generation = 1,
            ToMember::Settled { seqs, floor, .. } => {
                if self.how == S::FloorRunsAhead {
                    *floor = seqs.iter().copied().fold(*floor, Seq::max);
                }
                known.floor = known.floor.max(*floor);
                known.settled.extend(seqs.iter().map(|seq| (self.group.clone(), *seq)));
            }
            ToMember::Granted { lease, packets } => {
                for (seq, delivery, packet) in packets.iter() {
                    known.live.insert(*seq, (*lease, self.name.clone()));
                    known.packets.insert(*seq, (*delivery, packet.clone()));
                }
                match self.how {
                    S::ReversesGrants => packets.reverse(),
                    S::ForgetsDeliveriesInACrash if known.restarted => {
                        packets.iter_mut().for_each(|(_, delivery, _)| *delivery = 1);
                    }
                    S::LosesPackets => {
                        let is_lost = |packet: &Bytes| Glance::at(packet).is_ok_and(|glance| glance.payload == b"c");
                        known
                            .hidden
                            .extend(packets.iter().filter(|(.., packet)| is_lost(packet)).map(|(seq, ..)| *seq));
                    }
                    _ => {}
                }
                let hidden: Vec<Seq> =
                    packets.iter().map(|(seq, ..)| *seq).filter(|seq| known.hidden.contains(seq)).collect();
                if !hidden.is_empty() {
                    packets.retain(|(seq, ..)| !hidden.contains(seq));
                    let (generation, lease, reason) = (known.generation, *lease, String::new());
                    return Some(Settle { generation, lease, seqs: hidden, outcome: Outcome::Ack, reason });
                }
            }
            _ => {}
        }
        None
    }

    /// A grant of what another holds.
    fn copy(&self) -> Option<ToMember> {
        let mut known = lock(&self.known);
        let others = known.live.iter().find(|(seq, (lease, holder))| {
            *holder != self.name && !known.copied.contains(&(self.name.clone(), **seq, *lease))
        });
        let (seq, lease) = others.map(|(seq, (lease, _))| (*seq, *lease))?;
        known.copied.insert((self.name.clone(), seq, lease));
        let (delivery, packet) = known.packets.get(&seq)?.clone();
        Some(ToMember::Granted { lease, packets: vec![(seq, delivery, packet)] })
    }

    fn has_settled(&self, seqs: &[Seq]) -> bool {
        let known = lock(&self.known);
        seqs.iter().all(|seq| known.settled.contains(&(self.group.clone(), *seq)))
    }

    /// True when a settle that changes nothing is taken for one that does.
    fn is_fooled(&self, settle: &Settle) -> bool {
        let known = lock(&self.known);
        let live = settle.seqs.first().and_then(|seq| known.live.get(seq));
        match self.how {
            S::TakesStaleLeases => live.is_some_and(|(lease, _)| *lease != settle.lease),
            S::TakesAnyones => live.is_some_and(|(_, holder)| *holder != self.name),
            S::TakesTheFuture => live.is_none(),
            _ => false,
        }
    }
}

impl Member for SpoiledMember {
    fn hear(&mut self) -> Fut<'_, Result<ToMember, ChannelError>> {
        Box::pin(async {
            if let Some(word) = self.extra.pop_front() {
                return Ok(word);
            }
            if self.how == S::SharesLeases
                && lock(&self.known).generation > 0
                && let Some(copy) = self.copy()
            {
                return Ok(copy);
            }
            loop {
                let heard = self.member.hear().await;
                if self.how == S::LetsSessionsLinger && heard.is_err() {
                    std::future::pending::<()>().await;
                }
                let mut word = heard?;
                if let Some(settle) = self.spoil(&mut word) {
                    self.member.settle(settle).await?;
                }
                if !matches!(&word, ToMember::Granted { packets, .. } if packets.is_empty()) {
                    return Ok(word);
                }
            }
        })
    }

    fn settle(&mut self, mut settle: Settle) -> Fut<'_, Result<(), ChannelError>> {
        let nothing = Box::pin(std::future::ready(Ok(())));
        let (lease, seqs) = (settle.lease, settle.seqs.clone());
        match (self.how, settle.outcome) {
            (S::IgnoresExtensions, Outcome::Extend) | (S::IgnoresRetries, Outcome::Retry { .. }) => return nothing,
            (S::RetriesAtOnce, Outcome::Retry { .. }) => settle.outcome = Outcome::Retry { delay_ns: Some(1) },
            (S::IgnoresDelays, Outcome::Retry { .. }) => settle.outcome = Outcome::Retry { delay_ns: None },
            (S::AcksRejections, Outcome::Reject) => settle.outcome = Outcome::Ack,
            (S::TakesStaleGenerations | S::GenerationsStand, _) => settle.generation = lock(&self.known).generation,
            (S::JudgesTogether, _) if seqs.iter().any(|seq| !lock(&self.known).live.contains_key(seq)) => {
                let generation = settle.generation;
                self.extra.push_back(ToMember::Fenced { generation, still_held: false, lease, seqs });
                return nothing;
            }
            (S::RefusesRepeats, Outcome::Ack | Outcome::Reject) if self.has_settled(&seqs) => {
                let generation = settle.generation;
                self.extra.push_back(ToMember::Fenced { generation, still_held: false, lease, seqs });
                return nothing;
            }
            _ => {}
        }
        if self.is_fooled(&settle) {
            let mut known = lock(&self.known);
            known.hidden.extend(&seqs);
            self.extra.push_back(ToMember::Settled { lease, seqs, floor: known.floor, around: Vec::new() });
            return nothing;
        }
        self.member.settle(settle)
    }
}
