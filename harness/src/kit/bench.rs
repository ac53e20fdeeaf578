//! What cases work with: a channel that was set up, producers and members with patience.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use seaworthy_engine::channel::kind::{ChannelError, Joining, Member, Outcome, Producer, Settle, ToMember};
use seaworthy_engine::env::Clock;
use seaworthy_engine::packet::{
    BUSINESS_KEY, ContentType, Epoch, Fields, Glance, Identity, Kind, Packet, ProducerId, Seq,
};
use xxhash_rust::xxh3::xxh3_64;

use super::{Breach, End, Letter, Rig};

/// What must come comes within so many beats.
const PATIENCE_BEATS: u64 = 60;

/// A channel that was set up, for one case.
pub struct Bench {
    rig: Box<dyn Rig>,
    time: Time,
}

/// The rig's clock, in beats.
#[derive(Clone)]
struct Time {
    clock: Arc<dyn Clock>,
    beat_ns: u64,
}

impl Time {
    /// What `work` comes to by then; `None` when it takes longer.
    async fn by<T>(&self, end_ns: u64, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.clock.sleep_until(end_ns) => None,
        }
    }

    async fn patiently<T>(&self, what: &str, work: impl Future<Output = T>) -> Result<T, Breach> {
        let done = self.by(self.patience(), work).await;
        done.ok_or_else(|| Breach::new(format!("{what}: no answer within {PATIENCE_BEATS} beats")))
    }

    fn now(&self) -> u64 {
        self.clock.mono()
    }

    /// When so many beats from now have passed.
    fn in_beats(&self, beats: u64) -> u64 {
        self.now() + beats * self.beat_ns
    }

    /// When patience that begins now ends.
    fn patience(&self) -> u64 {
        self.in_beats(PATIENCE_BEATS)
    }
}

impl Bench {
    pub(super) fn new(rig: Box<dyn Rig>, beat_ns: u64) -> Bench {
        let time = Time { clock: rig.clock(), beat_ns };
        Bench { rig, time }
    }

    /// What comes of opening the channel for a producer.
    ///
    /// # Errors
    /// When nothing comes of it.
    pub async fn try_open(&self, producer: &str, epoch: u64) -> Result<Result<Pen, ChannelError>, Breach> {
        let channel = self.rig.channel();
        let what = format!("opening for {producer} in epoch {epoch}");
        let opened = self.time.patiently(&what, channel.open(producer, Epoch(epoch))).await?;
        Ok(opened.map(|held| Pen {
            next: held.last().next(),
            held,
            name: producer.to_owned(),
            epoch,
            time: self.time.clone(),
        }))
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
        let mut hand = Hand {
            member,
            name,
            time: self.time.clone(),
            generations: Vec::new(),
            floors: Vec::new(),
            waiting: VecDeque::new(),
            answers: Vec::new(),
        };
        match hand.word(hand.time.patience()).await? {
            Some(ToMember::Joined { .. }) => Ok(Ok(hand)),
            word => Err(Breach::new(format!("the first word to {} is {word:?}", hand.name))),
        }
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

/// A packet to be: its text, which is how cases know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    text: String,
    key: Option<String>,
    business: Option<String>,
}

impl Item {
    /// A packet that carries this text.
    #[must_use]
    pub fn new(text: &str) -> Item {
        Item { text: text.to_owned(), key: None, business: None }
    }

    /// Ordered by this key.
    #[must_use]
    pub fn key(self, key: &str) -> Item {
        Item { key: Some(key.to_owned()), ..self }
    }

    /// Known to its sender by this business key.
    #[must_use]
    pub fn business(self, key: &str) -> Item {
        Item { business: Some(key.to_owned()), ..self }
    }

