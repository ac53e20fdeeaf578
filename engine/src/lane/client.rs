//! The producer's end of a lane: connects, sends what the outboxes hold, and settles what the host acked.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::StreamExt;
use tonic::transport::Channel;
use tonic::{Status, Streaming};
use xxhash_rust::xxh3::xxh3_64;

use super::heartbeat::Heartbeat;
use super::protocol::v1::{
    Ack, Credits, FromHost, FromProducer, Hello, Opened, Opening, Ping, Pong, Publish, Welcome, from_host,
    from_producer, lane_client::LaneClient,
};
use super::protocol::{
    self, BACKOFF_MAX_NS, BACKOFF_MIN_NS, BATCH_BYTES_MAX, BATCH_PACKETS_MAX, CREDITS, PACKET_BYTES_MAX, PROTOCOL,
    SILENCE_NS, fits,
};
use super::wire::{CutAtEnd, Line, dial};
use super::{LaneError, Mailbox, Outbox, Unsent, within};
use crate::env::{Env, Fut, Seed, Work};
use crate::observe::{Event as Observed, What};
use crate::packet::Seq;
use crate::sometimes;

/// Carries all `outboxes` of `process` to `peer`, the host of their channels. Connects again whenever a connection ends,
/// for ever, until dropped.
pub async fn run(env: Env, peer: String, process: String, outboxes: Vec<Arc<dyn Outbox>>) -> Infallible {
    let mut attempt = 0;
    let mut said = "";
    loop {
        let mut progress = false;
        let error = match connection(&env, &peer, &process, &outboxes, &mut progress).await {
            Ok(never) => match never {},
            Err(error) => error,
        };
        // The same word again and again, while a peer is away, would only fill the log.
        if progress || said != error.name() {
            tracing::warn!(peer, error = &error as &dyn std::error::Error, "the lane is down");
        }
        said = error.name();
        attempt = if progress { 1 } else { attempt + 1 };
        env.clock.sleep(backoff_ns(&*env.seed, "lane.backoff", &[&peer, &process], attempt)).await;
    }
}

/// How long to wait before connecting again after `attempt` failures in a row, from 1: doubling, with up to half of it
/// taken off, so that many producers don't come back at once.
pub(super) fn backoff_ns(seed: &dyn Seed, stream: &'static str, names: &[&str], attempt: u64) -> u64 {
    let doublings = (attempt - 1).min(16) as u32;
    let full = BACKOFF_MIN_NS.saturating_mul(1 << doublings).min(BACKOFF_MAX_NS);
    let mut key: Vec<u64> = names.iter().map(|name| xxh3_64(name.as_bytes())).collect();
    key.push(attempt);
    full - seed.draw(stream, &key) % (full / 2)
}

/// One connection, from dialling to its end. `progress` turns true once the host took something.
pub(super) async fn connection(
    env: &Env,
    peer: &str,
    process: &str,
    outboxes: &[Arc<dyn Outbox>],
    progress: &mut bool,
) -> Result<Infallible, LaneError> {
    let (client, line) = dial(&*env.net, &env.clock, peer).await?;
    let _cut = CutAtEnd(line.clone());
    converse(env, peer, process, outboxes, client, &line, progress).await.map_err(|error| line.why(error))
}

async fn converse(
    env: &Env,
    peer: &str,
    process: &str,
    outboxes: &[Arc<dyn Outbox>],
    mut client: LaneClient<Channel>,
    line: &Arc<Line>,
    progress: &mut bool,
) -> Result<Infallible, LaneError> {
    let mailbox = Mailbox::default();
    let clock = env.clock.clone();
    let outgoing = mailbox.outgoing(move || clock.mono());
    let mut session = Session {
        heartbeat: Heartbeat::new(env.clock.clone(), line.clone()),
        env,
        peer,
        mailbox,
        welcomed: false,
        tubes: outboxes.iter().cloned().map(Tube::new).collect(),
    };
    session.send(None, from_producer::Message::Hello(hello(env, process, outboxes)));
    let answered = within(&env.clock, SILENCE_NS, client.carry(outgoing)).await.map_err(|_| LaneError::Silent)?;
    let mut inbound = answered.map_err(LaneError::from)?.into_inner();
    loop {
        let event = poll_fn(|cx| session.poll(&mut inbound, cx)).await;
        *progress |= matches!(event, Event::Heard(Ok(Some(FromHost { message: Some(from_host::Message::Ack(_)) }))));
        session.handle(event).await?;
        session.pump().await?;
    }
}

