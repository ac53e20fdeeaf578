//! A source that reads a file and a sink that writes one, on a machine that ends at each of its disk operations in turn; then with
//! another graph over what the first one left. In a world the load and recording sinks stand in for both.

use std::collections::BTreeMap;
use std::sync::Arc;

use seaworthy_engine::env::Open;
use seaworthy_engine::graph::Phase;
use seaworthy_engine::journal::letter::DeadLetter;
use seaworthy_engine::journal::{JournalOptions, Record};
use seaworthy_engine::load::{Planned, load_any};
use seaworthy_engine::node::Registry;
use seaworthy_engine::runtime::{Engine, EngineOptions};
use seaworthy_harness::sim::Now;
use seaworthy_harness::sim::disk::{DiskOptions, SimDisk};
use seaworthy_harness::sim::seed::KeyedSeed;

use super::every_op::{End, Fuse, Fused};
use super::machine::{env, frames, now, run};

/// Rows of the input.
const ROWS: u64 = 120;

const THROUGH: &str = r#"
version: 2
nodes:
  - {id: feed, kind: source, plugin: "std:ndjson_source", config: {path: in.ndjson, id: id, key: net, time: time}}
  - {id: all, kind: node, plugin: "std:filter", config: {where: "payload.mag >= 0"}}
  - {id: out, kind: sink, plugin: "std:ndjson_sink", config: {path: made/out.ndjson}}
edges: [{from: feed, to: all}, {from: all, to: out}]
"#;

/// Counts by net beside the rows; the windows are a state, and what closes waits in the journal.
const COUNTED: &str = r#"
version: 2
nodes:
  - {id: feed, kind: source, plugin: "std:ndjson_source", config: {path: in.ndjson, id: id, key: net, time: time}}
  - {id: sums, kind: node, plugin: "std:window", config: {key: payload.net, field: payload.mag, time: payload.time, size: 1s}}
  - {id: out, kind: sink, plugin: "std:ndjson_sink", config: {path: made/out.ndjson}}
edges: [{from: feed, to: sums}, {from: sums, to: out}]
"#;

