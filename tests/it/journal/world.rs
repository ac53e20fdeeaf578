//! A journal, its disk, and what the disk owes.

use std::sync::Arc;

use bytes::Bytes;
use seaworthy_engine::env::{Clock, Disk};
use seaworthy_engine::journal::image::{Cursor, Image};
use seaworthy_engine::journal::letter::DeadLetter;
use seaworthy_engine::journal::record::{Put, Record, Settle};
use seaworthy_engine::journal::{Commit, Durability, Full, Intent, Journal, JournalError, JournalOptions, frame::At};
use seaworthy_engine::packet::{Identity, Seq};
use seaworthy_harness::plan::DiskOp;
use seaworthy_harness::sim::Now;
use seaworthy_harness::sim::clock::SimClock;
use seaworthy_harness::sim::disk::{DiskOptions, SimDisk};
use seaworthy_harness::sim::seed::KeyedSeed;

use super::every_op::{Fuse, Fused};
use super::machine::{env, letter, now};

#[derive(Clone, Debug)]
pub enum Act {
    /// A transaction of some packets, some settles and a key; sizes in bytes.
    Submit { packets: u8, size: u16, settle: bool, key: u8 },
    /// A packet, a dead letter, and the end of all packets but each so many-th: what is left pins segments.
    Pin { every: u8 },
    /// The end of one packet, the newest or the oldest that is needed, also where the disk is full.
    Drain { newest: bool },
    /// Time passes, ms.
    Wait(u8),
    /// SIGKILL and a new start.
    Crash,
    /// The power goes, and a new start.
    PowerCut { torn: bool },
    /// A clean end and a new start.
    Close,
    /// The disk is full, for some ms.
    FullFor(u8),
    /// Syncs fail from now on until the next start.
    EioSync,
    /// Writes fail from now on until the next start.
    EioWrite,
}

pub fn options() -> JournalOptions {
    JournalOptions {
        segment_bytes: 16 << 10,
        frame_bytes_max: 4 << 10,
        tail_bytes_max: 3 << 10,
        ..JournalOptions::new("edge")
    }
}

fn booted(disk: &SimDisk, fuse: Option<&Arc<Fuse>>) -> Arc<dyn Disk> {
    let booted = disk.boot();
    match fuse {
        Some(fuse) => Arc::new(Fused::new(booted, std::slice::from_ref(disk), fuse.clone())),
        None => booted,
    }
}

pub struct World {
    pub disk: SimDisk,
    pub seed: Arc<KeyedSeed>,
    pub now: Now,
    options: JournalOptions,
    fuse: Option<Arc<Fuse>>,
    pub journal: Journal,
    /// What was submitted and may still be there, in order.
    txs: Vec<Vec<Record>>,
    /// How many of them must be there.
    pub confirmed: usize,
    waiting: Vec<(usize, Commit)>,
    last: Seq,
    settled: Seq,
    /// Something happened that may cost what was confirmed and not synced.
    forgiven: bool,
}

impl World {
    pub async fn new(seed: u64, options: JournalOptions, fuse: Option<Fuse>) -> World {
        let now = now();
        let seed = Arc::new(KeyedSeed(seed));
        let disk = SimDisk::new(DiskOptions::new("edge", 4 << 20), seed.clone(), now.clone());
        let fuse = fuse.map(Arc::new);
        let boot = |lit: bool| env(booted(&disk, fuse.as_ref().filter(|_| lit)), seed.clone(), now.clone());
        let journal = match Journal::open(&boot(true), options.clone()).await {
            Ok((journal, recovery)) => {
                assert!(recovery.created);
                journal
            }
            Err(error) => {
                assert!(fuse.as_ref().is_some_and(|fuse| fuse.has_blown()), "an empty disk has room, but {error}");
                let (journal, _) = Journal::open(&boot(false), options.clone()).await.expect("half a beginning opens");
                journal
            }
        };
        World {
            disk,
            seed,
            now,
            options,
            fuse,
            journal,
            txs: Vec::new(),
            confirmed: 0,
            waiting: Vec::new(),
            last: Seq(0),
            settled: Seq(0),
            forgiven: false,
        }
    }

    pub fn submit(&mut self, packets: u8, size: u16, settle: bool, key: u8) {
        let mut tx = Vec::new();
        let (mut last, mut settled) = (self.last, self.settled);
        for _ in 0..packets {
            last = last.next();
            let packet = Bytes::from(vec![u8::try_from(last.0 % 251).expect("below 251"); usize::from(size)]);
            tx.push(Record::Append { channel: "channel/c".into(), seq: last, packet });
        }
        tx.push(Record::Put(Put {
            node: "n".into(),
            key: Bytes::from(vec![key]),
            value: Some(last.0.to_le_bytes().to_vec().into()),
        }));
        if settle && settled < self.last {
            let to = self.last;
            let seqs = vec![(settled.next(), to)];
            tx.push(Record::Settle(Settle { input: "channel/c".into(), group: "hub".into(), seqs, position: None }));
            settled = to;
        }
        self.hand_in(tx, Intent::Produce, (last, settled));
    }

