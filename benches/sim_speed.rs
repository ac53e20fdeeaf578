//! How fast a world runs: the reference graph under a flapping uplink, beside bare turmoil that carries the same frames
//! between the same hosts, and beside itself with its whole trace kept. Prints simulated seconds a wall second of all three, and
//! the ratios.
#![expect(
    clippy::disallowed_methods,
    reason = "a bench measures wall time and reads files; its bare simulation is what the world is compared with"
)]

mod tally;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::error::Error;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use criterion::Criterion;
use seaworthy_harness::run::Prepared;
use seaworthy_harness::sim::trace::{Kind, Trace};
use tally::Tally;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use turmoil::net::{TcpListener, TcpStream};

/// `scenarios/uplink_flap.toml`, shortened: its load, its graph, and an uplink that is cut for half of the time.
const SCENARIO: &str = r#"
why   = "shows how fast a world runs"
graph = "graphs/edge_hub.yaml"
load  = { into = "edge.feed", rate = "200/s", rows = "data/quakes.ndjson", repeat = true, key = "net" }
sim   = { duration = "6s", warmup = "1s" }

[faults.flap]
kind = "net.flap"
on   = "edge<->hub"
at   = "2s"
for  = "3s"
down = "uniform(200ms, 800ms)"
up   = "500ms"
"#;
/// Where the scenario would lie; the files that it names are relative to it.
const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/bench.toml");
const SEED: u64 = 1;
const TICK: Duration = Duration::from_millis(1);
const PORT: u16 = 9000;

/// What one host sends: when, in virtual ns, and how many bytes.
type Frames = Vec<(u64, usize)>;

fn main() {
    let prepared = prepare();
    let judged = prepared.run_seed(SEED, true).expect("the harness's books balance");
    assert!(judged.violations.is_empty(), "{:?}", judged.violations);
    let [edge, hub] = frames(&judged.trace);
    let ticks = judged.run.end_ns / TICK.as_nanos() as u64;
    let expected = [bytes(&hub), bytes(&edge)];
    let frames = edge.len() + hub.len();
    let [edge, hub] = [Rc::new(edge), Rc::new(hub)];
    assert_eq!(bare(ticks, &edge, &hub), expected, "bare turmoil carries every byte");

    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(12))
        .configure_from_args();
    let simulated = judged.run.end_ns as f64 / 1e9;
    let (world, traced, turmoil) = (Tally::default(), Tally::default(), Tally::default());
    let mut group = criterion.benchmark_group("sim_speed");
    group.bench_function("uplink_flap", |bencher| {
        world.time(bencher, simulated, || prepared.run_seed(SEED, false).is_ok());
    });
    group.bench_function("uplink_flap_traced", |bencher| {
        traced.time(bencher, simulated, || prepared.run_seed(SEED, true).is_ok());
    });
    group.bench_function("bare_turmoil", |bencher| {
        turmoil.time(bencher, simulated, || bare(ticks, &edge, &hub));
    });
    group.finish();
    let (world, traced, turmoil) = (world.rate(), traced.rate(), turmoil.rate());
    println!(
        "uplink_flap {world:.0}, bare turmoil with the same {frames} frames {turmoil:.0} simulated s a wall second: {:.2}",
        world / turmoil
    );
    println!("with its whole trace kept {traced:.0}: {:.2}", traced / world);
}

fn prepare() -> Prepared {
    let read = |path: &str| if path == PATH { Ok(SCENARIO.to_owned()) } else { std::fs::read_to_string(path) };
    match Prepared::read(PATH, &read, &seaworthy::std_registry()) {
        Ok(prepared) => prepared,
        Err(error) => panic!("{error}: {:?}", error.source()),
    }
}

/// What the trace of a world says was sent between its two hosts, by sender.
fn frames(trace: &Trace) -> [Frames; 2] {
    let mut sent: BTreeMap<u16, Frames> = BTreeMap::new();
    for record in trace.records.iter().filter(|record| record.kind == Kind::Sent as u16) {
        sent.entry(record.host).or_default().push((record.at_ns, record.b as usize));
    }
    let sent: Vec<Frames> = sent.into_values().collect();
    sent.try_into().expect("edge and hub talk over their lane, and nobody else does")
}

fn bytes(frames: &Frames) -> u64 {
    frames.iter().map(|(_, bytes)| *bytes as u64).sum()
}

/// The same frames at the same instants over one connection, with the load's host idle beside; the bytes that edge and
/// hub got.
fn bare(ticks: u64, edge: &Rc<Frames>, hub: &Rc<Frames>) -> [u64; 2] {
    let mut sim = turmoil::Builder::new()
        .rng_seed(SEED)
        .epoch(UNIX_EPOCH)
        .simulation_duration(Duration::MAX)
        .tick_duration(TICK)
        .min_message_latency(TICK)
        .max_message_latency(TICK)
        .tcp_capacity(1 << 14)
        .build();
    let got = [Rc::new(Cell::new(0)), Rc::new(Cell::new(0))];
    let (frames, count) = (hub.clone(), got[1].clone());
    sim.host("hub", move || {
        let (frames, count) = (frames.clone(), count.clone());
        async move {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
            let (stream, _) = listener.accept().await?;
            talk(stream, &frames, &count).await
        }
    });
    let (frames, count) = (edge.clone(), got[0].clone());
    sim.host("edge", move || {
        let (frames, count) = (frames.clone(), count.clone());
        async move { talk(TcpStream::connect(("hub", PORT)).await?, &frames, &count).await }
    });
    sim.host("load", std::future::pending);
    // What is sent last needs some ticks to arrive.
    for _ in 0..ticks + 10 {
        sim.step().expect("no host fails");
    }
    got.map(|count| count.get())
}

async fn talk(stream: TcpStream, frames: &Frames, count: &Rc<Cell<u64>>) -> turmoil::Result {
    let (mut from, mut to) = stream.into_split();
    let count = count.clone();
    tokio::task::spawn_local(async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(n @ 1..) = from.read(&mut buffer).await {
            count.set(count.get() + n as u64);
        }
    });
    let longest = frames.iter().map(|(_, bytes)| *bytes).max().unwrap_or(0);
    let zeroes = vec![0; longest];
    for (at_ns, bytes) in frames {
        let elapsed = turmoil::sim_elapsed().expect("it runs in a simulation");
        tokio::time::sleep(Duration::from_nanos(*at_ns).saturating_sub(elapsed)).await;
        to.write_all(&zeroes[..*bytes]).await?;
    }
    std::future::pending().await
}
