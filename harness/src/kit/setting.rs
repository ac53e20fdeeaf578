//! What cases work with: a channel that was set up, and patience.

use std::collections::BTreeSet;
use std::sync::Arc;

use seaworthy_engine::channel::kind::{ChannelError, Joining};
use seaworthy_engine::env::Clock;
use seaworthy_engine::packet::{Epoch, Seq};

use super::hand::Hand;
use super::pen::Pen;
use super::{Breach, End, Letter, Rig};

/// What must come comes within so many beats.
const PATIENCE_BEATS: u64 = 60;

/// A channel that was set up, for one case.
pub struct Setting {
    rig: Box<dyn Rig>,
    time: Time,
}

/// The rig's clock, in beats.
#[derive(Clone)]
pub(super) struct Time {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) beat_ns: u64,
}

impl Time {
    /// What `work` comes to by then; `None` when it takes longer.
    pub(super) async fn by<T>(&self, end_ns: u64, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.clock.sleep_until(end_ns) => None,
        }
    }

    pub(super) async fn patiently<T>(&self, what: &str, work: impl Future<Output = T>) -> Result<T, Breach> {
        let done = self.by(self.patience(), work).await;
        done.ok_or_else(|| Breach::new(format!("{what}: no answer within {PATIENCE_BEATS} beats")))
    }

    pub(super) fn now(&self) -> u64 {
        self.clock.mono()
    }

    /// When so many beats from now have passed.
    pub(super) fn in_beats(&self, beats: u64) -> u64 {
        self.now() + beats * self.beat_ns
    }

    /// When patience that begins now ends.
    pub(super) fn patience(&self) -> u64 {
        self.in_beats(PATIENCE_BEATS)
    }
}

impl Setting {
    pub(super) fn new(rig: Box<dyn Rig>, beat_ns: u64) -> Setting {
        let time = Time { clock: rig.clock(), beat_ns };
        Setting { rig, time }
    }

    /// What comes of opening the channel for a producer.
    ///
    /// # Errors
    /// When nothing comes of it.
    pub async fn try_open(&self, producer: &str, epoch: u64) -> Result<Result<Pen, ChannelError>, Breach> {
        let channel = self.rig.channel();
        let what = format!("opening for {producer} in epoch {epoch}");
        let opened = self.time.patiently(&what, channel.open(producer, Epoch(epoch))).await?;
        Ok(opened.map(|held| Pen::new(held, producer, epoch, self.time.clone())))
    }

    /// Opens the channel for a producer.
    ///
    /// # Errors
    /// When it doesn't open.
    pub async fn open(&self, producer: &str, epoch: u64) -> Result<Pen, Breach> {
        let opened = self.try_open(producer, epoch).await?;
        opened.map_err(|error| Breach::new(format!("{producer} could not open epoch {epoch}: {error}")))
    }

    /// What comes of joining.
    ///
    /// # Errors
    /// When nothing comes of it, or its first word is not that it joined.
    pub async fn try_join(&self, joining: Joining) -> Result<Result<Hand, ChannelError>, Breach> {
        let (channel, name) = (self.rig.channel(), joining.member.clone());
        let joined = self.time.patiently(&format!("{name} joins"), channel.join(joining)).await?;
        let member = match joined {
            Ok(member) => member,
            Err(error) => return Ok(Err(error)),
        };
        Hand::new(member, name, self.time.clone()).await.map(Ok)
    }

    /// Joins the group of three, holding nothing.
    ///
    /// # Errors
    /// When it is not let in.
    pub async fn join(&self, member: &str, credits: u32) -> Result<Hand, Breach> {
        self.join_with(member, credits, BTreeSet::new()).await
    }

    /// Joins the group of three, still holding something.
    ///
    /// # Errors
    /// When it is not let in.
    pub async fn join_with(&self, member: &str, credits: u32, holding: BTreeSet<(u64, Seq)>) -> Result<Hand, Breach> {
        let (group, name) = ("crew".to_owned(), member.to_owned());
        let joined = self.try_join(Joining { group, member: name, credits, holding }).await?;
        joined.map_err(|error| Breach::new(format!("{member} could not join: {error}")))
    }

    /// Ends what keeps the channel, and starts it again.
    ///
    /// # Errors
    /// When it doesn't start.
    pub async fn restart(&mut self, end: End) -> Result<(), Breach> {
        let restarted = self.rig.restart(end).await;
        restarted.map_err(|error| Breach::new(format!("it did not start again: {error}")))
    }

    /// Waits until there are `count` dead letters; exactly so many.
    ///
    /// # Errors
    /// When there are more, or not enough in time.
    pub async fn letters(&mut self, count: usize) -> Result<Vec<Letter>, Breach> {
        for beat in 0.. {
            let letters = self.rig.dead_letters().await;
            let letters = letters.map_err(|error| Breach::new(format!("could not read dead letters: {error}")))?;
            if letters.len() == count {
                return Ok(letters);
            }
            if letters.len() > count || beat == PATIENCE_BEATS {
                let classes: Vec<&str> = letters.iter().map(|letter| letter.class.as_str()).collect();
                return Err(Breach::new(format!("expected {count} dead letters, found {classes:?}")));
            }
            self.sleep(1).await;
        }
        unreachable!("patience ends")
    }

    /// Lets beats pass.
    pub async fn sleep(&self, beats: u64) {
        self.time.clock.sleep(beats * self.time.beat_ns).await;
    }

    /// Beats that have passed since `start_ns`, rounded down.
    #[must_use]
    pub fn beats_since(&self, start_ns: u64) -> u64 {
        (self.time.now() - start_ns) / self.time.beat_ns
    }

    /// The time, ns.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.time.now()
    }

    /// So many beats in ns.
    #[must_use]
    pub fn beats(&self, beats: u64) -> u64 {
        beats * self.time.beat_ns
    }
}

/// A breach unless two things are the same.
///
/// # Errors
/// When they are not.
pub fn same<A: PartialEq<B> + std::fmt::Debug, B: std::fmt::Debug>(
    what: &str,
    found: A,
    expected: B,
) -> Result<(), Breach> {
    if found == expected { Ok(()) } else { Err(Breach::new(format!("{what}: {found:?}, not {expected:?}"))) }
}

/// A breach unless something holds.
///
/// # Errors
/// When it doesn't.
pub fn holds(what: &str, held: bool) -> Result<(), Breach> {
    if held { Ok(()) } else { Err(Breach::new(format!("not so: {what}"))) }
}
