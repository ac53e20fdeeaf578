//! What the simulated disk promises, seen through the seam: a model of what syncs cover, crashes, cuts and faults.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::sim::clock::wait_until;
use crate::sim::seed::KeyedSeed;
use crate::sim::{TICK_NS, test_world};

const MIB: u64 = 1 << 20;

fn disk(seed: u64, now: &Now) -> SimDisk {
    SimDisk::new(DiskOptions::new("edge", MIB), Arc::new(KeyedSeed(seed)), now.clone())
}

fn bytes(n: usize, byte: u8) -> Vec<Bytes> {
    vec![Bytes::from(vec![byte; n])]
}

async fn synced_file(disk: &Arc<dyn Disk>, path: &str) -> Arc<dyn File> {
    let file = disk.open(path, Open::Create).await.unwrap();
    disk.sync_dir("").await.unwrap();
    file
}

async fn content(disk: &SimDisk, path: &str) -> Bytes {
    let file = disk.boot().open(path, Open::Read).await.unwrap();
    file.read_at(0, MIB as usize).await.unwrap()
}

#[test]
fn a_crash_keeps_the_cache_and_ends_the_incarnation() {
    test_world(|now| async move {
        let sim = disk(1, &now);
        let old = sim.boot();
        let file = old.open("f", Open::Create).await.unwrap();
        drop(file.write_at(0, bytes(10_000, 7)));
        let lock = old.lock("lock").await.unwrap();
        let waiting = file.sync_data();
        sim.crash();
        let before = sim.snapshot();
        assert_eq!(before["f"], vec![7; 10_000]);
        assert_eq!(waiting.await.unwrap_err().kind(), io::ErrorKind::NotConnected);

        let new = sim.boot();
        assert!(file.write_at(0, bytes(1, 9)).await.is_err());
        assert!(file.zero_fill(20_000).await.is_err());
        assert!(old.remove("f").await.is_err());
        assert!(old.open("g", Open::Create).await.is_err());
        let _guard = new.lock("lock").await.expect("a crash frees locks");
        drop((lock, file));
        assert_eq!(new.lock("lock").await.err().map(|error| error.kind()), Some(io::ErrorKind::WouldBlock));
        assert_eq!(sim.snapshot(), before);
    });
}

#[test]
fn a_dropped_future_still_writes_and_syncs() {
    test_world(|now| async move {
        let sim = disk(1, &now);
        let file = synced_file(&sim.boot(), "f").await;
        drop(file.write_sync(0, bytes(1_000, 5)));
        wait_until(now, 5 * TICK_NS).await;
        sim.power_cut(true);
        assert_eq!(content(&sim, "f").await, vec![5; 1_000]);
    });
}

#[test]
fn a_sync_is_durable_at_its_completion_and_not_before() {
    test_world(|now| async move {
        let mut early = BTreeSet::new();
        for seed in 0..32 {
            let sim = disk(seed, &now);
            let file = synced_file(&sim.boot(), "f").await;
            let sync = file.write_sync(0, bytes(512, 5));
            if seed % 2 == 0 {
                sync.await.unwrap();
                sim.power_cut(false);
                assert_eq!(content(&sim, "f").await, vec![5; 512]);
            } else {
                sim.power_cut(false);
                early.insert(content(&sim, "f").await);
            }
        }
        assert!(early.len() > 1, "an incomplete sync is sometimes lost: {}", early.len());
    });
}

#[test]
fn names_need_a_sync_of_their_directory() {
    test_world(|now| async move {
        let mut outcomes = BTreeSet::new();
        for seed in 0..32 {
            let sim = disk(seed, &now);
            let booted = sim.boot();
            let file = synced_file(&booted, "a").await;
            file.write_sync(0, bytes(1, 1)).await.unwrap();
            booted.rename("a", "b").await.unwrap();
            booted.open("c", Open::Create).await.unwrap();
            sim.power_cut(false);
            outcomes.insert(sim.boot().list("").await.unwrap().join(","));
        }
        assert_eq!(outcomes.into_iter().collect::<Vec<_>>(), ["a", "b", "b,c"]);
    });
}

