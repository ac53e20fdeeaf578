//! The journal against a model: random transactions, crashes, power cuts, full and failing disks, on the simulated disk.

mod machine;
mod sample;

use std::sync::Arc;

use bytes::Bytes;
use machine::{env, now, run};
use proptest::prelude::*;
use seaworthy_engine::env::Clock;
use seaworthy_engine::journal::image::Image;
use seaworthy_engine::journal::record::{Put, Record, Settle};
use seaworthy_engine::journal::{Commit, Full, Intent, Journal, JournalError, JournalOptions, frame::At};
use seaworthy_engine::packet::Seq;
use seaworthy_harness::plan::DiskOp;
use seaworthy_harness::sim::Now;
use seaworthy_harness::sim::clock::SimClock;
use seaworthy_harness::sim::disk::{DiskOptions, SimDisk};
use seaworthy_harness::sim::seed::KeyedSeed;

#[derive(Clone, Debug)]
enum Act {
    /// A transaction of some packets, some settles and a key; sizes in bytes.
    Submit { packets: u8, size: u16, settle: bool, key: u8 },
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

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        12 => (1u8..6, 1u16..900, any::<bool>(), 0u8..5)
            .prop_map(|(packets, size, settle, key)| Act::Submit { packets, size, settle, key }),
        6 => (0u8..40).prop_map(Act::Wait),
        2 => Just(Act::Crash),
        3 => any::<bool>().prop_map(|torn| Act::PowerCut { torn }),
        1 => Just(Act::Close),
        1 => (1u8..200).prop_map(Act::FullFor),
        1 => Just(Act::EioSync),
        1 => Just(Act::EioWrite),
    ]
}

struct World {
    disk: SimDisk,
    seed: Arc<KeyedSeed>,
    now: Now,
    journal: Journal,
    /// What was submitted and may still be there, in order.
    txs: Vec<Vec<Record>>,
    /// How many of them must be there.
    confirmed: usize,
    waiting: Vec<(usize, Commit)>,
    last: Seq,
    settled: Seq,
}

fn options() -> JournalOptions {
    JournalOptions {
        segment_bytes: 16 << 10,
        frame_bytes_max: 4 << 10,
        tail_bytes_max: 3 << 10,
        ..JournalOptions::new("edge")
    }
}

impl World {
    async fn new(seed: u64) -> World {
        let now = now();
        let seed = Arc::new(KeyedSeed(seed));
        let disk = SimDisk::new(DiskOptions::new("edge", 4 << 20), seed.clone(), now.clone());
        let env = env(disk.boot(), seed.clone(), now.clone());
        let (journal, recovery) = Journal::open(&env, options()).await.expect("an empty disk has room");
        assert!(recovery.created);
        World {
            disk,
            seed,
            now,
            journal,
            txs: Vec::new(),
            confirmed: 0,
            waiting: Vec::new(),
            last: Seq(0),
            settled: Seq(0),
        }
    }