fn row(n: u64) -> String {
    let (net, time) = (n % 3, 1_000 + n * 150);
    // Of many lengths, so that lines end anywhere in a sector.
    let pad = "x".repeat(usize::try_from(n * 37 % 300).expect("small"));
    format!(r#"{{"id":"r{n}","net":"n{net}","mag":{n},"time":{time},"pad":"{pad}"}}"#)
}

/// Two disks of one machine: the journal's, and that of the files beside the graph.
struct Machine {
    journal: SimDisk,
    files: SimDisk,
    seed: Arc<KeyedSeed>,
    now: Now,
}

impl Machine {
    async fn new(seed: u64) -> Machine {
        let (seed, now) = (Arc::new(KeyedSeed(seed)), now());
        let disk = |name: &str| SimDisk::new(DiskOptions::new(name, 4 << 20), seed.clone(), now.clone());
        let (journal, files) = (disk("edge"), disk("files"));
        let made = files.boot();
        let input = made.open("in.ndjson", Open::Create).await.expect("there is room");
        let rows: String = (1..=ROWS).map(|n| row(n) + "\n").collect();
        input.write_sync(0, vec![rows.into()]).await.expect("there is room");
        made.sync_dir("").await.expect("the disk is well");
        Machine { journal, files, seed, now }
    }

    /// Runs a graph until its input has ended, or the machine has.
    async fn start(&self, graph: &str, fuse: &Arc<Fuse>) -> Result<(), String> {
        let mut registry = Registry::new();
        seaworthy_engine::nodes::register(&mut registry);
        let loaded = load_any("edge.yaml", &|_| Ok(graph.to_owned()), &registry, Phase::Run);
        let Some(Planned::Graph(plan)) = loaded.planned else { panic!("{:?}", loaded.diagnostics) };
        let disks = [self.journal.clone(), self.files.clone()];
        let boot = |disk: &SimDisk| Arc::new(Fused::new(disk.boot(), &disks, fuse.clone()));
        let env = env(boot(&self.journal), self.seed.clone(), self.now.clone());
        let options = EngineOptions {
            files: boot(&self.files),
            plan,
            channels: Vec::new(),
            registry,
            stand_ins: BTreeMap::new(),
            journal: JournalOptions {
                segment_bytes: 64 << 10,
                frame_bytes_max: 16 << 10,
                ..JournalOptions::new("edge")
            },
            in_flight_max: 16,
            park: true,
            env,
        };
        let engine = Engine::start(options).await.map_err(|error| error.to_string())?;
        engine.run().await.map_err(|error| error.to_string())
    }

    /// Runs `first`, then `then`, and ends the machine at an operation of the two; then runs `then` to its end. Gives the
    /// operations that were left.
    async fn play(&self, (first, then): (&str, &str), operation: i64, end: End) -> i64 {
        let fuse = Arc::new(Fuse::new(operation, end));
        let ended = [self.start(first, &fuse).await, self.start(then, &fuse).await];
        let left = fuse.left();
        assert!(left < 0 || ended.iter().all(Result::is_ok), "{ended:?}, and nothing happened");
        let well = Arc::new(Fuse::new(i64::MAX, end));
        let ended = self.start(then, &well).await;
        assert_eq!(ended, Ok(()), "a healthy machine comes to its end, after operation {operation} ({end:?})");
        left
    }

    /// The lines of the output.
    fn lines(&self) -> Vec<String> {
        let files = self.files.snapshot();
        let text = files.get("made/out.ndjson").cloned().unwrap_or_default();
        let text = std::str::from_utf8(&text).expect("no reader ever sees a torn line that the sink has passed by");
        let lines = text.lines().map(|line| line.trim_end().to_owned());
        lines.filter(|line| !line.is_empty()).collect()
    }

    fn letters(&self) -> Vec<DeadLetter> {
        let records = frames(&self.journal.snapshot()).into_iter().flat_map(|(.., records)| records);
        let letter = |record| match record {
            Record::DeadLetter(letter) => Some(letter),
            _ => None,
        };
        records.filter_map(letter).collect()
    }
}

/// What is there, in order of the first time that it is.
fn firsts(lines: &[String]) -> Vec<&str> {
    let mut firsts: Vec<&str> = Vec::new();
    for line in lines {
        if !firsts.contains(&line.as_str()) {
            firsts.push(line);
        }
    }
    firsts
}

fn check_files(end: End) {
    run(async move {
        let rows: Vec<String> = (1..=ROWS).map(row).collect();
        let mut operation = 0;
        loop {
            let machine = Machine::new(7).await;
            let left = machine.play((THROUGH, THROUGH), operation, end).await;
            let lines = machine.lines();
            assert_eq!(firsts(&lines), rows, "after operation {operation} ({end:?})");
            // What was not settled comes again: at most what was under way, once.
            assert!(lines.len() <= rows.len() + 16, "{} lines after operation {operation} ({end:?})", lines.len());
            if left >= 0 {
                assert!(operation > 50, "a run of {operation} operations");
                return;
            }
            operation += 1;
        }
    });
}

#[test]
fn files_are_whole_wherever_the_process_is_killed() {
    check_files(End::Crash);
}

#[test]
fn files_are_whole_wherever_the_power_goes() {
    check_files(End::PowerCut);
    check_files(End::PowerCutBefore);
}

#[test]
fn what_another_graph_has_no_place_for_is_parked_once_wherever_the_power_goes() {
    run(async {
        let mut operation = 0;
        loop {
            let machine = Machine::new(11).await;
            let left = machine.play((COUNTED, THROUGH), operation, End::PowerCut).await;
            let lines = machine.lines();
            // Each row was counted by the first graph, or goes through the second; the floor of the source stays.
            let through = lines.iter().filter(|line| line.starts_with(r#"{"id":"r"#)).cloned().collect::<Vec<_>>();
            let first = through.first().map_or(ROWS + 1, |line| (1..=ROWS).find(|n| row(*n) == *line).expect("a row"));
            let rest: Vec<String> = (first..=ROWS).map(row).collect();
            assert_eq!(firsts(&through), rest, "after operation {operation}");
            let mut parked: Vec<_> = machine.letters().into_iter().map(|letter| letter.packet).collect();
            let all = parked.len();
            parked.sort();
            parked.dedup();
            assert_eq!(parked.len(), all, "something was parked twice, after operation {operation}");
            if left >= 0 {
                assert!(operation > 50 && all > 0, "{operation} operations, {all} letters");
                return;
            }
            operation += 1;
        }
    });
}
