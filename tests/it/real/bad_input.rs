//! What is wrong from the start, and what becomes wrong on the way: typed, with the right code, and nothing lost.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests of real processes read and write real files; a failure is the test\'s"
)]

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::frames::{self, crc32c};
use super::run::{Running, seaworthy, signal, until};
use super::story::Story;

/// Writes a graph that copies lines from a file beside it into `out.ndjson`, and that file.
pub(crate) fn write_graph(path: &Path, input: &str, lines: &str, more: &str) {
    let graph = format!(
        "version: 2\nnodes:\n  - {{id: feed, kind: source, plugin: \"std:ndjson_source\", config: {{path: {input}{more}}}}}\n  \
         - {{id: out, kind: sink, plugin: \"std:ndjson_sink\", config: {{path: out.ndjson}}}}\nedges: [{{from: feed, to: out}}]\n"
    );
    fs::write(path, graph).unwrap();
    fs::write(path.with_file_name(input), lines).unwrap();
}

struct Bench(TempDir);

impl Bench {
    fn new(lines: &str, more: &str) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        write_graph(&dir.path().join("g.yaml"), "in.ndjson", lines, more);
        Bench(dir)
    }

    fn run(&self, arguments: &[&str]) -> Command {
        let mut command = seaworthy();
        command.current_dir(self.0.path()).arg("run").args(arguments);
        command
    }

    /// All files of the data directory, by name.
    fn data(&self) -> Vec<(String, Vec<u8>)> {
        let files = fs::read_dir(self.0.path().join("data/g")).unwrap().map(|entry| entry.unwrap());
        let mut files: Vec<_> =
            files.map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap())).collect();
        files.sort();
        files
    }
}

#[track_caller]
fn check(command: Command, code: i32, said: &str) {
    let mut running = Running::start(command);
    assert_eq!(running.code(), Some(code), "{}", running.said());
    // Diagnostics are wrapped where the line ends.
    let words = |text: &str| text.replace('│', " ").split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words(&running.said()).contains(said), "no `{said}` in\n{}", running.said());
}

#[test]
fn wrong_use_ends_with_2_before_anything_starts() {
    let bench = Bench::new("{}\n", "");
    check(bench.run(&["nowhere.yaml"]), 2, "could not read nowhere.yaml");
    check(bench.run(&["g.yaml", "--only", "edge"]), 2, "g.yaml is a graph");
    check(bench.run(&["g.yaml", "--peer", "hub=127.0.0.1:1"]), 2, "--only");
    check(bench.run(&["g.yaml", "--segment-bytes", "1000"]), 2, "a multiple of 512");
    assert!(!bench.0.path().join("data").exists(), "nothing was written");
    let story = Story::new(1, 1000);
    for (arguments, said) in [
        (&["--only", "hug"][..], "the file has: edge, hub"),
        (&["--only", "hub"], "add --listen 127.0.0.1:7070"),
        (
            &["--only", "hub", "--listen", "0.0.0.0:7070"],
            "or, on a network where nobody else can listen or send, --allow-plaintext",
        ),
        (&["--only", "edge"], "add --peer hub=127.0.0.1:7070"),
        (&["--only", "edge", "--peer", "hub=192.0.2.1:7070"], "seaworthy keys"),
    ] {
        let mut command = story.command();
        command.args(arguments);
        check(command, 2, said);
    }
    assert!(!story.path("data").exists(), "nothing was written");
}

#[test]
fn a_second_process_on_the_same_journal_is_refused() {
    let bench = Bench::new("{\"n\": 1}\n", ", follow: true");
    let mut first = Running::start(bench.run(&["g.yaml"]));
    until(&mut first, "it is up", |first| first.has_said("up; SIGINT or SIGTERM"));
    check(bench.run(&["g.yaml"]), 74, "another process uses this data directory");
    assert!(!first.has_ended());
    signal(first.pid(), Signal::TERM);
    assert_eq!(first.code(), Some(0), "{}", first.said());

    let story = Story::new(1, 60_000);
    let mut first = Running::start(story.command());
    for process in ["edge", "hub"] {
        until(&mut first, "it is up", |first| first.has_said(&format!("in good order process={process}")));
    }
    check(story.command(), 74, "another process uses this data directory");
    // The supervisor stops its children when it is asked to, and they end well.
    signal(first.pid(), Signal::INT);
    assert_eq!(first.code(), Some(0), "{}", first.said());
    assert!(!first.has_said("restarting"), "{}", first.said());
}

