//! One producer's connection: sends batches as they come, and answers each once the host has it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::{mpsc, oneshot};
use tonic::Streaming;

use crate::env::Env;
use crate::lane::heartbeat::Heartbeat;
use crate::lane::protocol::v1::{
    Ack, Credits, FromHost, FromProducer, Hello, Opening, Ping, Pong, ProtocolRange, Publish, Refuse, Welcome,
    from_host, from_producer,
};
use crate::lane::protocol::{self, CREDITS, PROTOCOL, SILENCE_NS, fits};
use crate::lane::wire::{CutAtEnd, Line, dial};
use crate::lane::{LaneError, Mailbox, within};
use crate::packet::{Epoch, Seq};

/// Packets to be published, and where the answer goes.
pub(super) struct Batch {
    pub(super) first: Seq,
    pub(super) packets: Vec<Bytes>,
    pub(super) answer: oneshot::Sender<Result<Seq, LaneError>>,
}

/// A batch that was sent and not answered.
struct Flight {
    last: Seq,
    packets: usize,
    bytes: usize,
    answer: oneshot::Sender<Result<Seq, LaneError>>,
}

/// An open connection of one producer to one channel.
pub(super) struct Connection {
    channel: String,
    epoch: Epoch,
    env: Env,
    mailbox: Mailbox<FromProducer>,
    heartbeat: Heartbeat,
    inbound: Streaming<FromHost>,
    credits: Credits,
    flying: VecDeque<Flight>,
    /// Beyond the credits.
    next: Option<Batch>,
    line: Arc<Line>,
    _cut: CutAtEnd,
}

impl Connection {
    /// Dials the host and opens the channel; gives the last number that the host holds of the producer.
    pub(super) async fn open(
        env: &Env,
        host: &str,
        producer: &str,
        channel: &str,
        epoch: Epoch,
    ) -> Result<(Connection, Seq), LaneError> {
        let (mut client, line) = dial(&*env.net, &env.clock, host).await?;
        let cut = CutAtEnd(line.clone());
        let mailbox = Mailbox::default();
        let clock = env.clock.clone();
        let outgoing = mailbox.outgoing(move || clock.mono());
        let mut heartbeat = Heartbeat::new(env.clock.clone(), line.clone());
        let hello = Hello {
            protocol: Some(PROTOCOL),
            process: producer.to_owned(),
            channels: vec![Opening { channel: channel.to_owned(), epoch: epoch.0, journal: Bytes::new() }],
            token: env.net.token(),
        };
        mailbox.push(heartbeat.sent(), None, protocol::from_producer(from_producer::Message::Hello(hello)));
        let answered = within(&env.clock, SILENCE_NS, client.carry(outgoing)).await.map_err(|_| LaneError::Silent)?;
        let inbound = answered.map_err(|status| line.why(status.into()))?.into_inner();
        let mut connection = Connection {
            channel: channel.to_owned(),
            epoch,
            env: env.clone(),
            mailbox,
            heartbeat,
            inbound,
            credits: CREDITS,
            flying: VecDeque::new(),
            next: None,
            line: line.clone(),
            _cut: cut,
        };
        let welcome = connection.welcome().await.map_err(|error| line.why(error))?;
        if welcome.process != host {
            return Err(LaneError::WrongPeer { expected: host.to_owned(), found: welcome.process });
        }
        protocol::agree(Some(ProtocolRange { min: welcome.protocol, max: welcome.protocol }))?;
        let opened = welcome.channels.into_iter().find(|opened| opened.channel == channel);
        let opened = opened.ok_or(LaneError::Protocol("welcomed without the channel that was asked for"))?;
        connection.grant(opened.credits);
        Ok((connection, Seq(opened.last)))
    }

    async fn welcome(&mut self) -> Result<Welcome, LaneError> {
        match self.heard().await? {
            from_host::Message::Welcome(welcome) => Ok(welcome),
            from_host::Message::Refuse(refuse) => Err(protocol::refused(refuse)),
            _ => Err(LaneError::Protocol("the first word is neither Welcome nor Refuse")),
        }
    }

