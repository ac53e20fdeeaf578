//! The journal on this machine's disk beside the disk itself: transactions that are submitted and individually waited
//! for, one at a time and 256 at a time, and `pwrite` + `fdatasync` of the same frames into a file of zeroes. Prints the
//! rates of both, and the ratio.
#![expect(clippy::disallowed_methods, reason = "a bench measures wall time, and the disk without the engine's seam")]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Bencher, Criterion};
use seaworthy_engine::env::os::{OsOptions, env};
use seaworthy_engine::env::{Env, Probe};
use seaworthy_engine::journal::frame::{HEADER, SECTOR};
use seaworthy_engine::journal::record::{Record, Settle};
use seaworthy_engine::journal::{Intent, Journal, JournalOptions};
use seaworthy_engine::observe::Event;
use seaworthy_engine::packet::Seq;
use tokio::runtime::Runtime;

/// A packet's encoding, bytes; the quakes of the reference graph are about as long.
const PACKET_BYTES: usize = 512;
const CHANNEL: &str = "channel/bench";
const GROUP: &str = "hub";
/// The file that the raw writes go round in, bytes: as much as two segments of the journal.
const RAW_BYTES: u64 = 16 << 20;
const BATCHES: [usize; 2] = [1, 256];

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
    for batch in BATCHES {
        // On the disk that the build is on: a directory for temporary files is often only memory.
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the build's directory takes files");
        let (journal, disk) = (Tally::default(), Tally::default());
        let mut writer = runtime.block_on(Writer::open(dir.path()));
        group.bench_function(format!("commit_{batch}"), |bencher| {
            journal.time(bencher, batch, || runtime.block_on(writer.commit(batch)));
        });
        writer.close(&runtime);
        let mut raw = Raw::create(dir.path(), frame_bytes(batch));
        group.bench_function(format!("pwrite_fdatasync_{batch}"), |bencher| {
            disk.time(bencher, batch, || raw.write());
        });
        let (journal, disk) = (journal.rate(), disk.rate());
        lines.push(format!(
            "batch {batch}: journal {journal:.0}, raw disk {disk:.0} transactions a second: {:.2}",
            journal / disk
        ));
    }
    group.finish();
    lines.iter().for_each(|line| println!("{line}"));
}

/// A packet comes in, and the one before it is settled: the journal recycles its segments and never grows.
fn transaction(seq: Seq) -> Vec<Record> {
    let packet = Bytes::from(vec![7; PACKET_BYTES]);
    let settle = |to: Seq| {
        Record::Settle(Settle { input: CHANNEL.into(), group: GROUP.into(), seqs: vec![(to, to)], position: None })
    };
    let append = Record::Append { channel: CHANNEL.into(), seq, packet };
    std::iter::once(append).chain((seq.0 > 1).then(|| settle(Seq(seq.0 - 1)))).collect()
}

/// What the journal writes for a frame of `batch` transactions.
fn frame_bytes(batch: usize) -> usize {
    let mut body = bytes::BytesMut::new();
    for seq in 0..batch as u64 {
        // Numbers as high as they become: their encoding has a variable length.
        transaction(Seq(100_000 + seq)).iter().for_each(|record| record.encode(&mut body));
    }
    (HEADER + body.len()).next_multiple_of(SECTOR as usize)
}

struct Writer {
    journal: Journal,
    next: Seq,
    _env: Env,
}

impl Writer {
    async fn open(dir: &Path) -> Writer {
        let options = OsOptions {
            data_dir: dir.join("journal"),
            listen: None,
            peers: BTreeMap::new(),
            keys: None,
            probe: Arc::new(Deaf),
        };
        let (env, _) = env(options).expect("the directory is new");
        let (journal, _) = Journal::open(&env, JournalOptions::new("bench")).await.expect("the directory is new");
        let group = Settle { input: CHANNEL.into(), group: GROUP.into(), seqs: vec![], position: None };
        let declared = journal.submit(vec![Record::Settle(group)], Intent::Drain).expect("the queue is empty");
        declared.wait().await.expect("the disk works");
        Writer { journal, next: Seq(1), _env: env }
    }

    /// Submits `batch` transactions and waits for each of them.
    async fn commit(&mut self, batch: usize) {
        let mut commits = Vec::with_capacity(batch);
        for _ in 0..batch {
            let commit = self.journal.submit(transaction(self.next), Intent::Drain);
            commits.push(commit.expect("a batch fits the queue, and the disk has room"));
            self.next = self.next.next();
        }
        for commit in commits {
            black_box(commit.wait().await.expect("the disk works"));
        }
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

/// Transactions and wall time of all that criterion ran.
#[derive(Default)]
struct Tally {
    transactions: Cell<u64>,
    wall_s: Cell<f64>,
}

impl Tally {
    fn time(&self, bencher: &mut Bencher<'_>, batch: usize, mut run: impl FnMut()) {
        bencher.iter_custom(|times| {
            let start = Instant::now();
            (0..times).for_each(|_| run());
            let wall = start.elapsed();
            self.transactions.set(self.transactions.get() + times * batch as u64);
            self.wall_s.set(self.wall_s.get() + wall.as_secs_f64());
            wall
        });
    }

    fn rate(&self) -> f64 {
        self.transactions.get() as f64 / self.wall_s.get()
    }
}
