//! A channel whose host is reached over a lane, as a kind of channel: each hold on it is a connection of its own.
//!
//! Nothing is kept here across a connection. Who holds the channel hears that it ended, and opens or joins again; an engine's
//! own outboxes and seats do so by themselves ([`super::client`], [`super::take::client`]).

mod carry;
mod seat;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use self::carry::{Batch, Connection};
use self::seat::FarSeat;
use super::LaneError;
use super::take::{self, ANSWERS_MAX};
use crate::channel::kind::{self, Channel, ChannelError, Joining, Member, Producer, Promise, Settle, ToMember};
use crate::env::{Env, Fut};
use crate::packet::{Epoch, Seq};

/// Most words of a holder that wait to be sent.
const WORDS_MAX: usize = 16;

/// A channel that another process hosts.
#[derive(Clone)]
pub struct Far {
    env: Env,
    host: String,
    channel: String,
}

impl Far {
    /// The channel of that name at `host`. Producers and members are processes, and each speaks as the one that it names.
    #[must_use]
    pub fn new(env: &Env, host: &str, channel: &str) -> Far {
        Far { env: env.clone(), host: host.to_owned(), channel: channel.to_owned() }
    }
}

impl Channel for Far {
    fn promises(&self) -> &'static [Promise] {
        &Promise::ALL
    }

    fn open(&self, producer: &str, epoch: Epoch) -> Fut<'static, Result<Box<dyn Producer>, ChannelError>> {
        let (far, name) = (self.clone(), producer.to_owned());
        Box::pin(async move {
            let opened = Connection::open(&far.env, &far.host, &name, &far.channel, epoch).await;
            let (connection, last) = opened.map_err(|error| error.of(&name))?;
            let (batches, waiting) = mpsc::channel(WORDS_MAX);
            let mut task = JoinSet::new();
            task.spawn(connection.run(waiting));
            Ok(Box::new(Opened { name, last, batches, _task: task }) as Box<dyn Producer>)
        })
    }

    fn join(&self, joining: Joining) -> Fut<'static, Result<Box<dyn Member>, ChannelError>> {
        let far = self.clone();
        Box::pin(async move {
            let member = joining.member.clone();
            let (told, mut heard) = mpsc::channel(ANSWERS_MAX + joining.holding.len());
            let (words, said) = mpsc::channel(WORDS_MAX);
            let seat = FarSeat::new(&far.channel, joining, told, said);
            let (ended, end) = oneshot::channel();
            let (env, host, process) = (far.env.clone(), far.host.clone(), member.clone());
            let mut task = JoinSet::new();
            task.spawn(async move {
                let mut progress = false;
                let result = take::client::connection(&env, &host, &process, &seat, &mut progress).await;
                // Nobody listens any more once the session is dropped.
                let _ = ended.send(result);
            });
            let Some(first) = heard.recv().await else {
                return Err(match end.await {
                    Ok(Err(error)) => error.of(&member),
                    Ok(Ok(never)) => match never {},
                    Err(_) => ChannelError::Closed,
                });
            };
            Ok(Box::new(Session { first: Some(first), heard, words, _task: task }) as Box<dyn Member>)
        })
    }
}

/// A producer's connection; it is cut when this is dropped.
struct Opened {
    name: String,
    last: Seq,
    batches: mpsc::Sender<Batch>,
    _task: JoinSet<()>,
}

impl Producer for Opened {
    fn last(&self) -> Seq {
        self.last
    }

    fn publish(&mut self, first: Seq, packets: Vec<Bytes>) -> Fut<'static, Result<Seq, ChannelError>> {
        if let Err(error) = kind::check_publish(first, &packets) {
            return Box::pin(std::future::ready(Err(error)));
        }
        let (batches, name) = (self.batches.clone(), self.name.clone());
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            batches.send(Batch { first, packets, answer }).await.map_err(|_| ChannelError::Closed)?;
            let answer: Result<Seq, LaneError> = answered.await.map_err(|_| ChannelError::Closed)?;
            answer.map_err(|error| error.of(&name))
        })
    }
}

/// A member's connection; it is cut when this is dropped.
struct Session {
    /// Heard while it joined.
    first: Option<ToMember>,
    heard: mpsc::Receiver<ToMember>,
    words: mpsc::Sender<Settle>,
    _task: JoinSet<()>,
}

impl Member for Session {
    fn hear(&mut self) -> Fut<'_, Result<ToMember, ChannelError>> {
        Box::pin(async {
            match self.first.take() {
                Some(first) => Ok(first),
                None => self.heard.recv().await.ok_or(ChannelError::Closed),
            }
        })
    }

    fn settle(&mut self, settle: Settle) -> Fut<'_, Result<(), ChannelError>> {
        Box::pin(async { self.words.send(settle).await.map_err(|_| ChannelError::Closed) })
    }
}
