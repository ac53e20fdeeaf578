//! The host's end of a lane: opens channels for producers, stores what arrives, and acks what is durable.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::stream::FuturesOrdered;
use futures_util::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::heartbeat::Heartbeat;
use super::protocol::v1::{
    Ack, FromHost, FromMember, FromProducer, Hello, Opened, Ping, Pong, Publish, Welcome, from_host, from_producer,
    lane_server::Lane,
};
use super::protocol::{self, CREDITS, IDLE_NS, SILENCE_NS, fits, full_retry_ns};
use super::take::server::{Desks, Server};
use super::take::{self, Desk};
use super::wire::{self, Line};
use super::{Inlet, LaneError, Mailbox, door};
use crate::channel::producer;
use crate::env::{Env, Fut, Work};
use crate::observe::{Event as Observed, What};
use crate::packet::{Epoch, Seq};

/// Hosts the channels behind `inlets` as `process`, for every producer that connects, and the groups behind `desks`, for
/// their members, until dropped.
///
/// # Errors
/// [`LaneError::Listen`] when it can't listen at all.
pub async fn run(
    env: Env,
    process: String,
    inlets: Vec<Arc<dyn Inlet>>,
    desks: Vec<Arc<dyn Desk>>,
) -> Result<Infallible, LaneError> {
    let inlets = inlets.into_iter().map(|inlet| (inlet.channel().to_owned(), inlet)).collect();
    let (net, clock) = (env.net.clone(), env.clock.clone());
    let name = process.clone();
    let place = |desk: &Arc<dyn Desk>| (desk.channel().to_owned(), desk.group().to_owned());
    let desks = Arc::new(desks.into_iter().map(|desk| (place(&desk), desk)).collect());
    let host = Host(Arc::new(Shared { env, process, inlets, desks, current: Mutex::default() }));
    wire::serve(&*net, &clock, &name, host).await
}

struct Host(Arc<Shared>);

struct Shared {
    env: Env,
    process: String,
    inlets: BTreeMap<String, Arc<dyn Inlet>>,
    desks: Arc<Desks>,
    /// The connection of each producer process; a newer one cuts the older.
    current: Mutex<BTreeMap<String, Arc<Line>>>,
}

impl Shared {
    fn current(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Line>>> {
        self.current.lock().expect("nothing panics while it holds the connections")
    }

    fn take_over(&self, producer: &str, line: &Arc<Line>) {
        if let Some(older) = self.current().insert(producer.to_owned(), line.clone())
            && !Arc::ptr_eq(&older, line)
        {
            older.cut();
        }
    }

    fn leave(&self, producer: &str, line: &Arc<Line>) {
        let mut current = self.current();
        if current.get(producer).is_some_and(|holder| Arc::ptr_eq(holder, line)) {
            current.remove(producer);
        }
    }
}

type Sent = Result<FromHost, Status>;

#[tonic::async_trait]
impl Lane for Host {
    type CarryStream = Pin<Box<dyn Stream<Item = Sent> + Send>>;
    type TakeStream = Pin<Box<dyn Stream<Item = take::server::Sent> + Send>>;

    async fn take(&self, request: Request<Streaming<FromMember>>) -> Result<Response<Self::TakeStream>, Status> {
        let line = line_of(&request);
        let mailbox = Mailbox::default();
        let Shared { env, process, desks, .. } = &*self.0;
        let clock = env.clock.clone();
        let outgoing = mailbox.outgoing(move || clock.mono());
        let (env, process, desks) = (env.clone(), process.clone(), desks.clone());
        tokio::spawn(Server { env, process, desks, line, mailbox }.run(request.into_inner()));
        Ok(Response::new(Box::pin(outgoing)))
    }

