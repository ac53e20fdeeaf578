//! The host's end of a `Take`: lets a member in, and passes on what it and its desk say to each other.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;

use futures_util::StreamExt;
use tonic::{Status, Streaming};

use super::{Desk, Session, ToMember, wire};
use crate::env::{Env, Work};
use crate::lane::heartbeat::Heartbeat;
use crate::lane::protocol::v1::{FromDesk, FromMember, Join, Ping, Pong, from_desk, from_member};
use crate::lane::protocol::{self, IDLE_NS, SILENCE_NS};
use crate::lane::wire::Line;
use crate::lane::{LaneError, Mailbox, door};
use crate::observe::{Event, What};
use crate::packet::Seq;

/// Most messages that wait for a member to read them; while there are more, nothing is heard of it, nor of its desk.
const WAITING_MAX: usize = 1024;

/// The desks of a host, by channel and group.
pub(crate) type Desks = BTreeMap<(String, String), Arc<dyn Desk>>;

/// What a stream carries to the member.
pub(crate) type Sent = Result<FromDesk, Status>;

/// One member's connection.
pub(crate) struct Server {
    pub(crate) env: Env,
    /// The host.
    pub(crate) process: String,
    pub(crate) desks: Arc<Desks>,
    pub(crate) line: Arc<Line>,
    pub(crate) mailbox: Mailbox<Sent>,
}

impl Server {
    /// Serves the connection to its end, and says why it ended.
    pub(crate) async fn run(self, mut inbound: Streaming<FromMember>) {
        let mut heartbeat = Heartbeat::new(self.env.clock.clone(), self.line.clone());
        let error = match self.serve(&mut heartbeat, &mut inbound).await {
            Ok(never) => match never {},
            Err(error) => error,
        };
        if self.line.is_cut() {
            return;
        }
        tracing::info!(why = error.name(), "a member's lane ended");
        tracing::debug!(error = &error as &dyn std::error::Error, "why a member's lane ended");
        match protocol::refusal(&error) {
            Some(refuse) => {
                // What is no channel's fault is told of the host.
                let place = if refuse.channel.is_empty() { &self.process } else { &refuse.channel };
                let (place, reason) = (place.as_str().into(), error.name().into());
                let what = What::Refused { reason };
                self.env.probe.on(&[Event { what, place, identity: None, seq: Seq(refuse.found), attempt: 0 }]);
                self.send(&mut heartbeat, from_desk::Message::Refuse(refuse));
            }
            None => self.mailbox.push(heartbeat.sent(), None, Err(Status::aborted(error.to_string()))),
        }
        self.mailbox.close();
        // The peer may still read why; it cuts the connection itself if it is well.
        self.env.clock.sleep(IDLE_NS).await;
        self.line.cut();
    }

    async fn serve(
        &self,
        heartbeat: &mut Heartbeat,
        inbound: &mut Streaming<FromMember>,
    ) -> Result<std::convert::Infallible, LaneError> {
        let mut session: Option<Session> = None;
        loop {
            tokio::select! {
                biased;
                heard = async { session.as_mut().expect("heard only once there is one").heard.recv().await }, if session.is_some() && self.mailbox.waiting() < WAITING_MAX => {
                    // Without its desk's word a session has ended: the member came by another connection.
                    self.tell(heartbeat, heard.ok_or(LaneError::Cut)?).await;
                }
                message = inbound.next(), if self.mailbox.waiting() < WAITING_MAX => match message {
                    Some(Ok(message)) => self.hear(heartbeat, &mut session, message).await?,
                    Some(Err(_)) if self.line.is_cut() => return Err(LaneError::Cut),
                    Some(Err(status)) => return Err(status.into()),
                    None => return Err(LaneError::Closed),
                },
                beat = poll_fn(|cx| heartbeat.poll(cx)) => {
                    if let Some(nonce) = beat? {
                        self.send(heartbeat, from_desk::Message::Ping(Ping { nonce }));
                    }
                    if self.mailbox.stalled_ns(self.env.clock.mono()) >= SILENCE_NS {
                        return Err(LaneError::Stalled);
                    }
                }
            }
        }
    }

    async fn hear(
        &self,
        heartbeat: &mut Heartbeat,
        session: &mut Option<Session>,
        message: FromMember,
    ) -> Result<(), LaneError> {
        let message = message.message.ok_or(LaneError::Protocol("a message that this version does not know"))?;
        match (message, &session) {
            (from_member::Message::Join(join), None) => *session = Some(self.join(join).await?),
            (from_member::Message::Join(_), Some(_)) => return Err(LaneError::Protocol("a second Join")),
            (_, None) => return Err(LaneError::Protocol("the first message is not a Join")),
            (from_member::Message::Settle(settle), Some(session)) => session.settle(wire::settle(settle)?).await?,
            (from_member::Message::Ping(Ping { nonce }), Some(_)) => {
                self.send(heartbeat, from_desk::Message::Pong(Pong { nonce }));
            }
            (from_member::Message::Pong(_), Some(_)) => {}
        }
        Ok(())
    }

    async fn join(&self, join: Join) -> Result<Session, LaneError> {
        wire::check_join(&join)?;
        if join.process == self.process {
            return Err(LaneError::Protocol("the host is a member by itself, and comes by no lane"));
        }
        door::admit(&*self.env.net, &self.line, &join.process, &join.token)?;
        self.line.greet();
        let desk = self.desks.get(&(join.channel.clone(), join.group.clone()));
        let desk = desk.ok_or_else(|| LaneError::UnknownChannel { channel: join.channel.clone() })?;
        desk.join(&join.process, join.credits, wire::holding(&join.holding)?).await
    }

    async fn tell(&self, heartbeat: &mut Heartbeat, message: ToMember) {
        if let ToMember::Granted { packets, .. } = &message {
            let bytes = packets.iter().map(|(.., packet)| packet.len() as u64).sum();
            let count = u32::try_from(packets.len()).unwrap_or(u32::MAX);
            if let Some(charged) = self.env.cpu.charge(Work::Lane, count, bytes) {
                charged.await;
            }
        }
        self.send(heartbeat, wire::to_member(message, &self.process));
    }

    fn send(&self, heartbeat: &mut Heartbeat, message: from_desk::Message) {
        self.mailbox.push(heartbeat.sent(), None, Ok(FromDesk { message: Some(message) }));
    }
}
