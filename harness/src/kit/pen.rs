//! A producer of a case.

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use seaworthy_engine::channel::kind::{ChannelError, Producer};
use seaworthy_engine::packet::Seq;

use super::Breach;
use super::item::Item;
use super::setting::Time;

/// A producer of a case.
pub struct Pen {
    held: Box<dyn Producer>,
    name: String,
    epoch: u64,
    next: Seq,
    time: Time,
}

impl Pen {
    pub(super) fn new(held: Box<dyn Producer>, name: &str, epoch: u64, time: Time) -> Pen {
        Pen { next: held.last().next(), held, name: name.to_owned(), epoch, time }
    }

    /// The last number that the channel held when it was opened.
    #[must_use]
    pub fn last(&self) -> Seq {
        self.held.last()
    }

    /// What comes of publishing packets under any numbers.
    ///
    /// # Errors
    /// When nothing comes of it.
    pub async fn publish(&mut self, first: u64, items: &[Item]) -> Result<Result<Seq, ChannelError>, Breach> {
        let encode = |(at, item): (usize, &Item)| item.encode(&self.name, self.epoch, Seq(first + at as u64));
        self.publish_bytes(first, items.iter().enumerate().map(encode).collect()).await
    }

    /// What comes of publishing these very bytes.
    ///
    /// # Errors
    /// When nothing comes of it.
    pub async fn publish_bytes(
        &mut self,
        first: u64,
        packets: Vec<Bytes>,
    ) -> Result<Result<Seq, ChannelError>, Breach> {
        let what = format!("{} publishes {} packets from {first}", self.name, packets.len());
        let published = self.held.publish(Seq(first), packets);
        self.time.patiently(&what, published).await
    }

    /// Publishes packets one by one, without waiting for answers, and then hears them all.
    ///
    /// # Errors
    /// When one is not taken.
    pub async fn send_each(&mut self, items: &[Item]) -> Result<(), Breach> {
        let mut answers = FuturesOrdered::new();
        for item in items {
            let packet = item.encode(&self.name, self.epoch, self.next);
            answers.push_back(self.held.publish(self.next, vec![packet]));
            self.next = self.next.next();
        }
        let time = self.time.clone();
        let all: Vec<Result<Seq, ChannelError>> = time.patiently("publishes under way", answers.collect()).await?;
        match all.into_iter().find_map(Result::err) {
            Some(error) => Err(Breach::new(format!("one of several publishes under way failed: {error}"))),
            None => Ok(()),
        }
    }

    /// Publishes what comes next.
    ///
    /// # Errors
    /// When it is not taken whole.
    pub async fn send(&mut self, items: &[Item]) -> Result<(), Breach> {
        let (first, last) = (self.next, Seq(self.next.0 + items.len() as u64 - 1));
        match self.publish(first.0, items).await? {
            Ok(held) if held == last => {
                self.next = last.next();
                Ok(())
            }
            other => Err(Breach::new(format!("{} sent {first} to {last}, and heard {other:?}", self.name))),
        }
    }
}