    fn drain(&mut self, newest: bool) {
        let needed = self.journal.image(needed);
        let Some(seq) = (if newest { needed.last() } else { needed.first() }).copied() else { return };
        let settle = Settle { input: "channel/c".into(), group: "hub".into(), seqs: vec![(seq, seq)], position: None };
        self.hand_in(vec![Record::Settle(settle)], Intent::Drain, (self.last, self.settled));
    }

    fn pin(&mut self, every: u64) {
        let last = self.last.next();
        let packet = Bytes::from(vec![u8::try_from(last.0 % 251).expect("below 251"); 70]);
        let mut seqs: Vec<(Seq, Seq)> = Vec::new();
        for seq in (1..=self.last.0).filter(|seq| !seq.is_multiple_of(every)) {
            match seqs.last_mut() {
                Some((_, to)) if to.0 + 1 == seq => *to = Seq(seq),
                _ => seqs.push((Seq(seq), Seq(seq))),
            }
        }
        // Each at a time of its own: letters are kept in the order of these.
        let at = i64::try_from((self.now)() + last.0).expect("a test is shorter than 292 years");
        let letter = DeadLetter { identity: Identity::Derived(u128::from(last.0)), ..letter(packet.clone(), at) };
        let settle = Settle { input: "channel/c".into(), group: "hub".into(), seqs, position: None };
        let append = Record::Append { channel: "channel/c".into(), seq: last, packet };
        let tx = vec![append, Record::DeadLetter(letter), Record::Settle(settle)];
        self.hand_in(tx, Intent::Produce, (last, self.settled));
    }

    fn hand_in(&mut self, tx: Vec<Record>, intent: Intent, (last, settled): (Seq, Seq)) {
        match self.journal.submit(tx.clone(), intent) {
            Ok(commit) => {
                self.txs.push(tx);
                self.waiting.push((self.txs.len(), commit));
                (self.last, self.settled) = (last, settled);
            }
            // Refused whole: it must never show.
            Err(Full::Disk | Full::Queue | Full::Stopped | Full::TooLarge) => {}
        }
    }

    /// Lets `ms` pass and takes note of what was confirmed.
    pub async fn pass(&mut self, ms: u64) {
        let deadline = (self.now)() + ms * 1_000_000;
        let clock: Arc<dyn Clock> = Arc::new(SimClock::new(self.now.clone(), 0));
        for (index, commit) in std::mem::take(&mut self.waiting) {
            let wait = commit.wait();
            tokio::pin!(wait);
            tokio::select! {
                biased;
                outcome = &mut wait => match outcome {
                    Ok(_) => self.confirmed = self.confirmed.max(index),
                    Err(JournalError::Stopped { .. }) => {}
                    Err(other) => panic!("a commit failed with {other}"),
                },
                () = clock.sleep_until(deadline) => {}
            }
        }
        clock.sleep_until(deadline).await;
    }

    /// A new start, and a look at all that is there.
    pub async fn reopen(&mut self) {
        self.waiting.clear();
        self.disk.set_eio(None);
        self.disk.set_full(false);
        let (journal, recovery) = loop {
            let lit = self.fuse.as_ref().filter(|fuse| !fuse.has_blown());
            let env = env(booted(&self.disk, lit), self.seed.clone(), self.now.clone());
            match Journal::open(&env, self.options.clone()).await {
                Ok(opened) => break opened,
                Err(error) => assert!(lit.is_some_and(|fuse| fuse.has_blown()), "a crashed journal opens, but {error}"),
            }
        };
        assert_eq!(recovery.lost, [], "nothing destroyed confirmed data here");
        self.journal = journal;
        let last = self.journal.image(|image| image.channel("channel/c").map_or(Seq(0), |packets| packets.last));
        // One that appends nothing can't be told by its numbers, but by what it settles: with the first that is gone, all behind it
        // must be.
        let next = |tx: &Vec<Record>| tx.last_append().is_none_or(|seq| seq <= last);
        let mut there = self.txs.iter().take_while(|tx| next(tx)).count();
        let settled = self.journal.image(|image| image.cursor("channel/c", "hub"));
        let is_gone = |tx: &Vec<Record>| tx.iter().any(|record| is_undone(record, &settled));
        there = self.txs[..there].iter().position(is_gone).unwrap_or(there);
        // A weaker durability promises less, and still nothing out of order or in part.
        if std::mem::take(&mut self.forgiven) && self.options.durability != Durability::Sync {
            self.confirmed = 0;
        }
        assert!(
            there >= self.confirmed,
            "{} transactions were confirmed, {there} are left (last {last})",
            self.confirmed
        );
        self.txs.truncate(there);
        self.confirmed = there;
        let mut model = Image::new(0);
        for record in self.txs.iter().flatten() {
            model.apply(At { segment: 0, offset: 0 }, record.clone());
        }
        self.last = model.channel("channel/c").map_or(Seq(0), |packets| packets.last);
        assert_eq!(self.last, last, "a transaction was split");
        self.settled = model.cursor("channel/c", "hub").floor;
        self.journal.image(|image| {
            assert_eq!(image.state("n"), model.state("n"));
            assert_eq!(image.cursor("channel/c", "hub"), model.cursor("channel/c", "hub"));
            assert_eq!(needed(image), needed(&model));
            let letters = |image: &Image| -> Vec<Identity> {
                image.dead_letters().iter().map(|letter| letter.identity).collect()
            };
            assert_eq!(letters(image), letters(&model));
        });
        self.read_all(needed(&model)).await;
    }

