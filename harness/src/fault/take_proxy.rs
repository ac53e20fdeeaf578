//! The other half of the peer in the middle of a lane: between a member of a group and its host. What a member settles is
//! delayed, repeated, lost or forged; all else passes at once.

use std::collections::BTreeMap;
use std::convert::Infallible;

use seaworthy_engine::lane::protocol::v1::{
    FromDesk, FromMember, Granted, Outcome, Range, Settle, from_desk, from_member,
};
use seaworthy_engine::lane::protocol::{IDLE_NS, SILENCE_NS};
use seaworthy_engine::lane::wire::{self, CutAtEnd};
use seaworthy_engine::lane::{LaneError, Mailbox};
use tonic::{Status, Streaming};
use xxhash_rust::xxh3::xxh3_64;

use super::lane_proxy::{LaneProxy, Settings, Spoilt};
use crate::plan::Ns;

/// What goes to the member.
pub(super) type ToMember = Result<FromDesk, Status>;

/// One connection on each side.
pub(super) struct TakeRelay<'a> {
    proxy: &'a LaneProxy,
    to_member: Mailbox<ToMember>,
    to_host: Mailbox<FromMember>,
    /// The channel and the member, once its Join passed.
    channel: String,
    member: String,
    /// The how many-th connection of that member this is: what it says again is drawn for again.
    join: u64,
    /// The generation that the host spoke of last.
    generation: u64,
    /// Settles that wait, by when they are due and in which order they came. Bounded by the member's credits.
    late: BTreeMap<(Ns, u64), Settle>,
    settles: u64,
    /// A settle was lost: the connection ends soon, or its member would wait for ever.
    cut_at_ns: Option<Ns>,
}

impl<'a> TakeRelay<'a> {
    pub(super) fn new(proxy: &'a LaneProxy, to_member: Mailbox<ToMember>) -> Self {
        TakeRelay {
            proxy,
            to_member,
            to_host: Mailbox::default(),
            channel: String::new(),
            member: String::new(),
            join: 0,
            generation: 0,
            late: BTreeMap::new(),
            settles: 0,
            cut_at_ns: None,
        }
    }

    pub(super) async fn run(mut self, mut from_member: Streaming<FromMember>) -> Result<Infallible, LaneError> {
        let clock = &self.proxy.clock;
        let (mut client, line) = wire::dial(&*self.proxy.connect, clock, &self.proxy.onward).await?;
        let _cut = CutAtEnd(line.clone());
        let mono = clock.clone();
        let answered = tokio::select! {
            biased;
            answered = client.take(self.to_host.outgoing(move || mono.mono())) => answered.map_err(LaneError::from)?,
            () = clock.sleep(SILENCE_NS) => return Err(LaneError::Silent),
        };
        let mut from_host = answered.into_inner();
        loop {
            tokio::select! {
                biased;
                message = from_member.message() => {
                    self.up(message.map_err(LaneError::from)?.ok_or(LaneError::Closed)?);
                }
                message = from_host.message() => match message {
                    Ok(Some(message)) => self.down(message),
                    // How the host ended is the member's to know.
                    ended => return self.end(ended.err()).await,
                },
                () = clock.sleep_until(self.due_ns()) => {
                    self.deliver();
                    let cut = self.cut_at_ns.is_some_and(|at| at <= clock.mono());
                    if cut || line.is_silent() {
                        return Err(LaneError::Cut);
                    }
                }
            }
        }
    }

    async fn end(&self, status: Option<Status>) -> Result<Infallible, LaneError> {
        if let Some(status) = status {
            self.to_member.push(self.proxy.clock.mono(), None, Err(status));
        }
        self.to_member.close();
        self.proxy.clock.sleep(IDLE_NS).await;
        Err(LaneError::Closed)
    }

    /// When to look up at the latest.
    fn due_ns(&self) -> Ns {
        let late = self.late.keys().next().map(|(due, _)| *due);
        [late, self.cut_at_ns].into_iter().flatten().fold(self.proxy.clock.mono() + IDLE_NS, Ns::min)
    }

    fn up(&mut self, message: FromMember) {
        match message.message {
            Some(from_member::Message::Settle(settle)) => self.spoil(settle),
            message => {
                if let Some(from_member::Message::Join(join)) = &message {
                    (self.channel, self.member) = (join.channel.clone(), join.process.clone());
                    self.join = self.proxy.faults.with(&self.channel, |settings| settings.joined(&self.member));
                }
                self.send(FromMember { message });
            }
        }
    }

    fn down(&mut self, message: FromDesk) {
        match &message.message {
            Some(from_desk::Message::Joined(joined)) => self.generation = joined.generation,
            Some(from_desk::Message::Generation(new)) => self.generation = new.generation,
            Some(from_desk::Message::Granted(granted)) => {
                if let Some(settle) = self.forge(granted) {
                    return self.send(FromMember { message: Some(from_member::Message::Settle(settle)) });
                }
            }
            _ => {}
        }
        self.to_member.push(self.proxy.clock.mono(), None, Ok(message));
    }

    /// Settles what was granted in the member's name, where that is asked for; the member never gets it.
    fn forge(&self, granted: &Granted) -> Option<Settle> {
        let forged = self.proxy.faults.with(&self.channel, Settings::forges);
        let range = |seq| Range { from: seq, to: seq };
        forged.then(|| Settle {
            generation: self.generation,
            lease: granted.lease,
            ranges: granted.packets.iter().map(|delivery| range(delivery.seq)).collect(),
            outcome: Outcome::Ack.into(),
            ..Settle::default()
        })
    }

    fn spoil(&mut self, settle: Settle) {
        if self.cut_at_ns.is_some() {
            // Whatever follows what was lost would make up for it.
            return;
        }
        let now = self.proxy.clock.mono();
        let first = settle.ranges.first().map_or(0, |range| range.from);
        let key = [xxh3_64(self.channel.as_bytes()), xxh3_64(self.member.as_bytes()), self.join, settle.lease, first];
        let Spoilt { cut_after_ns, late_ns, twice } = self
            .proxy
            .faults
            .with(&self.channel, |settings| settings.spoil(|stream| self.proxy.seed.draw(stream, &key)));
        if let Some(after_ns) = cut_after_ns {
            self.cut_at_ns = Some(now + after_ns);
            return;
        }
        if twice {
            self.later(now + late_ns, settle.clone());
        }
        self.later(now + late_ns, settle);
        self.deliver();
    }

    fn later(&mut self, due_ns: Ns, settle: Settle) {
        self.settles += 1;
        self.late.insert((due_ns, self.settles), settle);
    }

    fn deliver(&mut self) {
        let now = self.proxy.clock.mono();
        while let Some(entry) = self.late.first_entry().filter(|entry| entry.key().0 <= now) {
            let settle = entry.remove();
            if self.cut_at_ns.is_none() {
                self.send(FromMember { message: Some(from_member::Message::Settle(settle)) });
            }
        }
    }

    fn send(&self, message: FromMember) {
        self.to_host.push(self.proxy.clock.mono(), None, message);
    }
}
