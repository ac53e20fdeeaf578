//! A channel that lives here. Numbers, producers and business keys are kept in one place, whoever puts packets in.

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;

use super::inputs::{Numbers, channel_name};
use super::lanes::journal_error;
use super::shared::{Shared, Tried, plain};
use crate::channel::dedup::{self, Judged, KeyHash, Keys, Remembered};
use crate::channel::producer::Producers;
use crate::journal::letter::Origin;
use crate::journal::record::{BusinessKeys, Name, Producer, identity_of};
use crate::journal::{Commit, Intent, Record};
use crate::lane::LaneError;
use crate::node::{Class, NodeError};
use crate::observe::{Event, What};
use crate::packet::{Epoch, Glance, Seq};
use crate::process::ChannelPlan;
use crate::sometimes;

/// What a frame holds beside a packet and its dead letter: its header, the producer's record, a settle.
const FRAME_REST_BYTES: usize = 1024;
/// By how much numbers jump where some may have been given that are not there any more.
const JUMP: u64 = 1 << 20;

/// A channel that lives here.
pub(crate) struct Hosted {
    shared: Arc<Shared>,
    channel: String,
    name: Name,
    horizon_ns: i64,
    keys_max: usize,
    /// What the clock and the monotonic clock said when it was opened: keys age by the latter, whatever the former does meanwhile.
    opened: (i64, u64),
    ends: Mutex<Ends>,
}

struct Ends {
    producers: Producers,
    numbers: Numbers,
    /// Business keys on their way into the journal, and perhaps some that are there.
    fresh: Keys,
}

/// What may be stored of some packets.
struct Admitted {
    records: Vec<Record>,
    keys: Vec<KeyHash>,
    events: Vec<Event>,
    appends: bool,
}

impl Hosted {
    /// A channel as the journal has it; `keys_max` of the business keys are its own. With `forgetful`, numbers may have been
    /// given that the journal lost: they are not given again, as members of groups remember what they took by them.
    pub(super) fn new(shared: &Arc<Shared>, plan: &ChannelPlan, keys_max: usize, forgetful: bool) -> Self {
        let name = channel_name(&plan.id);
        let mut producers = Producers::default();
        let last = shared.journal.image(|image| {
            for (producer, (epoch, last)) in image.producers(&name) {
                producers.restore(&plan.id, producer, epoch, last);
            }
            image.last_given(&name)
        });
        // A clock that went back must not make new keys older than those that are known.
        let newest = shared.journal.image(|image| image.keys(&name).and_then(Keys::newest)).unwrap_or(i64::MIN);
        let opened = (shared.env.clock.unix_ns().max(newest), shared.env.clock.mono());
        let leased = plan.groups.iter().any(|group| plan.is_leased(group));
        let last = if forgetful && leased { Seq((last.0 / JUMP + 1) * JUMP) } else { last };
        let horizon_ns = i64::try_from(plan.options.dedup_horizon_ns).expect("a file's times are at most 30 days");
        let ends = Mutex::new(Ends { producers, numbers: Numbers::after(last), fresh: Keys::default() });
        Hosted { shared: shared.clone(), channel: plan.id.clone(), name, horizon_ns, keys_max, opened, ends }
    }