#[test]
fn a_failed_sync_loses_its_pages_and_kills_the_handle() {
    test_world(|now| async move {
        let sim = disk(1, &now);
        let booted = sim.boot();
        let file = synced_file(&booted, "f").await;
        file.write_sync(0, bytes(1_000, 1)).await.unwrap();
        file.write_at(0, bytes(1_000, 2)).await.unwrap();
        sim.set_eio(Some((DiskOp::Sync, 1_000_000)));
        assert_eq!(file.sync_data().await.unwrap_err().raw_os_error(), Some(5));
        assert_eq!(booted.sync_dir("").await.unwrap_err().raw_os_error(), Some(5));
        sim.set_eio(None);
        assert_eq!(file.sync_data().await.unwrap_err().raw_os_error(), Some(5));
        assert_eq!(file.read_at(0, 1).await.unwrap_err().raw_os_error(), Some(5));
        // Programs may go on seeing them; the platter never got them.
        let again = booted.open("f", Open::Write).await.unwrap();
        let seen = again.read_at(0, 2_000).await.unwrap();
        assert!(seen == vec![1; 1_000] || seen == vec![2; 1_000], "it is one or the other");
        again.sync_data().await.unwrap();
        assert_eq!((sim.hits(), sim.facts().len()), (2, 1));
        sim.power_cut(false);
        let again = sim.boot().open("f", Open::Write).await.unwrap();
        assert!(again.read_at(0, 2_000).await.unwrap() == vec![1; 1_000], "no later sync brought them");
        again.write_sync(0, bytes(1_000, 3)).await.unwrap();
    });
}

#[test]
fn eio_strikes_only_its_kind_and_share() {
    test_world(|now| async move {
        let sim = disk(1, &now);
        let booted = sim.boot();
        let file = synced_file(&booted, "f").await;
        file.zero_fill(100_000).await.unwrap();
        sim.set_eio(Some((DiskOp::Write, 250_000)));
        let mut failed = 0;
        for at in 0..1_000 {
            failed += u64::from(file.write_at(at * 100, bytes(100, 1)).await.is_err());
            file.read_at(at, 10).await.unwrap();
        }
        assert!((200..300).contains(&failed), "{failed}");
        assert_eq!(sim.hits(), failed);
    });
}

#[test]
fn a_full_disk_refuses_new_blocks_only() {
    test_world(|now| async move {
        let sim = disk(1, &now);
        let booted = sim.boot();
        let file = synced_file(&booted, "f").await;
        file.zero_fill(8192).await.unwrap();
        file.sync_data().await.unwrap();
        file.write_at(8192, bytes(4096, 4)).await.unwrap();
        sim.set_full(true);
        file.write_at(100, bytes(8000, 1)).await.expect("allocated blocks need no room");
        assert_eq!(file.write_at(12_000, bytes(1_000, 2)).await.unwrap_err().raw_os_error(), Some(28));
        assert_eq!(file.len().await.unwrap(), 12_288, "what fits is written");
        assert_eq!(file.zero_fill(100_000).await.unwrap_err().raw_os_error(), Some(28));
        assert_eq!(file.len().await.unwrap(), 12_288);
        assert_eq!(booted.open("g", Open::Create).await.err().unwrap().raw_os_error(), Some(28));
        assert_eq!(booted.create_dir("d").await.unwrap_err().raw_os_error(), Some(28));
        assert_eq!(booted.free_bytes().await.unwrap(), 0);
        assert_eq!(sim.hits(), 4);
        // The last block was only promised a place.
        assert_eq!(file.sync_data().await.unwrap_err().raw_os_error(), Some(28));
        sim.set_full(false);
        booted.open("g", Open::Create).await.unwrap().zero_fill(100_000).await.unwrap();
    });
}

#[test]
fn removed_space_comes_back() {
    test_world(|now| async move {
        let sim = disk(1, &now);
        let booted = sim.boot();
        for round in 0..5 {
            let file = booted.open("f", Open::Create).await.unwrap();
            file.zero_fill(MIB * 3 / 4).await.unwrap_or_else(|error| panic!("round {round}: {error}"));
            assert_eq!(sim.used_bytes(), MIB * 3 / 4);
            booted.remove("f").await.unwrap();
            assert_eq!(sim.used_bytes(), MIB * 3 / 4, "an open file keeps its blocks");
        }
        assert_eq!(sim.used_bytes(), 0);
        assert_eq!(booted.free_bytes().await.unwrap(), MIB);
    });
}