    async fn carry(&self, request: Request<Streaming<FromProducer>>) -> Result<Response<Self::CarryStream>, Status> {
        let line = line_of(&request);
        let mailbox = Mailbox::default();
        let clock = self.0.env.clock.clone();
        let outgoing = mailbox.outgoing(move || clock.mono());
        let session = Session {
            heartbeat: Heartbeat::new(self.0.env.clock.clone(), line.clone()),
            shared: self.0.clone(),
            line,
            mailbox,
            producer: String::new(),
            protocol: 0,
            opening: None,
            ports: Vec::new(),
        };
        tokio::spawn(session.run(request.into_inner()));
        Ok(Response::new(Box::pin(outgoing)))
    }
}

fn line_of<T>(request: &Request<T>) -> Arc<Line> {
    let line = request.extensions().get::<Arc<Line>>().cloned();
    line.expect("wire::serve gives each connection a line")
}

/// One connection.
struct Session {
    shared: Arc<Shared>,
    line: Arc<Line>,
    mailbox: Mailbox<Sent>,
    heartbeat: Heartbeat,
    /// Empty before its Hello.
    producer: String,
    /// The version that was agreed upon.
    protocol: u32,
    opening: Option<Fut<'static, Vec<Openings>>>,
    ports: Vec<Port>,
}

/// A channel that a Hello asked for, and what came of it.
type Openings = (Arc<dyn Inlet>, String, Epoch, Result<Seq, LaneError>);

/// One open channel of a connection.
struct Port {
    inlet: Arc<dyn Inlet>,
    /// Whose numbers these are: the process, and which journal of it.
    producer: String,
    epoch: Epoch,
    /// False once it was fenced.
    open: bool,
    /// The sequence number that comes next on this connection.
    next: Seq,
    durable: Seq,
    /// What came and is not durable yet; the first `appends.len()` of them are on their way to the disk.
    held: VecDeque<Batch>,
    held_packets: usize,
    held_bytes: usize,
    appends: FuturesOrdered<Fut<'static, Result<Seq, LaneError>>>,
    /// An append found no room: those behind it fail, too, then all of `held` is tried again.
    full: bool,
    /// How often in a row.
    full_times: u32,
    retry: Option<Fut<'static, ()>>,
}

struct Batch {
    first: Seq,
    /// Numbers before `first` that its producer lost for good.
    lost: u64,
    entered: Epoch,
    packets: Vec<Bytes>,
    bytes: usize,
}

enum Event {
    Appended(usize, Result<Seq, LaneError>),
    Retry(usize),
    Opened(Vec<Openings>),
    Heard(Result<Option<FromProducer>, Status>),
    Beat(Result<Option<u64>, LaneError>),
}

const SLOT_PING: Option<u64> = Some(0);
const SLOT_PONG: Option<u64> = Some(1);
const SLOTS_PER_CHANNEL: u64 = 8;

/// The slot of a channel's messages of one code; 0 is its Ack.
fn slot(port: usize, code: u64) -> Option<u64> {
    Some((port as u64 + 1) * SLOTS_PER_CHANNEL + code)
}

impl Session {
    async fn run(mut self, mut inbound: Streaming<FromProducer>) {
        let error = loop {
            let event = poll_fn(|cx| self.poll(&mut inbound, cx)).await;
            if let Err(error) = self.handle(event).await {
                break error;
            }
        };
        self.shared.leave(&self.producer, &self.line);
        if self.line.is_cut() {
            return;
        }
        tracing::info!(producer = self.producer, why = error.name(), "a lane ended");
        tracing::debug!(producer = self.producer, error = &error as &dyn std::error::Error, "why a lane ended");
        match protocol::refusal(&error) {
            Some(refuse) => self.send(None, from_host::Message::Refuse(refuse)),
            None => self.mailbox.push(self.heartbeat.sent(), None, Err(Status::aborted(error.to_string()))),
        }
        self.mailbox.close();
        // The peer may still read why; it cuts the connection itself if it is well.
        self.shared.env.clock.sleep(IDLE_NS).await;
        self.line.cut();
    }

    fn poll(&mut self, inbound: &mut Streaming<FromProducer>, cx: &mut Context<'_>) -> Poll<Event> {
        for (i, port) in self.ports.iter_mut().enumerate() {
            if let Some(retry) = &mut port.retry
                && retry.as_mut().poll(cx).is_ready()
            {
                return Poll::Ready(Event::Retry(i));
            }
            if let Poll::Ready(Some(result)) = port.appends.poll_next_unpin(cx) {
                return Poll::Ready(Event::Appended(i, result));
            }
        }
        if let Some(opening) = &mut self.opening
            && let Poll::Ready(openings) = opening.as_mut().poll(cx)
        {
            return Poll::Ready(Event::Opened(openings));
        }
        if let Poll::Ready(heard) = inbound.poll_next_unpin(cx) {
            return Poll::Ready(Event::Heard(heard.transpose()));
        }
        self.heartbeat.poll(cx).map(Event::Beat)
    }

    async fn handle(&mut self, event: Event) -> Result<(), LaneError> {
        match event {
            Event::Appended(i, result) => self.appended(i, result),
            Event::Retry(i) => {
                self.ports[i].append_again();
                Ok(())
            }
            Event::Opened(openings) => self.welcome(openings),
            Event::Heard(Ok(Some(message))) => self.heard(message).await,
            Event::Heard(Ok(None)) => Err(LaneError::Closed),
            Event::Heard(Err(_)) if self.line.is_cut() => Err(LaneError::Cut),
            Event::Heard(Err(status)) => Err(LaneError::Broken(Box::new(status))),
            Event::Beat(beat) => {
                if let Some(nonce) = beat? {
                    self.send(SLOT_PING, from_host::Message::Ping(Ping { nonce }));
                }
                let stalled_ns = self.mailbox.stalled_ns(self.shared.env.clock.mono());
                if stalled_ns >= SILENCE_NS { Err(LaneError::Stalled) } else { Ok(()) }
            }
        }
    }