fn hello(env: &Env, process: &str, outboxes: &[Arc<dyn Outbox>]) -> Hello {
    let opening = |outbox: &Arc<dyn Outbox>| {
        let journal = outbox.journal().map(|id| Bytes::copy_from_slice(&id.to_be_bytes())).unwrap_or_default();
        Opening { channel: outbox.channel().into(), epoch: outbox.epoch().0, journal }
    };
    let channels = outboxes.iter().map(opening).collect();
    Hello { protocol: Some(PROTOCOL), process: process.into(), channels, token: env.net.token() }
}

struct Session<'a> {
    env: &'a Env,
    peer: &'a str,
    mailbox: Mailbox<FromProducer>,
    heartbeat: Heartbeat,
    welcomed: bool,
    tubes: Vec<Tube>,
}

/// One channel on this connection.
struct Tube {
    outbox: Arc<dyn Outbox>,
    /// False until the host opened it, and again once it was refused: then it rests until the next connection.
    open: bool,
    /// The next to be read; all below is sent or in `ready`.
    next: Seq,
    /// The last that was sent.
    sent: Seq,
    acked: Seq,
    settled: Seq,
    credits: Credits,
    flying: VecDeque<Flight>,
    flying_packets: usize,
    flying_bytes: usize,
    /// Read, but beyond the credits.
    ready: VecDeque<(Publish, usize)>,
    reading: Option<Fut<'static, Result<Unsent, LaneError>>>,
    settling: Option<(Seq, Fut<'static, Result<(), LaneError>>)>,
}

/// A batch that the host has not acked.
struct Flight {
    last: Seq,
    packets: usize,
    bytes: usize,
}

enum Event {
    Read(usize, Result<Unsent, LaneError>),
    Settled(usize, Seq, Result<(), LaneError>),
    Heard(Result<Option<FromHost>, Status>),
    Beat(Result<Option<u64>, LaneError>),
}

const SLOT_PING: Option<u64> = Some(0);
const SLOT_PONG: Option<u64> = Some(1);

impl Session<'_> {
    fn poll(&mut self, inbound: &mut Streaming<FromHost>, cx: &mut Context<'_>) -> Poll<Event> {
        for (i, tube) in self.tubes.iter_mut().enumerate() {
            if let Some((upto, settling)) = &mut tube.settling
                && let Poll::Ready(result) = settling.as_mut().poll(cx)
            {
                return Poll::Ready(Event::Settled(i, *upto, result));
            }
            if let Some(reading) = &mut tube.reading
                && let Poll::Ready(result) = reading.as_mut().poll(cx)
            {
                return Poll::Ready(Event::Read(i, result));
            }
        }
        if let Poll::Ready(heard) = inbound.poll_next_unpin(cx) {
            return Poll::Ready(Event::Heard(heard.transpose()));
        }
        self.heartbeat.poll(cx).map(Event::Beat)
    }

    async fn handle(&mut self, event: Event) -> Result<(), LaneError> {
        match event {
            Event::Read(i, result) => {
                self.tubes[i].reading = None;
                let taken = match result {
                    Ok(packets) => self.tubes[i].take(packets),
                    Err(error) => Err(error),
                };
                taken.or_else(|error| self.rest(i, error))
            }
            Event::Settled(i, upto, result) => {
                self.tubes[i].settling = None;
                match result {
                    Ok(()) => self.tubes[i].settled = upto,
                    Err(error) => self.rest(i, error)?,
                }
                Ok(())
            }
            Event::Heard(Ok(Some(message))) => self.heard(message),
            Event::Heard(Ok(None)) => Err(LaneError::Closed),
            Event::Heard(Err(status)) => Err(status.into()),
            Event::Beat(beat) => {
                if let Some(nonce) = beat? {
                    self.send(SLOT_PING, from_producer::Message::Ping(Ping { nonce }));
                }
                Ok(())
            }
        }
    }

    fn heard(&mut self, message: FromHost) -> Result<(), LaneError> {
        match message.message {
            Some(from_host::Message::Welcome(welcome)) => self.welcomed(welcome),
            Some(from_host::Message::Ack(ack)) => self.acked(&ack),
            Some(from_host::Message::Refuse(refuse)) => {
                let i = self.tubes.iter().position(|tube| tube.outbox.channel() == refuse.channel);
                let error = protocol::refused(refuse);
                self.report(i, &error);
                match (i, error) {
                    (_, LaneError::Duplicate { .. } | LaneError::Full { .. }) => Ok(()),
                    (Some(i), error) if error.closes() => {
                        self.tubes[i].close();
                        tracing::warn!(error = &error as &dyn std::error::Error, "a channel of the lane rests");
                        Ok(())
                    }
                    (_, error) => Err(error),
                }
            }
            Some(from_host::Message::Ping(Ping { nonce })) => {
                self.send(SLOT_PONG, from_producer::Message::Pong(Pong { nonce }));
                Ok(())
            }
            Some(from_host::Message::Pong(_)) => Ok(()),
            None => Err(LaneError::Protocol("a message that this version does not know")),
        }
    }

