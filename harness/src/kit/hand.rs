//! A member of a case: hears all that its session says, and settles as it is told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use seaworthy_engine::channel::kind::{Member, Outcome, Settle, ToMember};
use seaworthy_engine::packet::Seq;

use super::Breach;
use super::item::Taken;
use super::setting::Time;

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
    /// A member that has just joined; hears its first word.
    pub(super) async fn new(member: Box<dyn Member>, name: String, time: Time) -> Result<Hand, Breach> {
        let (generations, floors, waiting, answers) = (Vec::new(), Vec::new(), VecDeque::new(), Vec::new());
        let end_ns = time.patience();
        let mut hand = Hand { member, name, time, generations, floors, waiting, answers };
        match hand.word(end_ns).await? {
            Some(ToMember::Joined { .. }) => Ok(hand),
            word => Err(Breach::new(format!("the first word to {} is {word:?}", hand.name))),
        }
    }

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

    /// What it was told that it doesn't hold any more, by lease.
    #[must_use]
    pub fn over(&self) -> BTreeSet<(u64, Seq)> {
        let over = self.answers.iter().filter_map(|answer| match answer {
            ToMember::Fenced { still_held: false, lease, seqs, .. } => Some(seqs.iter().map(|seq| (*lease, *seq))),
            _ => None,
        });
        over.flatten().collect()
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
                self.waiting.extend(packets.iter().map(|one| Taken::new(*lease, one)));
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
    pub async fn say(&mut self, generation: u64, lease: u64, seqs: &[Seq], outcome: Outcome) -> Result<(), Breach> {
        let (reason, seqs) = ("the seal is broken".to_owned(), seqs.to_vec());
        let settle = Settle { generation, lease, seqs, outcome, reason };
        let said = self.time.patiently("a settle", self.member.settle(settle)).await?;
        said.map_err(|error| Breach::new(format!("{} could not settle: {error}", self.name)))
    }

    /// Says something of a packet in this generation, under the lease that it was taken with.
    ///
    /// # Errors
    /// When the session has ended.
    pub async fn tell(&mut self, taken: &Taken, outcome: Outcome) -> Result<(), Breach> {
        self.say(self.generation(), taken.lease, &[taken.seq], outcome).await
    }

    /// Says something of a packet, and hears the answer.
    ///
    /// # Errors
    /// When none comes in time.
    pub async fn ask(&mut self, generation: u64, lease: u64, seq: Seq, outcome: Outcome) -> Result<Answer, Breach> {
        self.ask_all(generation, lease, &[seq], outcome).await
    }

    /// Says something of several packets at once, and hears the answer to each.
    ///
    /// # Errors
    /// When one doesn't come in time.
    pub async fn ask_all(
        &mut self,
        generation: u64,
        lease: u64,
        seqs: &[Seq],
        outcome: Outcome,
    ) -> Result<Answer, Breach> {
        self.answers.clear();
        self.say(generation, lease, seqs, outcome).await?;
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
            if seqs.iter().all(|seq| answer.settled.contains(seq) || answer.fenced.contains_key(seq)) {
                return Ok(answer);
            }
            if self.word(end_ns).await?.is_none() {
                return Err(Breach::new(format!("{} settled {seqs:?}, and heard only {answer:?}", self.name)));
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