    async fn read_all(&self, needed: Vec<Seq>) {
        let mut needed = needed.into_iter().peekable();
        while let Some(next) = needed.peek().copied() {
            let packets = match self.journal.read("channel/c", next, 7, 2000).await {
                Ok(packets) => packets,
                Err(_) if self.has_blown() => return,
                Err(error) => panic!("confirmed packets can be read, but {error}"),
            };
            for (seq, packet) in packets {
                assert_eq!(Some(seq), needed.next(), "packets come without gaps");
                assert!(packet.iter().all(|byte| u64::from(*byte) == seq.0 % 251), "packet {seq} has other bytes");
            }
        }
    }

    pub async fn act(&mut self, act: Act) {
        self.forgiven |= matches!(act, Act::PowerCut { .. } | Act::EioSync | Act::EioWrite);
        match act {
            Act::Submit { packets, size, settle, key } => self.submit(packets, size, settle, key),
            Act::Pin { every } => self.pin(u64::from(every)),
            Act::Drain { newest } => self.drain(newest),
            Act::Wait(ms) => self.pass(u64::from(ms)).await,
            Act::Crash => {
                self.disk.crash();
                self.reopen().await;
            }
            Act::PowerCut { torn } => {
                self.disk.power_cut(torn);
                self.reopen().await;
            }
            Act::Close => {
                self.journal.close().await;
                self.pass(0).await;
                self.reopen().await;
            }
            Act::FullFor(ms) => {
                self.disk.set_full(true);
                self.pass(u64::from(ms)).await;
                self.disk.set_full(false);
            }
            Act::EioSync => self.disk.set_eio(Some((DiskOp::Sync, 1_000_000))),
            Act::EioWrite => self.disk.set_eio(Some((DiskOp::Write, 500_000))),
        }
    }

    /// True once the fuse ended the machine.
    pub fn has_blown(&self) -> bool {
        self.fuse.as_ref().is_some_and(|fuse| fuse.has_blown())
    }

    /// Operations before the fuse blows; negative once it did.
    pub fn fuse_left(&self) -> i64 {
        self.fuse.as_ref().map_or(i64::MAX, |fuse| fuse.left())
    }

    /// Transactions that were taken and not confirmed yet.
    pub fn unconfirmed(&self) -> usize {
        self.txs.len() - self.confirmed
    }

    /// The power goes a last time, and all is looked at.
    pub async fn end(&mut self) {
        self.disk.power_cut(true);
        self.forgiven = true;
        self.reopen().await;
    }
}

/// A settle of one packet that a cursor doesn't show.
fn is_undone(record: &Record, cursor: &Cursor) -> bool {
    matches!(record, Record::Settle(Settle { seqs, .. }) if seqs.iter().any(|(from, _)| !cursor.has(*from)))
}

/// The numbers that somebody still needs.
fn needed(image: &Image) -> Vec<Seq> {
    let Some(packets) = image.channel("channel/c") else { return Vec::new() };
    let first = packets.next(Seq(0)).map(|(seq, _)| seq);
    std::iter::successors(first, |seq| packets.next(seq.next()).map(|(seq, _)| seq)).collect()
}

trait LastAppend {
    fn last_append(&self) -> Option<Seq>;
}
impl LastAppend for Vec<Record> {
    fn last_append(&self) -> Option<Seq> {
        self.iter().rev().find_map(|record| if let Record::Append { seq, .. } = record { Some(*seq) } else { None })
    }
}
