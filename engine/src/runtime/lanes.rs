//! The journal as the two ends of a lane: the outbox of a producer, the inlet of a channel's host.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::inputs::{Numbers, channel_name};
use super::shared::{Shared, plain};
use crate::channel::producer::Producers;
use crate::env::Fut;
use crate::journal::record::{Name, Producer, Settle, identity_of};
use crate::journal::{Intent, Journal, JournalError, Record};
use crate::lane::{Inlet, LaneError, Outbox};
use crate::observe::{Event, What};
use crate::packet::{Epoch, Identity, Seq};
use crate::process::ChannelPlan;

fn journal_error(channel: &str) -> impl FnOnce(JournalError) -> LaneError {
    let channel = channel.to_owned();
    move |error| LaneError::Journal { channel, source: Box::new(error) }
}

/// A producer's side: the channel in its own journal, taken from by its host.
pub(super) struct JournalOutbox {
    journal: Journal,
    plan: ChannelPlan,
    name: Name,
    epoch: Epoch,
}

impl JournalOutbox {
    pub(super) fn new(journal: &Journal, plan: &ChannelPlan, epoch: Epoch) -> Self {
        JournalOutbox { journal: journal.clone(), plan: plan.clone(), name: channel_name(&plan.id), epoch }
    }
}

impl Outbox for JournalOutbox {
    fn channel(&self) -> &str {
        &self.plan.id
    }

    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn floor(&self) -> Seq {
        self.journal.image(|image| image.cursor(&self.name, &self.plan.host).floor)
    }

    fn read(
        &self,
        from: Seq,
        max_packets: usize,
        max_bytes: usize,
    ) -> Fut<'static, Result<Vec<(Seq, Epoch, Bytes)>, LaneError>> {
        let (journal, name, channel) = (self.journal.clone(), self.name.clone(), self.plan.id.clone());
        Box::pin(async move {
            let packets = journal.read(&name, from, max_packets, max_bytes).await.map_err(journal_error(&channel))?;
            let with_epoch = |(seq, packet): (Seq, Bytes)| {
                let epoch = match identity_of(&packet) {
                    Some(Identity::Entered { epoch, .. }) => epoch,
                    // A derived packet's identity holds its origin's epoch within the hash.
                    Some(Identity::Derived(_)) | None => Epoch(0),
                };
                (seq, epoch, packet)
            };
            Ok(packets.into_iter().map(with_epoch).collect())
        })
    }

    fn settle(&self, upto: Seq) -> Fut<'static, Result<(), LaneError>> {
        let (journal, name, plan) = (self.journal.clone(), self.name.clone(), self.plan.clone());
        Box::pin(async move {
            let (floor, last) = journal.image(|image| {
                (image.cursor(&name, &plan.host).floor, image.channel(&name).map_or(Seq(0), |packets| packets.last))
            });
            if upto > last {
                return Err(LaneError::Ahead { channel: plan.id, upto, end: last });
            }
            if upto <= floor {
                return Ok(());
            }
            let seqs = vec![(floor.next(), upto)];
            let settle = Settle { input: name, group: plan.host.as_str().into(), seqs, position: None };
            let commit =
                journal.append(vec![Record::Settle(settle)], Intent::Drain).await.map_err(journal_error(&plan.id))?;
            commit.wait().await.map_err(journal_error(&plan.id))?;
            Ok(())
        })
    }
}

/// A host's side: what arrives is deduplicated by producer and number, and appended.
pub(super) struct JournalInlet {
    shared: Arc<Shared>,
    channel: String,
    producer: String,
    name: Name,
    ends: Arc<Mutex<Ends>>,
}

struct Ends {
    producers: Producers,
    numbers: Numbers,
}

impl JournalInlet {
    pub(super) fn new(shared: &Arc<Shared>, plan: &ChannelPlan) -> Self {
        let name = channel_name(&plan.id);
        let mut producers = Producers::default();
        let last = shared.journal.image(|image| {
            if let Some((epoch, last)) = image.producer(&name, &plan.producer) {
                producers.open(&plan.id, &plan.producer, epoch).expect("an empty table fences nobody");
                producers.accept(&plan.id, &plan.producer, last);
            }
            image.channel(&name).map_or(Seq(0), |packets| packets.last)
        });
        let ends_now = Arc::new(Mutex::new(Ends { producers, numbers: Numbers::after(last) }));
        let (channel, producer) = (plan.id.clone(), plan.producer.clone());
        JournalInlet { shared: shared.clone(), channel, producer, name, ends: ends_now }
    }
}