    pub(crate) fn channel(&self) -> &str {
        &self.channel
    }

    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.ends.lock().expect("no code panics while it holds a channel")
    }

    /// Whether the journal reported records as lost.
    pub(super) fn lost(&self) -> bool {
        self.shared.journal.image(|image| !image.quarantined().is_empty())
    }

    /// Opens the channel for a producer, durably; gives the last number that is held of it.
    pub(super) async fn open(&self, producer: &str, epoch: Epoch) -> Result<Seq, LaneError> {
        let last = self
            .ends()
            .producers
            .open(&self.channel, producer, epoch)
            .map_err(|rejection| LaneError::rejected(&self.channel, rejection))?;
        let record = self.producer(producer, epoch, last);
        // Durable also when nothing changed: what was accepted before this is then durable too.
        let commit = self.shared.journal.append(vec![record], Intent::Drain).await;
        commit.map_err(journal_error(&self.channel))?.synced().await.map_err(journal_error(&self.channel))?;
        Ok(last)
    }

    fn producer(&self, producer: &str, epoch: Epoch, last: Seq) -> Record {
        Record::Producer(Producer { channel: self.name.clone(), producer: producer.into(), epoch, last })
    }

    /// Submits what is new of a producer's packets; gives the commit, and the last number that is then held.
    pub(super) fn append(
        &self,
        producer: &str,
        epoch: Epoch,
        (first, lost): (Seq, u64),
        packets: Vec<(Epoch, Bytes)>,
    ) -> Result<(Commit, Seq), LaneError> {
        // Nothing awaits in here, so that appends made in order are submitted in order.
        let mut ends = self.ends();
        let offered = ends.producers.offer(&self.channel, producer, epoch, (first, lost), packets.len() as u64);
        let accept = offered.map_err(|rejection| {
            let error = LaneError::rejected(&self.channel, rejection);
            self.refuse(error.name());
            error
        })?;
        // Its dead letter must fit a frame, too, whatever becomes of it.
        let limit = self.shared.journal.frame_bytes_max() - FRAME_REST_BYTES;
        if let Some((index, (_, large))) = packets.iter().enumerate().find(|(_, (_, one))| self.cost(one) > limit) {
            let (channel, seq) = (self.channel.clone(), Seq(first.0 + index as u64));
            return Err(LaneError::TooLarge { channel, seq, bytes: large.len() });
        }
        let skip = usize::try_from(accept.skip).expect("at most a batch is skipped");
        let probe = &*self.shared.env.probe;
        sometimes!(
            probe,
            "channel.half_held",
            0 < skip && skip < packets.len(),
            "a batch of which a part was held already"
        );
        let from: Name = producer.into();
        let mut packets = (first.0..).zip(packets).map(|(seq, (_, packet))| (Seq(seq), packet));
        let again: Vec<Event> =
            packets.by_ref().take(skip).map(|(_, packet)| self.refused("lane.duplicate", &packet)).collect();
        self.shared.emit(&again);
        let mut packets = packets.peekable();
        let mut held = Seq(first.0 + accept.skip - 1);
        // Parts that a frame holds each: a producer's batch may be larger than a frame of this journal.
        loop {
            let (mut part, mut bytes, mut last) = (Vec::new(), 0, accept.last);
            while let Some((seq, packet)) =
                packets.next_if(|(_, packet)| part.is_empty() || bytes + self.cost(packet) <= limit)
            {
                bytes += self.cost(&packet);
                last = seq;
                part.push((seq, packet));
            }
            let commit = self.append_part(&mut ends, &from, epoch, last, part);
            let commit = commit.ok_or_else(|| LaneError::Full { channel: self.channel.clone(), held })?;
            if packets.peek().is_none() {
                return Ok((commit, last));
            }
            held = last;
        }
    }

    /// Submits what one transaction holds, up to the producer's number `last`; nothing where there is no room.
    fn append_part(
        &self,
        ends: &mut Ends,
        from: &Name,
        epoch: Epoch,
        last: Seq,
        part: Vec<(Seq, Bytes)>,
    ) -> Option<Commit> {
        let before = ends.numbers.clone();
        let Admitted { mut records, keys, mut events, appends } = self.admit(ends, Some(from), part.into_iter());
        records.push(self.producer(from, epoch, last));
        let intent = if appends { Intent::Produce } else { Intent::Drain };
        match self.shared.journal.submit(records, intent) {
            Ok(commit) => {
                ends.producers.accept(&self.channel, from, last);
                let admitted = What::Admitted { producer: from.clone(), epoch };
                events.push(Event { seq: last, ..plain(admitted, &self.name) });
                self.shared.emit(&events);
                Some(commit)
            }
            Err(full) => {
                ends.numbers = before;
                keys.into_iter().for_each(|key| ends.fresh.forget(key));
                self.refuse("lane.full");
                tracing::debug!(channel = self.channel, %full, "no room for a batch");
                None
            }
        }
    }

    /// The records that store packets of a graph that runs here. They must be submitted before anything else awaits.
    pub(crate) fn publish(&self, packets: Vec<Bytes>) -> Vec<Record> {
        let mut ends = self.ends();
        let admitted = self.admit(&mut ends, None, packets.into_iter().map(|packet| (Seq(0), packet)));
        self.shared.emit(&admitted.events);
        admitted.records
    }

    /// What [`Hosted::publish`] makes of a packet takes at most so many bytes in a frame.
    pub(crate) fn cost(&self, packet: &Bytes) -> usize {
        // A dead letter is the longer of the two; and its business key.
        packet.len() + 3 * self.name.len() + self.shared.process.len() + 640
    }

    /// `from` is the producer whose numbers the packets have; those that are made here have none.
    fn admit(&self, ends: &mut Ends, from: Option<&Name>, packets: impl Iterator<Item = (Seq, Bytes)>) -> Admitted {
        let mut admitted = Admitted { records: Vec::new(), keys: Vec::new(), events: Vec::new(), appends: false };
        let now = self.now();
        let (mut remembered, since) = (Vec::new(), now.saturating_sub(self.horizon_ns));
        for (seq, packet) in packets {
            let source = || from.map(|input| Origin { input: input.clone(), seq });
            let Ok(glance) = Glance::at(&packet) else {
                // Nobody behind the channel could make anything of it.
                admitted.records.push(self.letter(
                    packet,
                    source(),
                    Class::DecodeFailed,
                    "it is no packet of this version",
                ));
                admitted.appends = true;
                continue;
            };
            match self.judge(ends, &glance, since) {
                (Judged::New, key) => {
                    if let Some((key, payload)) = key {
                        ends.fresh.remember(key, Remembered { payload, at: now });
                        remembered.push((key, Remembered { payload, at: now }));
                    }
                    let append = Record::Append { channel: self.name.clone(), seq: ends.numbers.next(), packet };
                    admitted.records.push(append);
                    admitted.appends = true;
                }
                (Judged::Duplicate, _) => admitted.events.push(self.refused("dedup.duplicate", &packet)),
                (Judged::Conflict, _) => {
                    admitted.events.push(self.refused("dedup.conflict", &packet));
                    let why = "its business key came before with another payload";
                    admitted.records.push(self.letter(packet, source(), Class::Conflict, why));
                    admitted.appends = true;
                }
            }
        }
        if !remembered.is_empty() {
            admitted.keys = remembered.iter().map(|(key, _)| *key).collect();
            let since = self.since(ends, now);
            let channel = self.name.clone();
            admitted.records.push(Record::BusinessKeys(BusinessKeys { channel, since, keys: remembered }));
        }
        admitted
    }

    /// Judges a packet by its business key, and gives the key with its payload's hash.
    fn judge(&self, ends: &Ends, glance: &Glance<'_>, since: i64) -> (Judged, Option<(KeyHash, u64)>) {
        let Some(key) = glance.business_key() else { return (Judged::New, None) };
        let (key, payload) = (dedup::key_hash(key), dedup::payload_hash(glance.payload));
        let judged = match ends.fresh.judge(key, payload, since) {
            Judged::New => self
                .shared
                .journal
                .image(|image| image.keys(&self.name).map_or(Judged::New, |keys| keys.judge(key, payload, since))),
            known => known,
        };
        (judged, Some((key, payload)))
    }

    /// By which keys age, unix ns.
    fn now(&self) -> i64 {
        let (unix_ns, mono_ns) = self.opened;
        let since_ns = self.shared.env.clock.mono().saturating_sub(mono_ns);
        unix_ns.saturating_add(i64::try_from(since_ns).unwrap_or(i64::MAX))
    }

    /// From when on keys are remembered: for the horizon, or as many as may be.
    fn since(&self, ends: &mut Ends, now: i64) -> i64 {
        let horizon = now.saturating_sub(self.horizon_ns);
        let bound = self.shared.journal.image(|image| {
            let Some(keys) = image.keys(&self.name) else { return i64::MIN };
            // One that comes again after its horizon is known from before, and not yet stored.
            let stored = |(key, remembered): &(KeyHash, Remembered)| keys.get(*key) == Some(*remembered);
            let stored: Vec<KeyHash> = ends.fresh.iter().filter(stored).map(|(key, _)| key).collect();
            stored.into_iter().for_each(|key| ends.fresh.forget(key));
            keys.since_for(self.keys_max.saturating_sub(ends.fresh.len()))
        });
        if bound > horizon {
            self.refuse("dedup.forgotten_early");
            tracing::warn!(
                channel = self.channel,
                max = self.keys_max,
                "more business keys than are remembered for their horizon"
            );
        }
        horizon.max(bound)
    }

    fn letter(&self, packet: Bytes, source: Option<Origin>, class: Class, why: &str) -> Record {
        self.shared.refused_letter(&self.name, packet, source, NodeError::new(class, why), Tried::ONCE)
    }

    fn refused(&self, reason: &str, packet: &[u8]) -> Event {
        Event { identity: identity_of(packet), ..plain(What::Refused { reason: reason.into() }, &self.name) }
    }

    fn refuse(&self, reason: &str) {
        self.shared.emit(&[plain(What::Refused { reason: reason.into() }, &self.name)]);
    }
}
