//! A changed graph over old data: what it has no place for is named and refused, and moved to the dead letters when asked.
#![expect(
    clippy::disallowed_methods,
    reason = "tests of real processes read and write real files; a failure is the test\'s"
)]

use std::fs;
use std::path::Path;

use rustix::process::Signal;

use super::frames;
use super::run::{Running, seaworthy, signal, until};

/// A graph of a source and a window, by the names of the two.
fn windows(source: &str, window: &str) -> String {
    format!(
        "version: 2
nodes:
  - {{id: {source}, kind: source, plugin: \"std:ndjson_source\", config: {{path: in.ndjson, id: id, key: net, time: time}}}}
  - {{id: {window}, kind: node, plugin: \"std:window\", config: {{field: payload.mag, size: 1h}}}}
  - {{id: out, kind: sink, plugin: \"std:ndjson_sink\", config: {{path: out.ndjson}}}}
edges: [{{from: {source}, to: {window}}}, {{from: {window}, to: out}}]
"
    )
}

#[track_caller]
fn run(dir: &Path, arguments: &[&str], code: i32) -> String {
    let mut command = seaworthy();
    command.current_dir(dir).arg("run").args(arguments);
    let mut running = Running::start(command);
    assert_eq!(running.code(), Some(code), "{}", running.said());
    running.said()
}

#[test]
fn state_and_position_of_nodes_that_are_gone_are_kept_or_parked() {
    let dir = tempfile::tempdir().unwrap();
    let graph = |text: String| fs::write(dir.path().join("g.yaml"), text).unwrap();
    let line = |n: u64| format!("{{\"id\": \"q{n}\", \"net\": \"k{}\", \"time\": {}, \"mag\": 1}}\n", n % 3, n * 1000);
    fs::write(dir.path().join("in.ndjson"), (1..=9).map(line).collect::<String>()).unwrap();
    graph(windows("feed", "hourly"));
    run(dir.path(), &["g.yaml"], 0);
    graph(windows("feed", "daily"));
    let said = run(dir.path(), &["g.yaml"], 2);
    assert!(said.contains("no place for the state of node `hourly` (3 keys)"), "{said}");
    graph(windows("intake", "hourly"));
    let said = run(dir.path(), &["g.yaml"], 2);
    assert!(said.contains("no place for the position of source `feed` (entry 9)"), "{said}");
    assert!(frames::read(&dir.path().join("data/g")).dead_letters.is_empty(), "a refusal moves nothing");
    // Brought back, all goes on as before.
    graph(windows("feed", "hourly"));
    run(dir.path(), &["g.yaml"], 0);

    graph(windows("intake", "daily"));
    let said = run(dir.path(), &["g.yaml", "--park"], 0);
    assert!(said.contains("parked among the dead letters: the state of node `hourly` (3 keys)"), "{said}");
    let mut nodes: Vec<String> =
        frames::read(&dir.path().join("data/g")).dead_letters.into_iter().map(|(node, ..)| node).collect();
    nodes.sort();
    assert_eq!(nodes, ["feed", "hourly", "hourly", "hourly"]);
    // Once parked, it is no news.
    run(dir.path(), &["g.yaml"], 0);
    assert_eq!(frames::read(&dir.path().join("data/g")).dead_letters.len(), 4);
}

#[test]
fn packets_of_a_channel_that_is_gone_are_kept_or_parked() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    let processes = |channel: &str| {
        format!(
            "version: 1
processes: [{{id: edge, graph: edge.yaml}}, {{id: hub, graph: hub.yaml}}]
channels: [{{id: {channel}, kind: journal, require_ack: true}}]
links: [{{producer: edge, consumer: hub, channel: {channel}}}]
"
        )
    };
    let edge = |channel: &str| {
        format!(
            "version: 2
nodes:
  - {{id: feed, kind: source, plugin: \"std:ndjson_source\", config: {{path: in.ndjson, follow: true}}}}
  - {{id: up, kind: sink, plugin: \"std:channel\", config: {{channel: {channel}}}}}
edges: [{{from: feed, to: up}}]
"
        )
    };
    let hub = |channel: &str| {
        format!(
            "version: 2
nodes:
  - {{id: up, kind: source, plugin: \"std:channel\", config: {{channel: {channel}}}}}
  - {{id: out, kind: sink, plugin: \"std:ndjson_sink\", config: {{path: out.ndjson}}}}
edges: [{{from: up, to: out}}]
"
        )
    };
    let rename = |channel: &str| {
        write("p.yaml", &processes(channel));
        write("edge.yaml", &edge(channel));
        write("hub.yaml", &hub(channel));
    };
    rename("uplink");
    write("in.ndjson", "{\"n\": 1}\n{\"n\": 2}\n{\"n\": 3}\n");
    let only = |park: bool| {
        let mut command = seaworthy();
        // Nobody answers on the discard port.
        command.current_dir(dir.path()).args(["run", "p.yaml", "--only", "edge", "--peer", "hub=127.0.0.1:9"]);
        command.args(park.then_some("--park"));
        Running::start(command)
    };
    let stored = || {
        let journal = dir.path().join("data/p/edge");
        if journal.exists() { frames::read(&journal).appends.len() } else { 0 }
    };
    let mut first = only(false);
    until(&mut first, "three packets in the outbox", |_| stored() == 3);
    signal(first.pid(), Signal::TERM);
    assert_eq!(first.code(), Some(0), "{}", first.said());

    rename("backhaul");
    let mut refused = only(false);
    assert_eq!(refused.code(), Some(2), "{}", refused.said());
    assert!(refused.has_said("no place for 3 packets of channel `uplink` for `hub`"), "{}", refused.said());
    let mut parking = only(true);
    until(&mut parking, "it is up", |running| running.has_said("up; SIGINT or SIGTERM"));
    signal(parking.pid(), Signal::TERM);
    assert_eq!(parking.code(), Some(0), "{}", parking.said());
    let letters = frames::read(&dir.path().join("data/p/edge")).dead_letters;
    let parked = letters
        .iter()
        .filter(|(node, class, why)| node == "channel/uplink" && class == "unknown" && why.contains("parked"));
    assert_eq!(parked.count(), 3, "{letters:?}");
}

#[test]
fn a_process_that_is_gone_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    let processes = |names: &[&str]| {
        let list: Vec<String> = names.iter().map(|name| format!("{{id: {name}, graph: g.yaml}}")).collect();
        write("p.yaml", &format!("version: 1\nprocesses: [{}]\n", list.join(", ")));
    };
    write("g.yaml", &windows("feed", "hourly"));
    let line = |n: u64| format!("{{\"id\": \"q{n}\", \"net\": \"k{}\", \"time\": {}, \"mag\": 1}}\n", n % 3, n * 1000);
    write("in.ndjson", &(1..=9).map(line).collect::<String>());
    processes(&["van", "lab"]);
    run(dir.path(), &["p.yaml"], 0);

    processes(&["lab"]);
    let checked = |code: i32| {
        let mut command = seaworthy();
        command.current_dir(dir.path()).args(["check", "p.yaml", "--data-dir", "data/p"]);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        said.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ")
    };
    let said = checked(2);
    assert!(said.contains("no place for the state of node `hourly` (3 keys), which data/p/van holds"), "{said}");
    assert!(said.contains("lab: source feed goes on after entry 9"), "{said}");
    assert!(said.contains("lab: node hourly goes on with its state of 3 keys"), "{said}");
    let said = run(dir.path(), &["p.yaml"], 2);
    let said = said.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
    assert!(said.contains("process `van`, whose journal holds the position of source `feed` (entry 9)"), "{said}");
    run(dir.path(), &["p.yaml", "--park"], 0);
    assert_eq!(frames::read(&dir.path().join("data/p/van")).dead_letters.len(), 4);
    checked(0);
    run(dir.path(), &["p.yaml"], 0);
}