    async fn heard(&mut self, message: FromProducer) -> Result<(), LaneError> {
        match message.message {
            Some(from_producer::Message::Hello(hello)) => self.hello(hello),
            _ if self.producer.is_empty() => Err(LaneError::Protocol("the first message is not a Hello")),
            Some(from_producer::Message::Publish(publish)) => {
                let bytes = protocol::check_publish(&publish)?;
                let packets = publish.packets.len() as u32;
                if let Some(charged) = self.shared.env.cpu.charge(Work::Lane, packets, bytes as u64) {
                    charged.await;
                }
                self.published(publish, bytes)
            }
            Some(from_producer::Message::Ping(Ping { nonce })) => {
                self.send(SLOT_PONG, from_host::Message::Pong(Pong { nonce }));
                Ok(())
            }
            Some(from_producer::Message::Pong(_)) => Ok(()),
            None => Err(LaneError::Protocol("a message that this version does not know")),
        }
    }

    fn hello(&mut self, hello: Hello) -> Result<(), LaneError> {
        if !self.producer.is_empty() {
            return Err(LaneError::Protocol("a second Hello"));
        }
        self.protocol = protocol::check_hello(&hello)?;
        door::admit(&*self.shared.env.net, &self.line, &hello.process, &hello.token)
            .inspect_err(|error| self.count(&self.shared.process, error, Seq(0)))?;
        self.line.greet();
        self.producer = hello.process;
        let mut wanted = Vec::new();
        for opening in hello.channels {
            match self.shared.inlets.get(&opening.channel) {
                Some(inlet) => {
                    let journal = <[u8; 16]>::try_from(&opening.journal[..]).ok().map(u128::from_be_bytes);
                    wanted.push((inlet.clone(), producer::name(&self.producer, journal), Epoch(opening.epoch)));
                }
                None => self.refuse(None, &LaneError::UnknownChannel { channel: opening.channel }),
            }
        }
        self.opening = Some(Box::pin(async move {
            let mut openings = Vec::new();
            for (inlet, producer, epoch) in wanted {
                let opened = inlet.open(&producer, epoch).await;
                openings.push((inlet, producer, epoch, opened));
            }
            openings
        }));
        Ok(())
    }

    fn welcome(&mut self, openings: Vec<Openings>) -> Result<(), LaneError> {
        self.opening = None;
        let mut channels = Vec::new();
        for (inlet, producer, epoch, result) in openings {
            match result {
                Ok(last) => {
                    let channel = inlet.channel().to_owned();
                    channels.push(Opened { channel, last: last.0, credits: Some(CREDITS), lost: inlet.lost() });
                    self.ports.push(Port::new(inlet, producer, epoch, last));
                }
                Err(error) if error.closes() => self.refuse(None, &error),
                Err(error) => return Err(error),
            }
        }
        if !channels.is_empty() {
            self.shared.take_over(&self.producer, &self.line);
        }
        let (protocol, process) = (self.protocol, self.shared.process.clone());
        self.send(None, from_host::Message::Welcome(Welcome { protocol, process, channels }));
        Ok(())
    }

    fn published(&mut self, publish: Publish, bytes: usize) -> Result<(), LaneError> {
        let i = self.ports.iter().position(|port| port.inlet.channel() == publish.channel);
        let i = i.ok_or(LaneError::Protocol("published to a channel that is not open"))?;
        let port = &mut self.ports[i];
        if !port.open {
            // Sent before the producer heard that it is fenced.
            return Ok(());
        }
        if Epoch(publish.epoch) != port.epoch {
            return Err(LaneError::Protocol("published in another epoch than the channel was opened in"));
        }
        let (found, expected) = (Seq(publish.first), port.next);
        if found.0 - publish.lost > expected.0 {
            return Err(LaneError::OutOfSequence { channel: publish.channel, found, expected });
        }
        let expected = expected.max(found);
        if !fits(CREDITS, port.held_packets, port.held_bytes, publish.packets.len(), bytes) {
            return Err(LaneError::Protocol("published beyond the credits"));
        }
        let known = expected.0 - found.0;
        port.take(publish, known as usize);
        if known > 0 {
            let channel = self.ports[i].inlet.channel().to_owned();
            self.refuse(Some(i), &LaneError::Duplicate { channel, found, expected });
            self.ack(i);
        }
        Ok(())
    }