    fn submit(&mut self, packets: u8, size: u16, settle: bool, key: u8) {
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
        match self.journal.submit(tx.clone(), Intent::Produce) {
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
    async fn pass(&mut self, ms: u64) {
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

    async fn reopen(&mut self) {
        self.waiting.clear();
        self.disk.set_eio(None);
        self.disk.set_full(false);
        let env = env(self.disk.boot(), self.seed.clone(), self.now.clone());
        let (journal, recovery) = Journal::open(&env, options()).await.expect("a crashed journal opens");
        assert_eq!(recovery.lost, [], "nothing destroyed confirmed data here");
        self.journal = journal;
        let last = self.journal.image(|image| image.channel("channel/c").map_or(Seq(0), |packets| packets.last));
        let there = self.txs.iter().take_while(|tx| matches!(tx.last_append(), Some(seq) if seq <= last)).count();
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
            let backlog = |image: &Image| image.channel("channel/c").map(|packets| packets.backlog());
            assert_eq!(backlog(image).unwrap_or(0), backlog(&model).unwrap_or(0));
        });
        self.read_all().await;
    }

    async fn read_all(&self) {
        let mut next = self.settled.next();
        while next <= self.last {
            let packets = self.journal.read("channel/c", next, 7, 2000).await.expect("confirmed packets can be read");
            for (seq, packet) in packets {
                assert_eq!(seq, next, "packets come without gaps");
                assert!(packet.iter().all(|byte| u64::from(*byte) == seq.0 % 251), "packet {seq} has other bytes");
                next = next.next();
            }
        }
    }
}

trait LastAppend {
    fn last_append(&self) -> Option<Seq>;
}
impl LastAppend for Vec<Record> {
    fn last_append(&self) -> Option<Seq> {
        self.iter().rev().find_map(|record| if let Record::Append { seq, .. } = record { Some(*seq) } else { None })
    }
}

async fn play(seed: u64, acts: Vec<Act>) {
    let mut world = World::new(seed).await;
    for act in acts {
        match act {
            Act::Submit { packets, size, settle, key } => world.submit(packets, size, settle, key),
            Act::Wait(ms) => world.pass(u64::from(ms)).await,
            Act::Crash => {
                world.disk.crash();
                world.reopen().await;
            }
            Act::PowerCut { torn } => {
                world.disk.power_cut(torn);
                world.reopen().await;
            }
            Act::Close => {
                world.journal.close().await;
                world.pass(0).await;
                world.reopen().await;
            }
            Act::FullFor(ms) => {
                world.disk.set_full(true);
                world.pass(u64::from(ms)).await;
                world.disk.set_full(false);
            }
            Act::EioSync => world.disk.set_eio(Some((DiskOp::Sync, 1_000_000))),
            Act::EioWrite => world.disk.set_eio(Some((DiskOp::Write, 500_000))),
        }
    }
    world.disk.power_cut(true);
    world.reopen().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, max_shrink_iters: 2000, ..ProptestConfig::default() })]
    #[test]
    fn what_was_confirmed_survives_and_nothing_is_split(seed in any::<u64>(), acts in proptest::collection::vec(act(), 1..60)) {
        run(play(seed, acts));
    }
}

#[test]
fn rot_in_confirmed_data_is_reported_exactly() {
    run(async {
        let mut world = World::new(1).await;
        for _ in 0..4 {
            world.submit(2, 100, false, 0);
            world.pass(50).await;
        }
        assert_eq!(world.confirmed, 4);
        // The first frames are the header, the epoch, and a mark after each transaction: rot the second transaction.
        let bytes = world.disk.snapshot()["seg-000000000001.swj"].clone();
        let frames: Vec<usize> = (0..bytes.len()).step_by(512).filter(|at| bytes[*at..].starts_with(b"SWF1")).collect();
        let second =
            frames.iter().filter(|at| bytes[**at + 12] == 3).nth(1).expect("two transactions of three records");
        world.disk.crash();
        assert!(world.disk.rot("seg-000000000001.swj", *second as u64 + 100), "there is something to rot");
        let env = env(world.disk.boot(), world.seed.clone(), world.now.clone());
        let (journal, recovery) = Journal::open(&env, options()).await.expect("a rotten journal opens");
        let lost: Vec<_> = recovery.lost.iter().map(|range| (range.start.0, range.end.0)).collect();
        assert_eq!(lost, [(3, 6)]);
        assert_eq!(recovery.lines(), ["lost.reported 3..6 (confirmed records that the disk destroyed)"]);
        let last = journal.image(|image| image.channel("channel/c").map(|packets| packets.last));
        assert_eq!(last, Some(Seq(8)), "what came after the rot is still there");
    });
}

#[test]
fn a_second_opener_is_turned_away() {
    run(async {
        let world = World::new(1).await;
        let env = env(world.disk.boot(), world.seed.clone(), world.now.clone());
        drop(Journal::open(&env, options()).await.expect("the old incarnation's lock went with it"));
        let again = Journal::open(&env, options()).await;
        assert!(matches!(again, Err(JournalError::Locked)), "{again:?}");
    });
}

#[test]
fn foreign_files_and_other_processes_are_refused() {
    run(async {
        let world = World::new(1).await;
        world.journal.close().await;
        let disk = world.disk.boot();
        let env = env(disk.clone(), world.seed.clone(), world.now.clone());
        let other = Journal::open(&env, JournalOptions { process: "hub".into(), ..options() }).await;
        assert!(matches!(&other, Err(JournalError::Foreign { .. })), "{other:?}");
        disk.open("notes.txt", seaworthy_engine::env::Open::Create).await.expect("there is room");
        let foreign = Journal::open(&env, options()).await;
        assert!(matches!(&foreign, Err(JournalError::Foreign { name, .. }) if name == "notes.txt"), "{foreign:?}");
    });
}