    /// The packet, as the how many-th of a producer's it entered in an epoch.
    #[must_use]
    pub fn encode(&self, producer: &str, epoch: u64, pseq: Seq) -> Bytes {
        let producer = ProducerId(xxh3_64(producer.as_bytes()));
        let fields = Fields {
            identity: Identity::Entered { producer, epoch: Epoch(epoch), pseq },
            packet_id: self.text.clone(),
            ts: 0,
            kind: Kind::Event,
            source_id: "kit".to_owned(),
            key: self.key.clone(),
            content_type: ContentType::Bytes,
            payload: Bytes::copy_from_slice(self.text.as_bytes()),
            meta: self.business.iter().map(|key| (BUSINESS_KEY.to_owned(), key.clone())).collect::<BTreeMap<_, _>>(),
        };
        Packet::from(fields).encode()
    }
}

/// Plain packets with these texts.
#[must_use]
pub fn items(texts: &[&str]) -> Vec<Item> {
    texts.iter().map(|text| Item::new(text)).collect()
}

/// A producer of a case.
pub struct Pen {
    held: Box<dyn Producer>,
    name: String,
    epoch: u64,
    next: Seq,
    time: Time,
}

impl Pen {
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
        let mut answers = futures_util::stream::FuturesOrdered::new();
        for item in items {
            let packet = item.encode(&self.name, self.epoch, self.next);
            answers.push_back(self.held.publish(self.next, vec![packet]));
            self.next = self.next.next();
        }
        let time = self.time.clone();
        let all: Vec<Result<Seq, ChannelError>> =
            time.patiently("publishes under way", futures_util::StreamExt::collect(answers)).await?;
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

/// A packet that a member was granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its number in the channel.
    pub seq: Seq,
    /// The lease.
    pub lease: u64,
    /// The how many-th delivery.
    pub delivery: u32,
    /// What it carries; empty for what is no packet.
    pub text: String,
    /// All of it.
    pub packet: Bytes,
}

/// The texts of what was taken.
#[must_use]
pub fn texts(taken: &[Taken]) -> Vec<&str> {
    taken.iter().map(|one| one.text.as_str()).collect()
}

/// What was answered to a settle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Settled, now or before.
    pub settled: BTreeSet<Seq>,
    /// Fenced, and whether the lease is still held.
    pub fenced: BTreeMap<Seq, bool>,
}

/// A member of a case.
pub struct Hand {
    member: Box<dyn Member>,
    name: String,
    time: Time,
    /// The generations that it was told, in order.
    pub generations: Vec<u64>,
    /// The floors that it was told, in order.
    pub floors: Vec<Seq>,
    /// Granted, and not asked for by the case.
    waiting: VecDeque<Taken>,
    answers: Vec<ToMember>,
}

impl Hand {
    /// The generation that it knows.
    #[must_use]
    pub fn generation(&self) -> u64 {
        *self.generations.last().expect("its first word was a generation")
    }

    /// The floor that it knows.
    #[must_use]
    pub fn floor(&self) -> Seq {
        *self.floors.last().expect("its first word told a floor")
    }

    /// The next word, if one comes by then.
    async fn word(&mut self, end_ns: u64) -> Result<Option<ToMember>, Breach> {
        let Some(heard) = self.time.by(end_ns, self.member.hear()).await else { return Ok(None) };
        let word = heard.map_err(|error| Breach::new(format!("{} hears no more: {error}", self.name)))?;
        match &word {
            ToMember::Joined { generation, floor, .. } => {
                self.generations.push(*generation);
                self.floors.push(*floor);
            }
            ToMember::Generation { generation } => self.generations.push(*generation),
            ToMember::Granted { lease, packets } => {
                let taken = |(seq, delivery, packet): &(Seq, u32, Bytes)| Taken {
                    seq: *seq,
                    lease: *lease,
                    delivery: *delivery,
                    text: Glance::at(packet)
                        .map_or(String::new(), |glance| String::from_utf8_lossy(glance.payload).into_owned()),
                    packet: packet.clone(),
                };
                self.waiting.extend(packets.iter().map(taken));
            }
            ToMember::Settled { floor, .. } => {
                self.floors.push(*floor);
                self.answers.push(word.clone());
            }
            ToMember::Fenced { generation, .. } => {
                if self.generations.last().is_some_and(|known| generation > known) {
                    self.generations.push(*generation);
                }
                self.answers.push(word.clone());
            }
        }
        Ok(Some(word))
    }

    /// Takes the next `count` packets.
    ///
    /// # Errors
    /// When they don't come in time.
    pub async fn take(&mut self, count: usize) -> Result<Vec<Taken>, Breach> {
        let end_ns = self.time.patience();
        while self.waiting.len() < count {
            if self.word(end_ns).await?.is_none() {
                let got: Vec<&str> = self.waiting.iter().map(|one| one.text.as_str()).collect();
                return Err(Breach::new(format!("{} waited for {count} packets, and got {got:?}", self.name)));
            }
        }
        Ok(self.waiting.drain(..count).collect())
    }

    /// Takes one packet.
    ///
    /// # Errors
    /// When it doesn't come in time.
    pub async fn one(&mut self) -> Result<Taken, Breach> {
        Ok(self.take(1).await?.remove(0))
    }