#[test]
fn a_lying_sync_takes_its_time_and_does_nothing() {
    test_world(|now| async move {
        let mut lost = false;
        for seed in 0..16 {
            let sim = disk(seed, &now);
            let file = synced_file(&sim.boot(), "f").await;
            sim.set_lying_sync(true);
            file.write_sync(0, bytes(512, 1)).await.unwrap();
            sim.power_cut(false);
            assert_eq!(sim.hits(), 1);
            lost |= content(&sim, "f").await != vec![1; 512];
        }
        assert!(lost);
    });
}

#[test]
fn operations_on_one_file_complete_in_order() {
    test_world(|now| async move {
        let sim = disk(1, &now);
        let file = synced_file(&sim.boot(), "f").await;
        let (sync, write) = (file.write_sync(0, bytes(512, 1)), file.write_at(0, bytes(1, 2)));
        let clock = now.clone();
        let synced_at = tokio::spawn(async move {
            sync.await.unwrap();
            clock()
        });
        let started = now();
        write.await.unwrap();
        let written_at = now();
        let synced_at = synced_at.await.unwrap();
        assert!(started < synced_at && synced_at <= written_at, "{started} {synced_at} {written_at}");
    });
}

#[test]
fn latency_slows_the_queue_and_short_work_adds_up() {
    test_world(|now| async move {
        let sim = disk(1, &now);
        let file = synced_file(&sim.boot(), "f").await;
        let started = now();
        for _ in 0..1_000 {
            file.write_at(0, bytes(1, 1)).await.unwrap();
        }
        let took = now() - started;
        assert!((2 * TICK_NS..=4 * TICK_NS).contains(&took), "1,000 writes of about 3 µs took {took} ns");
        sim.set_latency(Some(Dist::Constant { ns: 20 * TICK_NS }));
        let (first, second) = (file.sync_data(), file.sync_data());
        first.await.unwrap();
        let one = (now() - started - took) / TICK_NS;
        second.await.unwrap();
        let both = (now() - started - took) / TICK_NS;
        assert!((20..=22).contains(&one) && (40..=43).contains(&both), "{one} ms, {both} ms");
        assert_eq!(sim.fault_hits(), DiskHits { latency: 2, ..DiskHits::default() });
    });
}

#[test]
fn rot_flips_what_is_stored() {
    test_world(|now| async move {
        let sim = disk(1, &now);
        let file = synced_file(&sim.boot(), "f").await;
        file.write_sync(0, bytes(100, 4)).await.unwrap();
        assert!(sim.rot("f", 50) && !sim.rot("f", 100) && !sim.rot("g", 0));
        sim.power_cut(false);
        assert_eq!(content(&sim, "f").await[49..52], [4, 5, 4]);
    });
}

/// One step against the disk and the model.
#[derive(Clone, Debug)]
enum Step {
    Write {
        at: u64,
        n: usize,
        byte: u8,
    },
    WriteSync {
        at: u64,
        n: usize,
        byte: u8,
    },
    /// A write while a sync runs isn't covered by it.
    SyncOver {
        at: u64,
        n: usize,
        byte: u8,
    },
    Sync,
    DroppedSync,
    ZeroFill {
        to: u64,
    },
    FailedSync,
    Crash,
    PowerCut {
        torn: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let range = || (0u64..20_000, 1usize..6_000, any::<u8>());
    prop_oneof![
        4 => range().prop_map(|(at, n, byte)| Step::Write { at, n, byte }),
        4 => range().prop_map(|(at, n, byte)| Step::WriteSync { at, n, byte }),
        2 => range().prop_map(|(at, n, byte)| Step::SyncOver { at, n, byte }),
        2 => Just(Step::Sync),
        1 => Just(Step::DroppedSync),
        1 => (0u64..30_000).prop_map(|to| Step::ZeroFill { to }),
        1 => Just(Step::FailedSync),
        1 => Just(Step::Crash),
        3 => any::<bool>().prop_map(|torn| Step::PowerCut { torn }),
    ]
}

/// What a file may hold: for each byte the values that were written since its last completed sync.
#[derive(Default)]
struct Model {
    cached: Vec<u8>,
    /// What the last completed sync covered; bytes behind its end are zero.
    synced: Vec<u8>,
    /// Later values of each byte.
    unsynced: Vec<Vec<u8>>,
    /// Bytes that a failed sync left behind: a later one takes them along only where their page is written again.
    unsound: Vec<bool>,
}

impl Model {
    fn write(&mut self, at: u64, n: usize, byte: u8) {
        let (at, end) = (at as usize, at as usize + n);
        self.grow(end);
        self.cached[at..end].fill(byte);
        self.unsynced[at..end].iter_mut().for_each(|values| values.push(byte));
        self.unsound[at..end].fill(false);
    }

