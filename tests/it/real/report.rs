//! `run --report`: the ledger of a run with its own sources and sinks, and what it says where there is none.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests of real processes read and write real files; a failure is the test's"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use seaworthy_reports::result::{Figure, Phase, ResultFile, Scenario, Time, Verdict};
use tempfile::TempDir;

use super::run::{Running, seaworthy, signal, until};

const GRAPH: &str = "version: 2
nodes:
  - {id: feed, kind: source, plugin: \"std:ndjson_source\", config: {path: in.ndjson}}
  - {id: odd, kind: node, plugin: \"std:filter\", config: {where: \"payload.n % 2 == 1\"}}
  - {id: out, kind: sink, plugin: \"std:ndjson_sink\", config: {path: out.ndjson}}
edges: [{from: feed, to: odd}, {from: odd, to: out}]
";

/// A folder with a graph and `n` lines for its source.
struct Place(TempDir);

impl Place {
    fn new(n: u64) -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        let lines: String = (1..=n).map(|n| format!("{{\"n\": {n}}}\n")).collect();
        fs::write(place.path("g.yaml"), GRAPH).unwrap();
        fs::write(place.path("in.ndjson"), lines).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = seaworthy();
        command.current_dir(self.0.path()).args(arguments);
        command
    }

    /// Runs the graph with its journal in `data`, and gives its exit code, what it reports and what it said.
    fn run(&self, data: &str) -> (Option<i32>, ResultFile, String) {
        let command = self.command(&["run", "g.yaml", "--data-dir", data, "--report", "result.json"]);
        let mut running = Running::start(command);
        (running.code(), result(&self.path("result.json")), running.said())
    }
}

fn result(path: &Path) -> ResultFile {
    let file = seaworthy_reports::read::parse(&fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!((file.time, file.scenarios.len()), (Time::Wall, 1));
    file
}

fn counts(scenario: &Scenario) -> [u64; 6] {
    let Phase { offered, accepted, visible, absorbed, lost, unresolved, .. } = scenario.phases["all"];
    [offered, accepted, visible, absorbed, lost, unresolved]
}

#[test]
fn a_run_has_the_ledger_that_a_simulation_has() {
    let place = Place::new(1_001);
    let (code, file, said) = place.run("data");
    assert_eq!((code, file.verdict), (Some(0), Verdict::Pass), "{said}");
    let scenario = &file.scenarios[0];
    assert_eq!((scenario.id.as_str(), counts(scenario)), ("g", [1_001, 1_001, 501, 500, 0, 0]));
    let latency = &scenario.phases["all"].latency_ms;
    assert!(latency.n == 501 && matches!(latency.p99, Figure::V { v } if v.0 > 0.0), "{latency:?}");
    let [way] = &scenario.waterfalls[..] else { panic!("{:?}", scenario.waterfalls) };
    assert_eq!((way.sink.as_str(), way.events), ("g.out", 501));
    let [round] = &scenario.seeds[..] else { panic!("{:?}", scenario.seeds) };
    assert!(round.packets == 1_001 && round.cpu_us.is_some() && round.violations.is_empty(), "{round:?}");
    let [process] = &scenario.processes[..] else { panic!("{:?}", scenario.processes) };
    assert_eq!((process.starts, &process.ends[..], process.counts_complete), (1, &["exit 0".to_owned()][..], true));
    assert_eq!((process.counts.events["entered"], process.counts.events["sink.acked"]), (1_001, 501));
    assert!(said.contains("PASS g  1 round") && said.contains("lost 0"), "{said}");
    // What the witness wrote is gone.
    let mut left: Vec<_> = fs::read_dir(place.0.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["data", "g.yaml", "in.ndjson", "out.ndjson", "result.json"]);

    // Another build of the same graph is held against it, as rounds of `bench` are.
    fs::copy(place.path("result.json"), place.path("before.json")).unwrap();
    fs::remove_file(place.path("out.ndjson")).unwrap();
    assert_eq!(place.run("again").0, Some(0));
    let compared = place.command(&["compare", "before.json", "result.json"]).output().unwrap();
    let text = String::from_utf8_lossy(&compared.stdout);
    // One round says nothing of times; what it says of losses is a fact.
    assert!([Some(0), Some(3)].contains(&compared.status.code()) && text.contains(" g  "), "{text}");
    let page = place.command(&["report", "."]).output().unwrap();
    assert!(page.status.success(), "{page:?}");
    let page = fs::read_to_string(place.path("report.html")).unwrap();
    assert!(page.contains("Processes") && page.contains("1 start, exit 0"), "the page has the processes");
}

#[test]
fn more_events_than_are_followed_are_told_of_as_a_part() {
    let place = Place::new(120_000);
    let (code, file, said) = place.run("data");
    assert_eq!((code, file.verdict), (Some(0), Verdict::Pass), "{said}");
    let scenario = &file.scenarios[0];
    assert!(scenario.part.as_ref().is_some_and(|part| part.contains("more than 100000 events")), "{:?}", scenario.part);
    let [offered, _, visible, _, lost, _] = counts(scenario);
    assert!(offered <= 100_000 && visible > 10_000 && lost == 0, "{offered} offered, {visible} visible, {lost} lost");
    // What is counted is counted to the end.
    assert_eq!(scenario.processes[0].counts.events["entered"], 120_000);
}

#[test]
fn a_run_that_goes_on_from_earlier_journals_has_no_ledger_and_says_so() {
    let place = Place::new(10);
    assert_eq!(place.run("data").0, Some(0));
    let (code, file, said) = place.run("data");
    assert_eq!((code, file.verdict), (Some(0), Verdict::Void), "{said}");
    let [why] = &file.scenarios[0].void[..] else { panic!("{:?}", file.scenarios[0].void) };
    assert!(why.contains("it went on from earlier journals"), "{why}");
    assert_eq!(file.scenarios[0].processes[0].starts, 1);
}

#[test]
fn a_report_that_could_not_be_written_is_refused_before_anything_starts() {
    let place = Place::new(1);
    // In a file, and in place of a folder.
    for report in ["g.yaml/result.json", "."] {
        let mut running = Running::start(place.command(&["run", "g.yaml", "--report", report]));
        assert_eq!(running.code(), Some(74), "{}", running.said());
    }
    assert!(!place.path("data").exists() && !place.path("out.ndjson").exists());
}

#[test]
fn a_run_that_is_ended_at_once_has_failed_and_lost_nothing() {
    let place = Place::new(10);
    // Nobody reads what the sink writes: it never ends what is in flight.
    let fifo = Command::new("mkfifo").arg(place.path("out.ndjson")).status().unwrap();
    assert!(fifo.success());
    let mut running = Running::start(place.command(&["run", "g.yaml", "--report", "result.json"]));
    until(&mut running, "it is up", |running| running.has_said("in good order"));
    signal(running.pid(), Signal::TERM);
    until(&mut running, "it stops", |running| running.has_said("stopping"));
    // The same request, sent twice, is one.
    signal(running.pid(), Signal::TERM);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(!running.has_ended(), "{}", running.said());
    signal(running.pid(), Signal::TERM);
    assert_eq!(running.code(), Some(130), "{}", running.said());
    let file = result(&place.path("result.json"));
    assert_eq!(file.verdict, Verdict::Fail);
    assert_eq!(file.objections[0].what, "it ended with 130");
    let [offered, _, visible, _, lost, _] = counts(&file.scenarios[0]);
    assert_eq!((offered, visible, lost), (10, 0, 0));
}
