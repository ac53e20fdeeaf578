//! The journal on this machine's disk beside the disk itself: appends of one packet, one at a time, and of 256, two
//! outstanding, and `pwrite` + `fdatasync` of the same frames into a file of zeroes. Prints the rates of both, the ratio,
//! how long an ack takes at half of that load, and what a backlog of a million packets costs in memory and at an opening.
#![expect(clippy::disallowed_methods, reason = "a bench measures wall time, and the disk without the engine's seam")]

mod tally;

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::Criterion;
use seaworthy_engine::env::os::{OsOptions, env};
use seaworthy_engine::env::{Env, Probe};
use seaworthy_engine::journal::frame::{HEADER, SECTOR};
use seaworthy_engine::journal::record::{Record, Settle};
use seaworthy_engine::journal::{Commit, Durability, Intent, Journal, JournalOptions, Recovery};
use seaworthy_engine::observe::Event;
use seaworthy_engine::packet::Seq;
use tally::Tally;
use tokio::runtime::Runtime;

/// A packet's encoding, bytes.
const PACKET_BYTES: usize = 1024;
const CHANNEL: &str = "channel/bench";
const GROUP: &str = "hub";
/// The file that the raw writes go round in, bytes: as much as two segments of the journal.
const RAW_BYTES: u64 = 16 << 20;
/// Packets an append, and how many appends are outstanding.
const LOADS: [(usize, usize); 2] = [(1, 1), (256, 2)];
/// How long half of the load is kept up.
const HALF_LOAD: Duration = Duration::from_secs(3);
/// Packets of the backlog, each in a frame of its own: the most that so many can cost.
const BACKLOG: u64 = 1_000_000;

struct Deaf;
impl Probe for Deaf {
    fn on(&self, _: &[Event]) {}
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(6))
        .configure_from_args();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("this machine has a runtime");
    let mut group = criterion.benchmark_group("journal");
    let mut lines = Vec::new();
    for (batch, outstanding) in LOADS {
        // On the disk that the build is on: a directory for temporary files is often only memory.
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the build's directory takes files");
        let (journal, disk) = (Tally::default(), Tally::default());
        let mut raw = Raw::create(dir.path(), frame_bytes(batch));
        group.bench_function(format!("pwrite_fdatasync_{batch}"), |bencher| {
            disk.time(bencher, batch as f64, || raw.write());
        });
        let mut writer = runtime.block_on(Writer::open(dir.path(), Durability::Sync));
        group.bench_function(format!("append_{batch}"), |bencher| {
            journal.time(bencher, batch as f64, || runtime.block_on(writer.append(batch, outstanding)));
        });
        if journal.rate().is_nan() || disk.rate().is_nan() {
            // Left out by a filter.
            continue;
        }
        let ratio = journal.rate() / disk.rate();
        let (ours, theirs) = (journal.rate(), disk.rate());
        lines.push(format!("batch {batch}: journal {ours:.0}, raw disk {theirs:.0} packets a second: {ratio:.2}"));
        let between = Duration::from_secs_f64(2.0 * batch as f64 / ours);
        let p99 = runtime.block_on(writer.acks(batch, between));
        let sync_ms = 1e3 * batch as f64 / theirs;
        lines.push(format!(
            "  ack at half of that load: p99 {:.2} ms; a raw sync {sync_ms:.2} ms",
            p99.as_secs_f64() * 1e3
        ));
        lines.push(format!("  wear: {}", writer.journal.wear()));
        writer.close(&runtime);
    }
    group.finish();
    if std::env::args().skip(1).all(|arg| arg.starts_with('-')) {
        lines.push(backlog(&runtime));
    }
    lines.iter().for_each(|line| println!("{line}"));
}

/// A backlog of a million packets: memory while it grows, and an opening with nothing of it in the page cache.
fn backlog(runtime: &Runtime) -> String {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the build's directory takes files");
    let before = resident_mib();
    let mut writer = runtime.block_on(Writer::open(dir.path(), Durability::Os));
    runtime.block_on(async {
        while writer.next.0 <= BACKLOG {
            let append =
                Record::Append { channel: CHANNEL.into(), seq: writer.next, packet: vec![7; PACKET_BYTES].into() };
            let commit = writer.journal.append(vec![append], Intent::Produce).await.expect("the disk works");
            commit.wait().await.expect("the disk works");
            writer.next = writer.next.next();
        }
    });
    let grown = resident_mib();
    writer.close(runtime);
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir.path().join("journal")).expect("the journal is there") {
        let file = File::open(entry.expect("the journal is there").path()).expect("the journal is there");
        bytes += file.metadata().expect("a file has a length").len();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("advice is taken");
    }
    let start = Instant::now();
    let writer = runtime.block_on(Writer::open(dir.path(), Durability::Os));
    let opened = start.elapsed();
    let recovery = &writer.recovery;
    assert_eq!(recovery.next.0, BACKLOG + 1, "{recovery:?}");
    let line = format!(
        "{BACKLOG} packets unsettled, each in a frame of its own: {before} MiB of memory before, {grown} with them; {} MiB \
         open cold in {:.2} s, {} KiB of them scanned",
        bytes >> 20,
        opened.as_secs_f64(),
        recovery.scanned_bytes >> 10,
    );
    writer.close(runtime);
    line
}

