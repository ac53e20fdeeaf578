//! The member's end of a `Take`: joins, hears what is granted, and says what became of it.

use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::Arc;

use futures_util::StreamExt;
use tonic::transport::Channel;

use super::{Seat, Settle, wire};
use crate::env::{Env, Work};
use crate::lane::client::backoff_ns;
use crate::lane::heartbeat::Heartbeat;
use crate::lane::protocol::v1::lane_client::LaneClient;
use crate::lane::protocol::v1::{FromDesk, FromMember, Ping, Pong, ProtocolRange, from_desk, from_member};
use crate::lane::protocol::{self, SILENCE_NS};
use crate::lane::wire::{CutAtEnd, Line, dial};
use crate::lane::{LaneError, Mailbox, within};
use crate::observe::{Event, What};
use crate::packet::Seq;

/// Takes `seat`'s share from `peer`, the channel's host. Connects again whenever a connection ends, for ever, until dropped.
pub async fn run(env: Env, peer: String, process: String, seat: Arc<dyn Seat>) -> Infallible {
    let mut attempt = 0;
    let mut said = "";
    loop {
        let mut progress = false;
        let error = match connection(&env, &peer, &process, &*seat, &mut progress).await {
            Ok(never) => match never {},
            Err(error) => error,
        };
        // The same word again and again, while a peer is away, would only fill the log.
        if progress || said != error.name() {
            let channel = seat.channel();
            tracing::warn!(peer, channel, error = &error as &dyn std::error::Error, "the lane is down");
        }
        said = error.name();
        attempt = if progress { 1 } else { attempt + 1 };
        env.clock.sleep(backoff_ns(&*env.seed, "take.backoff", &[&peer, &process, seat.channel()], attempt)).await;
    }
}

/// One connection, from dialling to its end. `progress` turns true once the host let the member in.
pub(crate) async fn connection(
    env: &Env,
    peer: &str,
    process: &str,
    seat: &dyn Seat,
    progress: &mut bool,
) -> Result<Infallible, LaneError> {
    let (client, line) = dial(&*env.net, &env.clock, peer).await?;
    let _cut = CutAtEnd(line.clone());
    converse(env, peer, process, seat, client, &line, progress).await.map_err(|error| line.why(error))
}

async fn converse(
    env: &Env,
    peer: &str,
    process: &str,
    seat: &dyn Seat,
    mut client: LaneClient<Channel>,
    line: &Arc<Line>,
    progress: &mut bool,
) -> Result<Infallible, LaneError> {
    let mailbox = Mailbox::default();
    let clock = env.clock.clone();
    let outgoing = mailbox.outgoing(move || clock.mono());
    let heartbeat = Heartbeat::new(env.clock.clone(), line.clone());
    let mut speaker = Speaker { heartbeat, mailbox };
    speaker.send(from_member::Message::Join(wire::join(process, env.net.token(), seat)));
    let answered = within(&env.clock, SILENCE_NS, client.take(outgoing)).await.map_err(|_| LaneError::Silent)?;
    let mut inbound = answered.map_err(LaneError::from)?.into_inner();
    let mut next = seat.next();
    loop {
        tokio::select! {
            biased;
            heard = inbound.next() => match heard {
                Some(Ok(message)) => *progress |= hear(env, peer, seat, &mut speaker, message).await?,
                Some(Err(status)) => return Err(status.into()),
                None => return Err(LaneError::Closed),
            },
            settle = &mut next => {
                next = seat.next();
                speaker.settle(&settle);
            }
            beat = poll_fn(|cx| speaker.heartbeat.poll(cx)) => {
                if let Some(nonce) = beat? {
                    speaker.send(from_member::Message::Ping(Ping { nonce }));
                }
                if speaker.mailbox.stalled_ns(env.clock.mono()) >= SILENCE_NS {
                    return Err(LaneError::Stalled);
                }
            }
        }
    }
}

/// Takes in a message of the host; true when it let the member in.
async fn hear(
    env: &Env,
    peer: &str,
    seat: &dyn Seat,
    speaker: &mut Speaker,
    message: FromDesk,
) -> Result<bool, LaneError> {
    let message = message.message.ok_or(LaneError::Protocol("a message that this version does not know"))?;
    match message {
        from_desk::Message::Ping(Ping { nonce }) => speaker.send(from_member::Message::Pong(Pong { nonce })),
        from_desk::Message::Pong(_) => {}
        from_desk::Message::Refuse(refuse) => {
            let error = protocol::refused(refuse);
            let (what, place) = (What::Refused { reason: error.name().into() }, seat.channel().into());
            env.probe.on(&[Event { what, place, identity: None, seq: Seq(0), attempt: 0 }]);
            return Err(error);
        }
        from_desk::Message::Joined(joined) => {
            protocol::agree_to_take(Some(ProtocolRange { min: joined.protocol, max: joined.protocol }))?;
            if joined.process != peer {
                return Err(LaneError::WrongPeer { expected: peer.to_owned(), found: joined.process });
            }
            seat.heard(wire::joined(&joined)?)?;
            return Ok(true);
        }
        from_desk::Message::Granted(granted) => {
            let bytes = granted.packets.iter().map(|delivery| delivery.packet.len() as u64).sum();
            let packets = u32::try_from(granted.packets.len()).unwrap_or(u32::MAX);
            if let Some(charged) = env.cpu.charge(Work::Lane, packets, bytes) {
                charged.await;
            }
            seat.heard(wire::granted(granted)?)?;
        }
        from_desk::Message::Settled(settled) => seat.heard(wire::settled(&settled)?)?,
        from_desk::Message::Fenced(fenced) => seat.heard(wire::fenced(&fenced)?)?,
        from_desk::Message::Generation(generation) => seat.heard(wire::generation(generation))?,
    }
    Ok(false)
}

struct Speaker {
    heartbeat: Heartbeat,
    mailbox: Mailbox<FromMember>,
}

impl Speaker {
    fn settle(&mut self, settle: &Settle) {
        for message in wire::settles(settle) {
            self.send(from_member::Message::Settle(message));
        }
    }

    fn send(&mut self, message: from_member::Message) {
        let now = self.heartbeat.sent();
        self.mailbox.push(now, None, FromMember { message: Some(message) });
    }
}