/// A packet that the producer sent again.
fn duplicate(name: &Name, packet: &[u8]) -> Event {
    Event { identity: identity_of(packet), ..plain(What::Refused { reason: "lane.duplicate".into() }, name) }
}

impl Inlet for JournalInlet {
    fn channel(&self) -> &str {
        &self.channel
    }

    fn open(&self, producer: &str, epoch: Epoch) -> Fut<'static, Result<Seq, LaneError>> {
        let (shared, name, channel) = (self.shared.clone(), self.name.clone(), self.channel.clone());
        let (ends, producer) = (self.ends.clone(), producer.to_owned());
        let is_linked = producer == self.producer;
        Box::pin(async move {
            // Whoever it has proved to be: only those that the process graph links here may publish.
            if !is_linked {
                return Err(LaneError::UnknownChannel { channel });
            }
            let last = {
                let mut ends = ends.lock().expect("no code panics while it holds an inlet");
                ends.producers
                    .open(&channel, &producer, epoch)
                    .map_err(|rejection| LaneError::rejected(&channel, rejection))?
            };
            let record = Record::Producer(Producer { channel: name, producer: producer.as_str().into(), epoch, last });
            // Durable also when nothing changed: what was accepted before this is then durable too.
            let commit = shared.journal.append(vec![record], Intent::Drain).await.map_err(journal_error(&channel))?;
            commit.wait().await.map_err(journal_error(&channel))?;
            Ok(last)
        })
    }

    fn append(
        &self,
        producer: &str,
        epoch: Epoch,
        first: Seq,
        packets: Vec<(Epoch, Bytes)>,
    ) -> Fut<'static, Result<Seq, LaneError>> {
        let (shared, name, channel) = (self.shared.clone(), self.name.clone(), self.channel.clone());
        let (ends, producer) = (self.ends.clone(), producer.to_owned());
        Box::pin(async move {
            let (commit, last) = {
                // Nothing awaits in here, so that appends polled in order are submitted in order.
                let mut ends = ends.lock().expect("no code panics while it holds an inlet");
                let count = packets.len() as u64;
                let offered = ends.producers.offer(&channel, &producer, epoch, first, count);
                let accept = offered.map_err(|rejection| {
                    let error = LaneError::rejected(&channel, rejection);
                    shared.emit(&[plain(What::Refused { reason: error.name().into() }, &name)]);
                    error
                })?;
                let mut packets = packets.into_iter();
                let skip = usize::try_from(accept.skip).expect("at most a batch is skipped");
                let again: Vec<Event> =
                    packets.by_ref().take(skip).map(|(_, packet)| duplicate(&name, &packet)).collect();
                shared.emit(&again);
                let fresh = packets;
                let before = ends.numbers.clone();
                let mut tx: Vec<Record> = fresh
                    .map(|(_, packet)| Record::Append { channel: name.clone(), seq: ends.numbers.next(), packet })
                    .collect();
                let intent = if tx.is_empty() { Intent::Drain } else { Intent::Produce };
                let producer_name: Name = producer.as_str().into();
                tx.push(Record::Producer(Producer {
                    channel: name.clone(),
                    producer: producer_name,
                    epoch,
                    last: accept.last,
                }));
                match shared.journal.submit(tx, intent) {
                    Ok(commit) => {
                        ends.producers.accept(&channel, &producer, accept.last);
                        (commit, accept.last)
                    }
                    Err(full) => {
                        ends.numbers = before;
                        shared.emit(&[plain(What::Refused { reason: "lane.full".into() }, &name)]);
                        tracing::debug!(channel, %full, "no room for a batch");
                        return Err(LaneError::Full { channel });
                    }
                }
            };
            commit.wait().await.map_err(journal_error(&channel))?;
            Ok(last)
        })
    }
}