    /// The next word of the host that asks for more than a heartbeat. Dropping the future loses nothing.
    async fn heard(&mut self) -> Result<from_host::Message, LaneError> {
        loop {
            let message = tokio::select! {
                biased;
                heard = self.inbound.next() => match heard {
                    Some(Ok(FromHost { message })) => message,
                    Some(Err(status)) => return Err(status.into()),
                    None => return Err(LaneError::Closed),
                },
                beat = poll_fn(|cx| self.heartbeat.poll(cx)) => {
                    if let Some(nonce) = beat? {
                        self.send(from_producer::Message::Ping(Ping { nonce }));
                    }
                    if self.mailbox.stalled_ns(self.env.clock.mono()) >= SILENCE_NS {
                        return Err(LaneError::Stalled);
                    }
                    continue;
                }
            };
            match message.ok_or(LaneError::Protocol("a message that this version does not know"))? {
                from_host::Message::Ping(Ping { nonce }) => self.send(from_producer::Message::Pong(Pong { nonce })),
                from_host::Message::Pong(_) => {}
                message => return Ok(message),
            }
        }
    }

    /// Runs to the connection's end. The batch that ended it hears why; the others hear that the hold has ended.
    pub(super) async fn run(mut self, mut batches: mpsc::Receiver<Batch>) {
        let error = loop {
            self.pump();
            let more = self.next.is_none();
            let done = tokio::select! {
                biased;
                heard = self.heard() => heard.and_then(|message| self.take_in(message)),
                batch = batches.recv(), if more => match batch {
                    Some(batch) => {
                        self.next = Some(batch);
                        Ok(())
                    }
                    // Nobody holds the connection any more.
                    None => return,
                },
            };
            if let Err(error) = done {
                break error;
            }
        };
        let error = self.line.why(error);
        tracing::debug!(channel = self.channel, error = &error as &dyn std::error::Error, "a hold on a channel ended");
        let failed = match &error {
            LaneError::OutOfSequence { found, .. } => {
                self.flying.iter().position(|flight| flight.last.0 + 1 == found.0 + flight.packets as u64)
            }
            _ => Some(0),
        };
        if let Some(flight) = failed.and_then(|at| self.flying.remove(at)) {
            // Who asked may be gone.
            let _ = flight.answer.send(Err(error));
        }
    }

    fn take_in(&mut self, message: from_host::Message) -> Result<(), LaneError> {
        match message {
            from_host::Message::Ack(Ack { upto, credits, .. }) => {
                self.grant(credits);
                while let Some(flight) = self.flying.pop_front_if(|flight| flight.last <= Seq(upto)) {
                    // Who asked may be gone.
                    let _ = flight.answer.send(Ok(Seq(upto)));
                }
                Ok(())
            }
            from_host::Message::Refuse(refuse) => self.refused(refuse),
            _ => Err(LaneError::Protocol("welcomed twice")),
        }
    }

    fn refused(&mut self, refuse: Refuse) -> Result<(), LaneError> {
        match protocol::refused(refuse) {
            // An ack follows, now or once there is room.
            LaneError::Duplicate { .. } | LaneError::Full { .. } => Ok(()),
            error => Err(error),
        }
    }

    fn grant(&mut self, credits: Option<Credits>) {
        if let Some(credits) = credits {
            self.credits =
                Credits { packets: credits.packets.min(CREDITS.packets), bytes: credits.bytes.min(CREDITS.bytes) };
        }
    }

    /// Sends what waits, once the credits allow it.
    fn pump(&mut self) {
        let Some(batch) = self.next.take() else { return };
        let (packets, bytes) = (batch.packets.len(), batch.packets.iter().map(Bytes::len).sum());
        let (flying, flying_bytes) = self
            .flying
            .iter()
            .fold((0, 0), |(packets, bytes), flight| (packets + flight.packets, bytes + flight.bytes));
        if !fits(self.credits, flying, flying_bytes, packets, bytes) {
            self.next = Some(batch);
            return;
        }
        let Batch { first, packets: encoded, answer } = batch;
        let (channel, epoch) = (self.channel.clone(), self.epoch.0);
        let publish = Publish { channel, epoch, entered: epoch, first: first.0, packets: encoded, lost: 0 };
        self.send(from_producer::Message::Publish(publish));
        self.flying.push_back(Flight { last: Seq(first.0 + packets as u64 - 1), packets, bytes, answer });
    }

    fn send(&mut self, message: from_producer::Message) {
        let now = self.heartbeat.sent();
        self.mailbox.push(now, None, protocol::from_producer(message));
    }
}
