//! How fast the simulated disk is while 100,000 of its pages are dirty: overwrites, reads, and a journal that writes and syncs
//! beside them. Prints operations a second of each.
#![expect(clippy::disallowed_methods, reason = "a bench measures wall time")]

mod tally;

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use criterion::Criterion;
use seaworthy_engine::env::{File, Io, Open};
use seaworthy_harness::sim::disk::{DiskOptions, SimDisk};
use seaworthy_harness::sim::seed::KeyedSeed;
use tally::Tally;

const PAGES: u64 = 100_000;
const PAGE: u64 = 4096;
/// Virtual time between two operations: enough that none waits for the one before.
const STEP_NS: u64 = 10_000_000;
/// Pages are visited in an order that no cache foresees: a step that shares no factor with their number.
const STRIDE: u64 = 61_803;

struct Bench {
    now: Arc<AtomicU64>,
    sim: SimDisk,
    dirty: Arc<dyn File>,
    journal: Arc<dyn File>,
    at: Cell<u64>,
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    let bench = Bench::new();
    let tallies: [Tally; 3] = Default::default();
    let sector = Bytes::from_static(&[7; 512]);
    let mut group = criterion.benchmark_group("disk");
    let overwrite = || done(bench.dirty.write_at(bench.next() * PAGE, vec![sector.clone()]));
    group.bench_function("overwrite", |bencher| tallies[0].time(bencher, 1.0, overwrite));
    let read = || done(bench.dirty.read_at(bench.next() * PAGE, 512));
    group.bench_function("read", |bencher| tallies[1].time(bencher, 1.0, read));
    // What an operation does is decided when it is issued; its future only waits, and time goes on.
    let append = || drop(bench.journal.write_sync(bench.next() % 256 * PAGE, vec![sector.clone()]));
    group.bench_function("append_and_sync", |bencher| tallies[2].time(bencher, 1.0, append));
    group.finish();
    assert!(bench.sim.counts().syncs > 0, "appends were synced");
    let [overwrite, read, append] = tallies.map(|tally| tally.rate() / 1e6);
    println!(
        "beside {PAGES} dirty pages: {overwrite:.2} M overwrites, {read:.2} M reads, {append:.2} M synced appends a second"
    );
}

impl Bench {
    fn new() -> Bench {
        let now = Arc::new(AtomicU64::new(0));
        let clock = now.clone();
        let options = DiskOptions::new("bench", (PAGES + 1024) * PAGE);
        let sim = SimDisk::new(options, Arc::new(KeyedSeed(1)), Arc::new(move || clock.load(Ordering::Relaxed)));
        let disk = sim.boot();
        let open = |name| done(disk.open(name, Open::Create));
        let (dirty, journal) = (open("dirty"), open("journal"));
        let bench = Bench { now, sim, dirty, journal, at: Cell::new(0) };
        let page = Bytes::from(vec![1; PAGE as usize]);
        for _ in 0..PAGES {
            done(bench.dirty.write_at(bench.next() * PAGE, vec![page.clone()]));
        }
        let left = done(disk.free_bytes());
        assert!(left <= 1024 * PAGE, "not every page is written: {left} bytes are free");
        bench
    }

    /// The page whose turn it is; time goes on.
    fn next(&self) -> u64 {
        self.now.fetch_add(STEP_NS, Ordering::Relaxed);
        let at = self.at.get();
        self.at.set((at + STRIDE) % PAGES);
        at
    }
}

/// What an operation came to; it completes at once.
fn done<T>(operation: Io<T>) -> T {
    let result = futures_util::FutureExt::now_or_never(operation).expect("time goes on far enough for each operation");
    result.expect("the disk has no faults")
}
