//! The in-memory graph (source → filter → map → sink, 256 B, batches of 256) beside a bare channel that carries the same
//! packets one hop. Prints the packets/s of both on one core, and the ratio.
#![expect(clippy::disallowed_methods, reason = "a bench measures wall time")]

mod stream;
mod tally;

use std::time::Duration;

use criterion::Criterion;
use stream::{BATCH, Bare, Graph};
use tally::Tally;

/// Packets that are carried at a time: enough that the ends of a run don't count.
const PACKETS: u64 = 64 * BATCH as u64;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(5))
        .configure_from_args();
    let (graph, bare) = (Tally::default(), Tally::default());
    let mut group = criterion.benchmark_group("graph");
    let (started, channel) = (Graph::start(), Bare::start());
    group.bench_function("filter_map", |bencher| graph.time(bencher, PACKETS as f64, || started.carry(PACKETS)));
    group.bench_function("bare_mpsc", |bencher| bare.time(bencher, PACKETS as f64, || channel.carry(PACKETS)));
    group.finish();
    assert!(started.delivered() > 0, "the sink took packets");
    let (graph, bare) = (graph.rate(), bare.rate());
    println!("graph {graph:.0}, bare mpsc {bare:.0} packets a second: {:.2}", graph / bare);
}