    /// Takes all that comes within so many beats.
    ///
    /// # Errors
    /// When the session ends.
    pub async fn collect(&mut self, beats: u64) -> Result<Vec<Taken>, Breach> {
        let end_ns = self.time.in_beats(beats);
        while self.word(end_ns).await?.is_some() {}
        Ok(self.waiting.drain(..).collect())
    }

    /// Sees that nothing comes within so many beats.
    ///
    /// # Errors
    /// When something does.
    pub async fn quiet(&mut self, beats: u64) -> Result<(), Breach> {
        match self.collect(beats).await?.first() {
            None => Ok(()),
            Some(Taken { text, delivery, .. }) => {
                Err(Breach::new(format!("{} got {text:?} (delivery {delivery}), and nothing was due", self.name)))
            }
        }
    }

    /// Waits until it knows a generation beyond `generation`.
    ///
    /// # Errors
    /// When it is not told in time.
    pub async fn beyond(&mut self, generation: u64) -> Result<u64, Breach> {
        let end_ns = self.time.patience();
        while self.generation() <= generation {
            if self.word(end_ns).await?.is_none() {
                return Err(Breach::new(format!("{} heard of no generation after {generation}", self.name)));
            }
        }
        Ok(self.generation())
    }

    /// Waits until the session has ended.
    ///
    /// # Errors
    /// When it doesn't end in time.
    pub async fn closed(&mut self) -> Result<(), Breach> {
        let member = &mut self.member;
        let ended = self.time.patiently("the end of a session", async { while member.hear().await.is_ok() {} }).await;
        ended.map_err(|breach| Breach::new(format!("{}: {breach}", self.name)))
    }

    /// Says something of packets under a lease, in a generation; waits for no answer.
    ///
    /// # Errors
    /// When the session has ended.
    pub async fn say(&mut self, generation: u64, lease: u64, seq: Seq, outcome: Outcome) -> Result<(), Breach> {
        let settle = Settle { generation, lease, seqs: vec![seq], outcome, reason: "the seal is broken".to_owned() };
        let said = self.time.patiently("a settle", self.member.settle(settle)).await?;
        said.map_err(|error| Breach::new(format!("{} could not settle {seq}: {error}", self.name)))
    }

    /// Says something of a packet in this generation, under the lease that it was taken with.
    ///
    /// # Errors
    /// When the session has ended.
    pub async fn tell(&mut self, taken: &Taken, outcome: Outcome) -> Result<(), Breach> {
        self.say(self.generation(), taken.lease, taken.seq, outcome).await
    }

    /// Says something, and hears the answer.
    ///
    /// # Errors
    /// When none comes in time.
    pub async fn ask(&mut self, generation: u64, lease: u64, seq: Seq, outcome: Outcome) -> Result<Answer, Breach> {
        self.answers.clear();
        self.say(generation, lease, seq, outcome).await?;
        let end_ns = self.time.patience();
        loop {
            let mut answer = Answer::default();
            for word in &self.answers {
                match word {
                    ToMember::Settled { seqs, .. } => answer.settled.extend(seqs),
                    ToMember::Fenced { seqs, still_held, .. } => {
                        answer.fenced.extend(seqs.iter().map(|seq| (*seq, *still_held)));
                    }
                    _ => {}
                }
            }
            if answer.settled.contains(&seq) || answer.fenced.contains_key(&seq) {
                return Ok(answer);
            }
            if self.word(end_ns).await?.is_none() {
                return Err(Breach::new(format!("{} settled {seq}, and heard nothing of it", self.name)));
            }
        }
    }

    /// Settles a packet for good.
    ///
    /// # Errors
    /// When it doesn't take effect.
    pub async fn settle(&mut self, taken: &Taken, outcome: Outcome) -> Result<(), Breach> {
        loop {
            let generation = self.generation();
            let answer = self.ask(generation, taken.lease, taken.seq, outcome).await?;
            if answer.settled.contains(&taken.seq) {
                return Ok(());
            }
            // Said in another generation than the one that had begun meanwhile: it may be said again.
            if answer.fenced.get(&taken.seq) != Some(&true) || self.generation() == generation {
                break;
            }
        }
        Err(Breach::new(format!("{} holds {:?}, and its settle was fenced", self.name, taken.text)))
    }

    /// Acks packets.
    ///
    /// # Errors
    /// When one doesn't take effect.
    pub async fn ack(&mut self, taken: &[Taken]) -> Result<(), Breach> {
        for one in taken {
            self.settle(one, Outcome::Ack).await?;
        }
        Ok(())
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
