//! The binary itself: what it prints where, and the code it ends with.

use std::process::{Command, Output};

const PROCESS: &str = "version: 1
processes: [{id: ping, graph: ping.yaml}, {id: pong, graph: pong.yaml}]
channels: [{id: there, kind: journal}, {id: back, kind: journal}]
links:
  - {producer: ping, consumer: pong, channel: there}
  - {producer: pong, consumer: ping, channel: back}
";

/// What is called goes there, and what comes back is written down.
const PING: &str = "version: 2
nodes:
  - {id: feed, kind: source, plugin: \"std:ndjson_source\", config: {path: calls.ndjson}}
  - {id: to, kind: sink, plugin: \"std:channel\", config: {channel: there, __runtime__: {inbox_max: 64}}}
  - {id: from, kind: source, plugin: \"std:channel\", config: {channel: back}}
  - {id: out, kind: sink, plugin: \"std:ndjson_sink\", config: {path: echoes.ndjson}}
edges: [{from: feed, to: to}, {from: from, to: out}]
";

/// A graph that only relays.
const PONG: &str = "version: 2
nodes:
  - {id: from, kind: source, plugin: \"std:channel\", config: {channel: there}}
  - {id: to, kind: sink, plugin: \"std:channel\", config: {channel: back, __runtime__: {inbox_max: 64}}}
edges: [{from: from, to: to}]
";

#[expect(clippy::disallowed_methods, reason = "the binary reads real files")]
fn run(arguments: &[&str]) -> Output {
    let dir = tempfile::tempdir().expect("tests have a temporary directory");
    let files = [("p.yaml", PROCESS), ("ping.yaml", PING), ("pong.yaml", PONG)];
    let bad = [
        ("bad.yaml", "version: 2\nnodes: 7\n"),
        ("bad.toml", "why = \"x\"\ngraph = \"p.yaml\"\ngraff = 1\n[expect]\n\"fun\" = \"<= 1\"\n"),
        ("round.yaml", &PING.replace("to: out", "to: to")),
        ("round_p.yaml", &PROCESS.replace("graph: ping.yaml", "graph: round.yaml")),
    ];
    for (name, text) in files.into_iter().chain(bad) {
        std::fs::write(dir.path().join(name), text).expect("it takes a small file");
    }
    Command::new(env!("CARGO_BIN_EXE_seaworthy"))
        .args(arguments)
        .current_dir(dir.path())
        .output()
        .expect("the binary is built with its tests")
}

#[track_caller]
fn check(arguments: &[&str], code: i32, stdout: &str, stderr: &str) {
    let output = run(arguments);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{out}{err}");
    assert!(out.contains(stdout), "stdout: {out}");
    assert!(err.contains(stderr), "stderr: {err}");
}

#[test]
fn check_says_what_is_wrong_and_ends_with_its_code() {
    check(&["check", "p.yaml"], 0, "ok     p.yaml  process graph, 2 processes, 2 channels", "");
    check(&["check", "p.yaml", "bad.yaml"], 2, "error  bad.yaml  1 error", "yaml::wrong_type");
    check(&["check", "round_p.yaml"], 2, "error  round_p.yaml  1 error", "process::cycle");
    check(&["check", "nowhere.yaml"], 2, "", "could not read nowhere.yaml");
    check(&["check", "notes.txt"], 2, "", "file::unknown_kind");
    check(&["check", "ping.yaml"], 0, "2 notes", "graph::channel_alone");
    check(&["check", "--json", "bad.yaml"], 2, "\"line\": 2", "");
    check(&["check", "bad.toml"], 2, "error  bad.toml  3 errors", "scenario::");
    check(&["check", "--json", "bad.toml"], 2, "\"code\": \"scenario::unknown_key\"", "");
    check(&["check", "--json", "bad.toml"], 2, "\"line\": 3", "");
    check(&["check"], 2, "", "Usage: seaworthy check");
    check(&["chek"], 2, "", "check");
    check(&["check", "--help"], 0, "seaworthy check process.yaml --data-dir", "");
    check(&["explain", "--help"], 0, "Example: seaworthy explain", "");
}

#[test]
fn explain_tells_edges_and_channels() {
    let text = String::from_utf8(run(&["explain", "p.yaml", "--packet-bytes", "2048"]).stdout).unwrap();
    insta::assert_snapshot!(text);
    check(&["explain", "ping.yaml"], 2, "", "graph::channel_alone");
    check(&["explain", "p.yaml", "--json"], 0, "\"schema\": \"seaworthy.explain/v1\"", "");
}