fn resident_mib() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("this is Linux");
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("statm holds numbers");
    (pages * 4096) >> 20
}

/// `batch` packets come in, and the `batch` before them are settled: the journal recycles its segments and never grows.
fn transaction(first: Seq, batch: usize) -> Vec<Record> {
    let batch = batch as u64;
    let append = |seq| Record::Append { channel: CHANNEL.into(), seq: Seq(seq), packet: vec![7; PACKET_BYTES].into() };
    let settle = |from: u64, to: u64| {
        let seqs = vec![(Seq(from), Seq(to))];
        Record::Settle(Settle { input: CHANNEL.into(), group: GROUP.into(), seqs, position: None })
    };
    let appends = (first.0..first.0 + batch).map(append);
    appends.chain((first.0 > batch).then(|| settle(first.0 - batch, first.0 - 1))).collect()
}

/// What the journal writes for an append of `batch` packets.
fn frame_bytes(batch: usize) -> usize {
    let mut body = bytes::BytesMut::new();
    // Numbers as high as they become: their encoding has a variable length.
    transaction(Seq(100_000), batch).iter().for_each(|record| record.encode(&mut body));
    (HEADER + body.len()).next_multiple_of(SECTOR as usize)
}

struct Writer {
    journal: Journal,
    recovery: Recovery,
    next: Seq,
    under_way: VecDeque<Commit>,
    _env: Env,
}

impl Writer {
    async fn open(dir: &Path, durability: Durability) -> Writer {
        let options = OsOptions {
            data_dir: dir.join("journal"),
            listen: None,
            peers: BTreeMap::new(),
            keys: None,
            probe: Arc::new(Deaf),
        };
        let (env, _) = env(options).expect("the directory is there");
        let options = JournalOptions { durability, ..JournalOptions::new("bench") };
        let (journal, recovery) = Journal::open(&env, options).await.expect("the directory is ours");
        if recovery.created {
            let group = Settle { input: CHANNEL.into(), group: GROUP.into(), seqs: vec![], position: None };
            let declared = journal.submit(vec![Record::Settle(group)], Intent::Drain).expect("the queue is empty");
            declared.wait().await.expect("the disk works");
        }
        Writer { journal, recovery, next: Seq(1), under_way: VecDeque::new(), _env: env }
    }

    /// Appends `batch` packets, and waits until fewer than `outstanding` appends are under way.
    async fn append(&mut self, batch: usize, outstanding: usize) {
        let commit = self.submit(batch);
        self.under_way.push_back(commit);
        while self.under_way.len() >= outstanding {
            let oldest = self.under_way.pop_front().expect("the loop saw one");
            black_box(oldest.wait().await.expect("the disk works"));
        }
    }

    fn submit(&mut self, batch: usize) -> Commit {
        let commit = self.journal.submit(transaction(self.next, batch), Intent::Drain);
        self.next = Seq(self.next.0 + batch as u64);
        commit.expect("a batch fits the queue, and the disk has room")
    }

    /// Appends `batch` packets each time that `between` has passed, whatever becomes of the ones before. Gives the 99th
    /// percentile of the time from when an append was due to its ack.
    async fn acks(&mut self, batch: usize, between: Duration) -> Duration {
        while let Some(commit) = self.under_way.pop_front() {
            commit.wait().await.expect("the disk works");
        }
        let (acked, mut waits) = tokio::sync::mpsc::unbounded_channel();
        let start = Instant::now();
        let mut due = start;
        while start.elapsed() < HALF_LOAD {
            let now = Instant::now();
            if now < due {
                // Finer than a timer's millisecond.
                tokio::task::yield_now().await;
                continue;
            }
            let records = transaction(self.next, batch);
            self.next = Seq(self.next.0 + batch as u64);
            let commit = self.journal.append(records, Intent::Drain).await.expect("the disk works");
            let (acked, from) = (acked.clone(), due);
            tokio::spawn(async move {
                commit.wait().await.expect("the disk works");
                acked.send(from.elapsed()).expect("the bench outlives its appends");
            });
            due += between;
        }
        drop(acked);
        let mut all = Vec::new();
        while let Some(wait) = waits.recv().await {
            all.push(wait);
        }
        all.sort_unstable();
        all[all.len() * 99 / 100]
    }

    fn close(self, runtime: &Runtime) {
        runtime.block_on(self.journal.close());
    }
}

/// The disk alone: the same bytes, synced each time.
struct Raw {
    file: File,
    frame: Vec<u8>,
    at: u64,
}

impl Raw {
    fn create(dir: &Path, frame_bytes: usize) -> Raw {
        let file = File::create(dir.join("raw")).expect("the directory is new");
        file.write_all_at(&vec![0; RAW_BYTES as usize], 0).expect("the disk has room");
        file.sync_all().expect("the disk works");
        Raw { file, frame: vec![7; frame_bytes], at: 0 }
    }

    fn write(&mut self) {
        let bytes = self.frame.len() as u64;
        if self.at + bytes > RAW_BYTES {
            self.at = 0;
        }
        self.file.write_all_at(&self.frame, self.at).expect("the disk has room");
        self.file.sync_data().expect("the disk works");
        self.at += bytes;
    }
}
