//! A channel whose host is this process, as a kind of channel: straight to its inlet and its desks.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use bytes::Bytes;

use super::take::{Desk, Session};
use super::{Inlet, LaneError};
use crate::channel::kind::{self, Channel, ChannelError, Joining, Member, Producer, Promise, Settle, ToMember};
use crate::env::Fut;
use crate::packet::{Epoch, Seq};

/// A channel that this process hosts. No hold on it keeps its host alive.
#[derive(Clone)]
pub struct Near {
    inlet: Weak<dyn Inlet>,
    /// By group.
    desks: BTreeMap<String, Arc<dyn Desk>>,
}

impl Near {
    /// A channel by its two ends.
    #[must_use]
    pub fn new(inlet: &Arc<dyn Inlet>, desks: Vec<Arc<dyn Desk>>) -> Near {
        let inlet = Arc::downgrade(inlet);
        Near { inlet, desks: desks.into_iter().map(|desk| (desk.group().to_owned(), desk)).collect() }
    }
}

impl Channel for Near {
    fn promises(&self) -> &'static [Promise] {
        &Promise::ALL
    }

    fn open(&self, producer: &str, epoch: Epoch) -> Fut<'static, Result<Box<dyn Producer>, ChannelError>> {
        let (inlet, name) = (self.inlet.clone(), producer.to_owned());
        Box::pin(async move {
            let opening = inlet.upgrade().ok_or(ChannelError::Closed)?.open(&name, epoch);
            let last = opening.await.map_err(|error| error.of(&name))?;
            Ok(Box::new(Opened { inlet, name, epoch, last }) as Box<dyn Producer>)
        })
    }

    fn join(&self, joining: Joining) -> Fut<'static, Result<Box<dyn Member>, ChannelError>> {
        let desk = self.desks.get(&joining.group).cloned();
        Box::pin(async move {
            let Joining { member, credits, holding, .. } = joining;
            let Some(desk) = desk else { return Err(ChannelError::Stranger { who: member }) };
            let session = desk.join(&member, credits, holding).await.map_err(|error| error.of(&member))?;
            Ok(Box::new(session) as Box<dyn Member>)
        })
    }
}

struct Opened {
    inlet: Weak<dyn Inlet>,
    name: String,
    epoch: Epoch,
    last: Seq,
}

impl Producer for Opened {
    fn last(&self) -> Seq {
        self.last
    }

    fn publish(&mut self, first: Seq, packets: Vec<Bytes>) -> Fut<'static, Result<Seq, ChannelError>> {
        if let Err(error) = kind::check_publish(first, &packets) {
            return Box::pin(std::future::ready(Err(error)));
        }
        let packets = packets.into_iter().map(|packet| (self.epoch, packet)).collect();
        let Some(inlet) = self.inlet.upgrade() else { return Box::pin(std::future::ready(Err(ChannelError::Closed))) };
        let (appended, name) = (inlet.append(&self.name, self.epoch, (first, 0), packets), self.name.clone());
        Box::pin(async move { appended.await.map_err(|error| error.of(&name)) })
    }
}

impl Member for Session {
    fn hear(&mut self) -> Fut<'_, Result<ToMember, ChannelError>> {
        Box::pin(async { self.heard.recv().await.ok_or(ChannelError::Closed) })
    }

    fn settle(&mut self, settle: Settle) -> Fut<'_, Result<(), ChannelError>> {
        Box::pin(async { Session::settle(self, settle).await.map_err(|_| ChannelError::Closed) })
    }
}

impl LaneError {
    /// What `who` hears of it as the user of a channel.
    pub(super) fn of(self, who: &str) -> ChannelError {
        match self {
            LaneError::UnknownChannel { .. } => ChannelError::Stranger { who: who.to_owned() },
            LaneError::Fenced { epoch, current, .. } => ChannelError::Fenced { epoch, current },
            LaneError::OutOfSequence { found, expected, .. } => ChannelError::OutOfSequence { found, expected },
            LaneError::Full { .. } => ChannelError::Full,
            LaneError::TooLarge { bytes, .. } => ChannelError::TooLarge { packets: 1, bytes },
            LaneError::Closed | LaneError::Cut => ChannelError::Closed,
            error => ChannelError::Failed(Box::new(error)),
        }
    }
}