    fn welcomed(&mut self, welcome: Welcome) -> Result<(), LaneError> {
        if self.welcomed {
            return Err(LaneError::Protocol("welcomed twice"));
        }
        self.welcomed = true;
        let theirs = protocol::v1::ProtocolRange { min: welcome.protocol, max: welcome.protocol };
        protocol::agree(Some(theirs))?;
        if welcome.process != self.peer {
            return Err(LaneError::WrongPeer { expected: self.peer.to_owned(), found: welcome.process });
        }
        for opened in welcome.channels {
            let i = self.tubes.iter().position(|tube| tube.outbox.channel() == opened.channel);
            let i = i.ok_or(LaneError::Protocol("welcomed to a channel that was not asked for"))?;
            if opened.last == u64::MAX {
                return Err(LaneError::Protocol("a host that holds more packets than there are numbers"));
            }
            let ahead = Seq(opened.last) > self.tubes[i].settled;
            sometimes!(
                &*self.env.probe,
                "lane.ack_was_lost",
                ahead,
                "a host that holds more than its producer heard of"
            );
            match self.tubes[i].open(&opened) {
                Ok(None) => {}
                Ok(Some(lost)) => {
                    tracing::warn!(error = &lost as &dyn std::error::Error, "a channel of the lane goes on");
                    self.report(Some(i), &lost);
                }
                Err(error) => self.rest(i, error)?,
            }
        }
        Ok(())
    }

    fn acked(&mut self, ack: &Ack) -> Result<(), LaneError> {
        let tube = self.tubes.iter_mut().find(|tube| tube.outbox.channel() == ack.channel);
        let tube = tube.ok_or(LaneError::Protocol("acked a channel that was not asked for"))?;
        if Seq(ack.upto) > tube.sent && tube.open {
            return Err(LaneError::Protocol("acked what was not sent"));
        }
        tube.acked(Seq(ack.upto), ack.credits);
        Ok(())
    }

    /// Starts what can be started: settles, reads, and sends within the credits.
    async fn pump(&mut self) -> Result<(), LaneError> {
        for i in 0..self.tubes.len() {
            let tube = &mut self.tubes[i];
            if tube.settling.is_none() && tube.acked > tube.settled {
                tube.settling = Some((tube.acked, tube.outbox.settle(tube.acked)));
            }
            while let Some((publish, bytes)) = self.tubes[i].next_batch() {
                let packets = publish.packets.len() as u32;
                self.send(None, from_producer::Message::Publish(publish));
                if let Some(charged) = self.env.cpu.charge(Work::Lane, packets, bytes as u64) {
                    charged.await;
                }
            }
            self.tubes[i].read_on();
        }
        Ok(())
    }

    /// Errors that trouble one channel only let it rest until the next connection; the others end this one.
    fn rest(&mut self, i: usize, error: LaneError) -> Result<(), LaneError> {
        match error {
            LaneError::Forgot { .. } | LaneError::Ahead { .. } | LaneError::TooLarge { .. } => {
                self.report(Some(i), &error);
                self.tubes[i].close();
                // What can't be settled must not be tried again and again.
                self.tubes[i].acked = self.tubes[i].settled;
                tracing::error!(error = &error as &dyn std::error::Error, "a channel of the lane rests");
                Ok(())
            }
            error => Err(error),
        }
    }

    fn report(&self, tube: Option<usize>, error: &LaneError) {
        let place = tube.map_or(self.peer, |i| self.tubes[i].outbox.channel()).into();
        let what = What::Refused { reason: error.name().into() };
        // The last number that the host holds, where that is what's wrong.
        let seq = match error {
            LaneError::Forgot { last: seq, .. }
            | LaneError::Lost { last: seq, .. }
            | LaneError::Ahead { upto: seq, .. } => *seq,
            _ => Seq(0),
        };
        self.env.probe.on(&[Observed { what, place, identity: None, seq, attempt: 0 }]);
    }