#[test]
fn children_end_in_good_order_when_their_supervisor_is_killed() {
    let story = Story::new(1, 60_000);
    let mut first = Running::start(story.command());
    for process in ["edge", "hub"] {
        until(&mut first, "it is up", |first| first.has_said(&format!("in good order process={process}")));
    }
    let children: Vec<u32> = ["edge", "hub"].iter().filter_map(|process| first.child(process)).collect();
    signal(first.pid(), Signal::KILL);
    assert_eq!(first.code(), None);
    for child in children {
        let gone = || fs::read_to_string(format!("/proc/{child}/stat")).map_or(true, |stat| stat.contains(") Z "));
        until(&mut first, "the child ends", |_| gone());
    }
    assert_eq!(first.times_said("stopping: what is in flight is finished first"), 2, "{}", first.said());
}

#[test]
fn a_child_that_finds_the_file_wrong_ends_the_run() {
    let story = Story::new(1, 60_000);
    let mut running = Running::start(story.command());
    for process in ["edge", "hub"] {
        until(&mut running, "it is up", |running| running.has_said(&format!("in good order process={process}")));
    }
    fs::write(story.path("edge.yaml"), "version: 2\nnodes: 7\n").unwrap();
    signal(running.child("edge").expect("it is up"), Signal::KILL);
    assert_eq!(running.code(), Some(2), "{}", running.said());
}

#[test]
fn a_foreign_file_and_another_version_are_left_alone() {
    let bench = Bench::new("{\"n\": 1}\n", "");
    let dir = bench.0.path().join("data/g");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("holiday.jpg"), "sea").unwrap();
    check(bench.run(&["g.yaml"]), 74, "`holiday.jpg` doesn't belong to it");
    assert_eq!(bench.data(), [("LOCK".to_owned(), vec![]), ("holiday.jpg".to_owned(), b"sea".to_vec())]);
    fs::remove_file(dir.join("holiday.jpg")).unwrap();
    check(bench.run(&["g.yaml"]), 0, "ended with 0");

    let segment = dir.join("seg-000000000001.swj");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[8] = 9;
    let crc = crc32c(&bytes[..508]).to_le_bytes();
    bytes[508..512].copy_from_slice(&crc);
    fs::write(&segment, bytes).unwrap();
    let before = bench.data();
    check(bench.run(&["g.yaml"]), 74, "has format version 9, this binary reads up to 3; use the release that wrote it");
    assert!(bench.data() == before, "the journal was touched");
    // A child meets it too, and that ends the run of the whole.
    let story = Story::new(1, 60_000);
    fs::create_dir_all(story.path("data/hub")).unwrap();
    fs::copy(&segment, story.path("data/hub/seg-000000000001.swj")).unwrap();
    check(story.command(), 74, "has format version 9");
}

#[test]
fn malformed_lines_are_rejected_counted_and_named() {
    let bench = Bench::new("{\"n\": 1}\n{\"n\": \n\n{\"n\": 3}\nnonsense\n", "");
    let mut running = Running::start(bench.run(&["g.yaml", "--report", "result.json"]));
    assert_eq!(running.code(), Some(0), "{}", running.said());
    for line in ["line=2 rejected=1", "line=5 rejected=2"] {
        assert!(running.has_said(line), "no `{line}` in\n{}", running.said());
    }
    assert_eq!(fs::read_to_string(bench.0.path().join("out.ndjson")).unwrap(), "{\"n\": 1}\n{\"n\": 3}\n");
    let report = report(&bench.0.path().join("result.json"));
    let counts = &processes(&report)[0]["counts"];
    assert_eq!(counts["refused"]["line.malformed"], 2, "{report}");
    assert_eq!((&counts["events"]["entered"], &counts["events"]["sink.acked"]), (&2.into(), &2.into()), "{report}");
    assert_eq!((&report["verdict"], &report["time"]), (&"pass".into(), &"wall".into()));
    assert!(frames::read(&bench.0.path().join("data/g")).dead_letters.is_empty());
}

/// A report, checked against its schema.
pub(crate) fn report(path: &Path) -> Value {
    let parse = |path: &Path| serde_json::from_str::<Value>(&fs::read_to_string(path).unwrap()).unwrap();
    let schema = parse(&Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schema/result.v1.schema.json"));
    let report = parse(path);
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator.iter_errors(&report).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}\n{report}");
    report
}

/// The processes of a report.
pub(crate) fn processes(report: &Value) -> &Value {
    &report["scenarios"][0]["processes"]
}