    fn appended(&mut self, i: usize, result: Result<Seq, LaneError>) -> Result<(), LaneError> {
        let port = &mut self.ports[i];
        match result {
            // What was behind an append that found no room comes again with it.
            Ok(_) | Err(LaneError::Full { .. } | LaneError::OutOfSequence { .. }) if port.full => {}
            Ok(last) => {
                port.stored(last);
                self.ack(i);
            }
            Err(error @ LaneError::Full { held, .. }) => {
                port.found_room_upto(held);
                port.full = true;
                port.full_times = port.full_times.saturating_add(1);
                self.refuse(Some(i), &error);
            }
            Err(error @ LaneError::Fenced { .. }) => {
                port.close();
                self.refuse(Some(i), &error);
            }
            Err(error) => return Err(error),
        }
        let port = &mut self.ports[i];
        if port.open && port.full && port.appends.is_empty() {
            port.retry = Some(self.shared.env.clock.sleep(full_retry_ns(port.full_times)));
        }
        Ok(())
    }

    fn ack(&mut self, i: usize) {
        let port = &self.ports[i];
        let (channel, upto) = (port.inlet.channel().to_owned(), port.durable.0);
        self.send(slot(i, 0), from_host::Message::Ack(Ack { channel, upto, credits: Some(CREDITS) }));
    }

    fn refuse(&mut self, port: Option<usize>, error: &LaneError) {
        let refuse = protocol::refusal(error).expect("only errors that have a code are refused");
        self.count(&refuse.channel, error, Seq(refuse.found));
        let slot = port.and_then(|i| slot(i, refuse.code as u64));
        self.send(slot, from_host::Message::Refuse(refuse));
    }

    fn count(&self, place: &str, error: &LaneError, seq: Seq) {
        let what = What::Refused { reason: error.name().into() };
        self.shared.env.probe.on(&[Observed { what, place: place.into(), identity: None, seq, attempt: 0 }]);
    }

    fn send(&mut self, slot: Option<u64>, message: from_host::Message) {
        let now = self.heartbeat.sent();
        self.mailbox.push(now, slot, Ok(protocol::from_host(message)));
    }
}

impl Port {
    fn new(inlet: Arc<dyn Inlet>, producer: String, epoch: Epoch, last: Seq) -> Self {
        Port {
            inlet,
            producer,
            epoch,
            open: true,
            next: last.next(),
            durable: last,
            held: VecDeque::new(),
            held_packets: 0,
            held_bytes: 0,
            appends: FuturesOrdered::new(),
            full: false,
            full_times: 0,
            retry: None,
        }
    }

    /// Takes a batch whose first `known` packets came before, and sends it on its way unless it must queue.
    fn take(&mut self, mut publish: Publish, known: usize) {
        if known >= publish.packets.len() {
            return;
        }
        publish.packets.drain(..known);
        let first = Seq(publish.first + known as u64);
        self.next = Seq(first.0 + publish.packets.len() as u64);
        let bytes = publish.packets.iter().map(Bytes::len).sum();
        self.held_packets += publish.packets.len();
        self.held_bytes += bytes;
        self.held.push_back(Batch {
            first,
            entered: Epoch(publish.entered),
            packets: publish.packets,
            lost: publish.lost,
            bytes,
        });
        if !self.full {
            self.append(self.held.len() - 1);
        }
    }

    fn append(&mut self, i: usize) {
        let batch = &self.held[i];
        let packets = batch.packets.iter().map(|packet| (batch.entered, packet.clone())).collect();
        self.appends.push_back(self.inlet.append(&self.producer, self.epoch, (batch.first, batch.lost), packets));
    }

    fn append_again(&mut self) {
        self.retry = None;
        self.full = false;
        for i in 0..self.held.len() {
            self.append(i);
        }
    }

    fn stored(&mut self, last: Seq) {
        let batch = self.held.pop_front().expect("each append has its batch");
        let end = Seq(batch.first.0 + batch.packets.len() as u64 - 1);
        assert!(last >= end, "an append of packets up to {end} was done, but only {last} are held");
        self.held_packets -= batch.packets.len();
        self.held_bytes -= batch.bytes;
        self.durable = end;
        self.full_times = 0;
    }

    /// What found room of the first batch needn't come again with the rest.
    fn found_room_upto(&mut self, held: Seq) {
        let batch = self.held.front_mut().expect("each append has its batch");
        let known = usize::try_from(held.next().0.saturating_sub(batch.first.0)).expect("less than a batch");
        if known > 0 {
            let bytes: usize = batch.packets.drain(..known).map(|packet| packet.len()).sum();
            (batch.first, batch.lost) = (held.next(), 0);
            batch.bytes -= bytes;
            self.held_bytes -= bytes;
            self.held_packets -= known;
        }
    }

    /// Stores no more; what is on its way to the disk may still arrive there, un-acked.
    fn close(&mut self) {
        self.open = false;
        self.appends = FuturesOrdered::new();
        self.held.clear();
        self.retry = None;
    }
}
