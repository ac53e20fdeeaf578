//! The journal as the two ends of a lane: the outbox of a producer, the inlet of a channel's host.

use std::sync::Arc;

use bytes::Bytes;

use super::hosted::Hosted;
use super::inputs::channel_name;
use crate::channel::producer;
use crate::env::Fut;
use crate::journal::record::{Name, Settle, identity_of};
use crate::journal::{Intent, Journal, JournalError, Record};
use crate::lane::{Inlet, LaneError, Outbox};
use crate::packet::{Epoch, Identity, Seq};
use crate::process::ChannelPlan;

pub(super) fn journal_error(channel: &str) -> impl FnOnce(JournalError) -> LaneError {
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

    fn journal(&self) -> Option<u128> {
        self.journal.counts_apart()
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
            let packets =
                journal.read_synced(&name, from, max_packets, max_bytes).await.map_err(journal_error(&channel))?;
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
    hosted: Arc<Hosted>,
    /// Who may put packets in.
    producers: Vec<String>,
}

impl JournalInlet {
    pub(super) fn new(hosted: &Arc<Hosted>, plan: &ChannelPlan) -> Self {
        JournalInlet { hosted: hosted.clone(), producers: plan.producers.clone() }
    }
}

impl Inlet for JournalInlet {
    fn channel(&self) -> &str {
        self.hosted.channel()
    }

    fn lost(&self) -> bool {
        self.hosted.lost()
    }

    fn open(&self, producer: &str, epoch: Epoch) -> Fut<'static, Result<Seq, LaneError>> {
        let (hosted, producer) = (self.hosted.clone(), producer.to_owned());
        let known = self.producers.iter().any(|process| process == producer::process(&producer));
        Box::pin(async move {
            if known {
                hosted.open(&producer, epoch).await
            } else {
                Err(LaneError::UnknownChannel { channel: hosted.channel().to_owned() })
            }
        })
    }

    fn append(
        &self,
        producer: &str,
        epoch: Epoch,
        from: (Seq, u64),
        packets: Vec<(Epoch, Bytes)>,
    ) -> Fut<'static, Result<Seq, LaneError>> {
        let (hosted, producer) = (self.hosted.clone(), producer.to_owned());
        Box::pin(async move {
            let (commit, last) = hosted.append(&producer, epoch, from, packets)?;
            commit.synced().await.map_err(journal_error(hosted.channel()))?;
            Ok(last)
        })
    }
}