    fn send(&mut self, slot: Option<u64>, message: from_producer::Message) {
        let now = self.heartbeat.sent();
        self.mailbox.push(now, slot, protocol::from_producer(message));
    }
}

impl Tube {
    fn new(outbox: Arc<dyn Outbox>) -> Self {
        let floor = outbox.floor();
        Tube {
            outbox,
            open: false,
            next: floor.next(),
            sent: floor,
            acked: floor,
            settled: floor,
            credits: Credits::default(),
            flying: VecDeque::new(),
            flying_packets: 0,
            flying_bytes: 0,
            ready: VecDeque::new(),
            reading: None,
            settling: None,
        }
    }

    /// Goes on behind what the host holds, or behind what it lost of that, which is given.
    fn open(&mut self, opened: &Opened) -> Result<Option<LaneError>, LaneError> {
        let (last, floor, channel) = (Seq(opened.last), self.acked, || self.outbox.channel().into());
        let lost = (last < floor).then(|| LaneError::Lost { channel: channel(), floor, last });
        if lost.is_some() && !opened.lost {
            return Err(LaneError::Forgot { channel: channel(), floor, last });
        }
        self.open = true;
        (self.next, self.sent, self.acked) = (last.next(), last, last.max(floor));
        self.grant(opened.credits);
        Ok(lost)
    }

    /// Sends no more on this connection; what was acked is still settled.
    fn close(&mut self) {
        self.open = false;
        self.reading = None;
        self.ready.clear();
    }

    /// Memory stays ours to bound, however much a host grants.
    fn grant(&mut self, credits: Option<Credits>) {
        if let Some(credits) = credits {
            self.credits =
                Credits { packets: credits.packets.min(CREDITS.packets), bytes: credits.bytes.min(CREDITS.bytes) };
        }
    }

    fn acked(&mut self, upto: Seq, credits: Option<Credits>) {
        if !self.open {
            return;
        }
        self.grant(credits);
        self.acked = self.acked.max(upto);
        while self.flying.front().is_some_and(|flight| flight.last <= self.acked) {
            let flight = self.flying.pop_front().expect("it was just seen");
            self.flying_packets -= flight.packets;
            self.flying_bytes -= flight.bytes;
        }
    }

    /// Cuts what was read into batches: one epoch of entry each.
    fn take(&mut self, packets: Unsent) -> Result<(), LaneError> {
        for (seq, entered, packet) in packets {
            // What a medium destroyed was reported when the journal was opened.
            let lost = seq.0.checked_sub(self.next.0).expect("an outbox reads from where it was asked to, and on");
            let bytes = packet.len();
            if bytes > PACKET_BYTES_MAX {
                return Err(LaneError::TooLarge { channel: self.outbox.channel().into(), seq, bytes });
            }
            self.next = seq.next();
            match self.ready.back_mut() {
                Some((batch, size))
                    if lost == 0
                        && batch.entered == entered.0
                        && batch.packets.len() < BATCH_PACKETS_MAX
                        && *size + bytes <= BATCH_BYTES_MAX =>
                {
                    batch.packets.push(packet);
                    *size += bytes;
                }
                _ => {
                    let (channel, epoch) = (self.outbox.channel().into(), self.outbox.epoch().0);
                    let packets = vec![packet];
                    let publish = Publish { channel, epoch, entered: entered.0, first: seq.0, packets, lost };
                    self.ready.push_back((publish, bytes));
                }
            }
        }
        Ok(())
    }

    fn next_batch(&mut self) -> Option<(Publish, usize)> {
        let (publish, bytes) = self.ready.front()?;
        let (packets, bytes) = (publish.packets.len(), *bytes);
        if !fits(self.credits, self.flying_packets, self.flying_bytes, packets, bytes) {
            return None;
        }
        self.sent = Seq(publish.first + packets as u64 - 1);
        self.flying.push_back(Flight { last: self.sent, packets, bytes });
        self.flying_packets += packets;
        self.flying_bytes += bytes;
        self.ready.pop_front()
    }

    /// Reads once a whole batch may fly, so that a nearly spent window does not end in many small batches.
    fn read_on(&mut self) {
        let packets = BATCH_PACKETS_MAX.min(self.credits.packets as usize);
        let bytes = BATCH_BYTES_MAX.min(self.credits.bytes as usize);
        let may = fits(self.credits, self.flying_packets, self.flying_bytes, packets, bytes);
        if self.open && self.reading.is_none() && self.ready.is_empty() && may {
            self.reading = Some(self.outbox.read(self.next, packets, bytes));
        }
    }
}