    fn grow(&mut self, end: usize) {
        let len = self.cached.len().max(end);
        self.cached.resize(len, 0);
        self.unsynced.resize(len, Vec::new());
        self.unsound.resize(len, false);
    }

    fn sync(&mut self) {
        self.synced.resize(self.cached.len(), 0);
        for at in (0..self.cached.len()).filter(|at| !self.unsound[*at]) {
            self.synced[at] = self.cached[at];
            self.unsynced[at].clear();
        }
    }

    /// A sync failed that was to cover `byte` in the first `n` bytes; programs now see `content`.
    fn failed(&mut self, content: &[u8], n: usize, byte: u8) {
        self.grow(n);
        self.cached = content.to_vec();
        for (at, seen) in content.iter().enumerate().take(n) {
            self.unsynced[at].push(byte);
            self.unsound[at] = *seen == byte;
        }
    }

    fn found(&mut self, content: &[u8]) {
        self.cached = content.to_vec();
        self.unsynced = vec![Vec::new(); content.len()];
        self.unsound = vec![false; content.len()];
        self.synced = content.to_vec();
    }

    fn judge_cut(&self, found: &[u8], torn: bool) -> Result<(), TestCaseError> {
        prop_assert!(self.synced.len() <= found.len() && found.len() <= self.cached.len());
        for (at, byte) in found.iter().enumerate() {
            let synced = self.synced.get(at).copied().unwrap_or(0);
            let later = &self.unsynced[at];
            let fine = *byte == synced || later.contains(byte) || torn && !later.is_empty();
            prop_assert!(fine, "byte {at} is {byte}, was synced as {synced}, later {later:?}");
        }
        Ok(())
    }
}

async fn run(seed: u64, steps: Vec<Step>, now: Now) -> Result<(), TestCaseError> {
    let sim = disk(seed, &now);
    let mut file = synced_file(&sim.boot(), "f").await;
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Write { at, n, byte } => {
                file.write_at(at, bytes(n, byte)).await.unwrap();
                model.write(at, n, byte);
            }
            Step::WriteSync { at, n, byte } => {
                file.write_sync(at, bytes(n, byte)).await.unwrap();
                model.write(at, n, byte);
                model.sync();
            }
            Step::SyncOver { at, n, byte } => {
                let sync = file.sync_data();
                let write = file.write_at(at, bytes(n, byte));
                sync.await.unwrap();
                model.sync();
                model.write(at, n, byte);
                write.await.unwrap();
            }
            Step::Sync => {
                file.sync_data().await.unwrap();
                model.sync();
            }
            // It may become durable, but nobody was told.
            Step::DroppedSync => drop(file.sync_data()),
            Step::ZeroFill { to } => {
                file.zero_fill(to).await.unwrap();
                model.grow(to as usize);
            }
            Step::FailedSync => {
                // What a sync in flight covers may stay, so let it land first.
                file.sync_data().await.unwrap();
                model.sync();
                file.write_at(0, bytes(700, 99)).await.unwrap();
                sim.set_eio(Some((DiskOp::Sync, 1_000_000)));
                file.sync_data().await.unwrap_err();
                sim.set_eio(None);
                file = sim.boot().open("f", Open::Write).await.unwrap();
                model.failed(&file.read_at(0, MIB as usize).await.unwrap(), 700, 99);
            }
            Step::Crash => {
                sim.crash();
                file = sim.boot().open("f", Open::Write).await.unwrap();
            }
            Step::PowerCut { torn } => {
                sim.power_cut(torn);
                file = sim.boot().open("f", Open::Write).await.unwrap();
                let found = file.read_at(0, MIB as usize).await.unwrap();
                model.judge_cut(&found, torn)?;
                model.found(&found);
            }
        }
        prop_assert_eq!(&file.read_at(0, MIB as usize).await.unwrap()[..], &model.cached[..]);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn what_a_completed_sync_covered_survives_every_power_cut(seed: u64, steps in prop::collection::vec(step(), 1..40)) {
        let mut outcome = Ok(());
        test_world(|now| async { outcome = run(seed, steps, now).await });
        outcome?;
    }
}
