//! Two producers and two members that share a channel, as real processes, killed at random moments: each packet arrives, and
//! what one member gets of a key and a producer keeps its order.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests of real processes read, write and wait for real; a failure is the test\'s"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use super::count;
use super::run::{Running, seaworthy, signal, until};

const PROCESSES: &str = "
version: 1
processes:
  - {id: edge, graph: edge.yaml}
  - {id: van, graph: van.yaml}
  - {id: hub, graph: hub.yaml}
  - {id: lab, graph: lab.yaml}
channels:
  - {id: uplink, kind: journal, host: hub, order: key, ack_wait: 2s, max_deliver: 50, backoff: 20ms}
links:
  - {producer: edge, consumer: hub, channel: uplink, group: pool}
  - {producer: van, consumer: lab, channel: uplink, group: pool}
";
const TARGETS: [&str; 4] = ["edge", "van", "hub", "lab"];
/// Lines a second of each producer.
const RATE: u64 = 1000;

fn producer(name: &str) -> String {
    format!(
        "version: 2
nodes:
  - id: feed
    kind: source
    plugin: \"std:ndjson_source\"
    config: {{path: in-{name}.ndjson, id: id, key: net, time: time, replay: {{speed: 1}}}}
  - {{id: up, kind: sink, plugin: \"std:channel\", config: {{channel: uplink}}}}
edges: [{{from: feed, to: up}}]
"
    )
}

fn member(name: &str) -> String {
    format!(
        "version: 2
nodes:
  - {{id: up, kind: source, plugin: \"std:channel\", config: {{channel: uplink}}}}
  - {{id: out, kind: sink, plugin: \"std:ndjson_sink\", config: {{path: out-{name}.ndjson}}}}
edges: [{{from: up, to: out}}]
"
    )
}

/// Numbers by producer and key, in the order of their first lines in a member's file, and how many lines repeat one.
fn read(path: &Path) -> (BTreeMap<(String, String), Vec<u64>>, usize) {
    let (mut numbers, mut seen, mut repeats) = (BTreeMap::<_, Vec<u64>>::new(), BTreeSet::new(), 0);
    for line in fs::read_to_string(path).unwrap_or_default().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let (from, n) = (line["from"].as_str().unwrap().to_owned(), line["n"].as_u64().unwrap());
        if seen.insert((from.clone(), n)) {
            numbers.entry((from, line["net"].as_str().unwrap().to_owned())).or_default().push(n);
        } else {
            repeats += 1;
        }
    }
    (numbers, repeats)
}

#[test]
fn members_share_a_channel_through_kills() {
    let kills = count("SEAWORTHY_KILLS", 10).min(40);
    let lines = 2 * RATE + kills * RATE / 2;
    let dir = tempfile::tempdir().unwrap();
    let write = |name: String, text: String| fs::write(dir.path().join(name), text).unwrap();
    write("p.yaml".into(), PROCESSES.into());
    for name in ["edge", "van"] {
        let line = |n: u64| {
            let net = n % 7;
            format!(
                "{{\"id\": \"{name}/{n}\", \"from\": \"{name}\", \"n\": {n}, \"net\": \"k{net}\", \"time\": {n}}}\n"
            )
        };
        write(format!("in-{name}.ndjson"), (1..=lines).map(line).collect());
        write(format!("{name}.yaml"), producer(name));
    }
    for name in ["hub", "lab"] {
        write(format!("{name}.yaml"), member(name));
    }
    let mut command = seaworthy();
    command.current_dir(dir.path()).args(["run", "p.yaml"]);
    let mut running = Running::start(command);
    for n in 0..kills {
        let draw = xxh3_64(&n.to_le_bytes());
        let target = TARGETS[(draw % 4) as usize];
        until(&mut running, target, |running| running.has_ended() || running.child(target).is_some());
        std::thread::sleep(Duration::from_millis(draw / 4 % 400));
        if let Some(pid) = running.child(target).filter(|_| !running.has_ended()) {
            signal(pid, Signal::KILL);
            let gone = |running: &mut Running| running.has_ended() || running.child(target) != Some(pid);
            until(&mut running, "the supervisor's word of the kill", gone);
        }
    }
    assert_eq!(running.code(), Some(0), "{}", running.said());

    let mut all: BTreeSet<(String, u64)> = BTreeSet::new();
    let mut told = Vec::new();
    for name in ["hub", "lab"] {
        let (numbers, repeats) = read(&dir.path().join(format!("out-{name}.ndjson")));
        for ((from, net), numbers) in &numbers {
            assert!(numbers.is_sorted(), "{name} got {net} of {from} out of order: {numbers:?}");
            all.extend(numbers.iter().map(|n| (from.clone(), *n)));
        }
        let got: usize = numbers.values().map(Vec::len).sum();
        assert!(got > 0, "{name} got nothing");
        told.push(format!("{name} got {got}, {repeats} twice"));
    }
    assert_eq!(all.len() as u64, 2 * lines, "packets at the two sinks");
    let restarts = running.times_said("killed by signal 9 (restart");
    eprintln!("sharing: {kills} kills, {restarts} restarts; 0 of {} packets lost; {}", 2 * lines, told.join("; "));
    assert!(restarts > 0, "{}", running.said());
}
