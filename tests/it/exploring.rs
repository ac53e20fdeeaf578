//! Explore, shrink, debug and trace diff through the command, on the repository's own scenarios.
#![expect(clippy::disallowed_methods, reason = "tests read and write the files of the command")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

const FORGED: &str = "scenarios/must_fail/forge_ack.toml";

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_seaworthy"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("the binary is built with its tests")
}

#[track_caller]
fn said(arguments: &[&str], code: i32) -> String {
    let output = run(arguments);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {out}{err}");
    format!("{out}{err}")
}

#[track_caller]
fn json(arguments: &[&str], code: i32) -> Value {
    serde_json::from_str(&said(arguments, code)).expect("it prints one document")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}

/// A scenario of the project, for a file in another folder.
fn elsewhere(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let scenario = std::fs::read_to_string(root.join(name)).expect("the tree is whole");
    let there = |folder: &str| format!("\"{}/{folder}/", root.display());
    scenario.replace("\"graphs/", &there("graphs")).replace("\"data/", &there("data"))
}

#[test]
fn a_failure_shrinks_to_a_plan_that_fails_alike_whatever_the_jobs() {
    let dir = tempfile::tempdir().expect("tests have a temporary directory");
    let out = text(dir.path());
    let plan = format!("{out}/forge_ack/smallest.plan.json");
    let mut plans = Vec::new();
    for jobs in ["1", "2"] {
        let small = json(&["shrink", FORGED, "--check", "lost", "--json", "--jobs", jobs, "--out", out], 1);
        assert_eq!((&small["steps"], &small["events"]), (&1.into(), &1.into()), "{small}");
        assert_eq!(small["finished"], true);
        plans.push(std::fs::read_to_string(&plan).expect("the plan was written"));
    }
    assert_eq!(plans[0], plans[1]);
    let again = said(&["sim", FORGED, "--plan", &plan, "--out", out], 1);
    assert!(again.contains("lost 1 "), "{again}");
    let passes = said(&["shrink", "scenarios/nn_1_2.toml", "--out", out], 4);
    assert!(passes.contains("breaks no promise"), "{passes}");
    let other = said(&["shrink", FORGED, "--check", "order.key", "--out", out], 4);
    assert!(other.contains("`order.key`, but"), "{other}");
}

#[test]
fn sim_says_the_smallest_plan_of_what_fails() {
    let dir = tempfile::tempdir().expect("tests have a temporary directory");
    let told = said(&["sim", "scenarios/must_fail/lose_effect.toml", "--seed", "1", "--out", text(dir.path())], 1);
    assert!(told.contains("smallest plan: 1 fault, 1 packet"), "{told}");
}

#[test]
fn plans_that_do_not_fit_are_refused_with_each_reason() {
    let dir = tempfile::tempdir().expect("tests have a temporary directory");
    let path = dir.path().join("p.json");
    let plan = |text: &str| {
        std::fs::write(&path, text).expect("it takes a small file");
        said(&["sim", "scenarios/nn_1_2.toml", "--plan", self::text(&path)], 2)
    };
    assert!(plan("{").contains("could not use the plan"));
    let told = plan(
        r#"{"schema": "seaworthy.plan/v1", "scenario": "nn_1_2", "seed": 1, "steps": [{"fault": "f", "start": {"at": {"at_ns": 1}}, "action": {"kind": "disk.full", "host": "moon"}}]}"#,
    );
    assert!(told.contains("step 0: `moon` is not a"), "{told}");
    let told = plan(r#"{"schema": "seaworthy.plan/v9", "scenario": "other", "seed": 1, "steps": []}"#);
    assert!(told.contains("`seaworthy.plan/v9`") && told.contains("`other`"), "{told}");
}

#[test]
fn exploring_is_the_same_whatever_the_jobs_and_finds_nothing_in_a_sound_build() {
    let explore = |jobs: &str| {
        json(
            &[
                "explore",
                "scenarios/nn_1_2.toml",
                "scenarios/nn_2_1.toml",
                "--trials",
                "24",
                "--budget",
                "600",
                "--jobs",
                jobs,
                "--json",
            ],
            0,
        )
    };
    let one = explore("1");
    assert_eq!(one["trials"], 24);
    // Each once, every other one of those that follow, and what can't be survived together, which is drawn seldom.
    assert!((13..=17).contains(&one["plain"].as_u64().expect("it is counted")), "{one}");
    assert!(one["sites"].as_u64() > Some(50), "{one}");
    assert_eq!(one, explore("2"));
}

/// Drawn faults make packets wait; how many may is the scenario's word about its own.
#[test]
fn a_narrow_bound_is_not_about_drawn_faults() {
    let dir = tempfile::tempdir().expect("tests have a temporary directory");
    let path = dir.path().join("narrow.toml");
    let narrow = "promise = { backlog = 40 }\nsim ";
    let narrowed = elsewhere("smoke.toml").replacen("sim ", narrow, 1);
    std::fs::write(&path, &narrowed).expect("it takes a small file");
    let out = text(dir.path());
    let explored = json(&["explore", text(&path), "--trials", "24", "--seed", "3", "--json", "--out", out], 0);
    assert!(explored["plain"].as_u64() < Some(18), "{explored}");
    let cut = "\n[faults.cut]\nkind = \"net.cut\"\non = \"edge<->hub\"\nat = \"6s\"\nfor = \"2s\"\n";
    std::fs::write(&path, narrowed + cut).expect("it takes a small file");
    let own = said(&["sim", text(&path), "--seed", "1", "--out", out], 1);
    assert!(own.contains("bounds.backlog (seed 1)"), "{own}");
}

#[test]
fn exploring_finds_what_a_sabotage_breaks_and_keeps_it() {
    let dir = tempfile::tempdir().expect("tests have a temporary directory");
    let out = text(dir.path());
    let corpus = format!("{out}/corpus");
    let found = json(&["explore", FORGED, "--first", "--json", "--out", out, "--corpus", &corpus, "--shrink", "30"], 1);
    let failure = &found["failures"][0];
    assert!(failure["smallest"]["steps"].as_u64() <= Some(2), "{failure}");
    let line = std::fs::read_to_string(format!("{corpus}/forge_ack.jsonl")).expect("the failure was kept");
    let line = line.lines().next().expect("a failure has its line");
    let kept: Value = serde_json::from_str(line).expect("a line is a document");
    assert_eq!(kept["check"], failure["check"]);
    assert_eq!(kept["plan"]["scenario"], "forge_ack");
}

#[test]
fn debug_tells_the_story_of_a_lost_packet_and_keeps_the_disks() {
    let dir = tempfile::tempdir().expect("tests have a temporary directory");
    let kept = text(dir.path());
    let told = said(&["debug", FORGED, "--keep", kept], 1);
    for part in
        ["FAIL forge_ack, seed 1", "lost: ", "sabotage uplink", "accepted", "hosts then", "next: seaworthy shrink"]
    {
        assert!(told.contains(part), "{part}: {told}");
    }
    let fsck = said(&["queue", "fsck", &format!("{kept}/hub")], 0);
    assert!(fsck.contains("clean"), "{fsck}");
    let history = std::fs::read_to_string(dir.path().join("history.jsonl")).expect("the history was kept");
    assert!(history.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
    let trace = std::fs::read_to_string(dir.path().join("trace.json")).expect("the trace was kept");
    let trace: Value = serde_json::from_str(&trace).expect("it is JSON");
    assert!(trace["traceEvents"].as_array().is_some_and(|events| events.len() > 1000));
    let schema = include_str!("../../docs/schema/trace_event.schema.json");
    let validator =
        jsonschema::validator_for(&serde_json::from_str(schema).expect("it is JSON")).expect("it is a schema");
    if let Err(error) = validator.validate(&trace) {
        panic!("{}: {error}", error.instance_path());
    }
    let mut endless = trace.clone();
    let span =
        endless["traceEvents"].as_array_mut().and_then(|events| events.iter_mut().find(|event| event["ph"] == "X"));
    span.expect("there are spans")["dur"] = serde_json::json!(-1);
    assert!(!validator.is_valid(&endless), "a span that ends before it begins is refused");
    let one = json(&["debug", FORGED, "--host", "hub", "--until", "1.5s", "--lines", "5", "--json"], 1);
    let lines = one["lines"].as_array().expect("there are lines");
    assert_eq!(lines.len(), 5);
    assert!(lines.iter().all(|line| line["host"] == "hub" && line["at_ns"].as_u64() <= Some(1_500_000_000)), "{one}");
    let nobody = said(&["debug", FORGED, "--host", "moon"], 2);
    assert!(nobody.contains("there is no host `moon`"), "{nobody}");
    said(&["debug", "scenarios/nn_1_2.toml"], 0);
}

#[test]
fn trace_diff_finds_where_a_fault_begins_to_matter() {
    let diff = json(&["trace", "diff", "scenarios/hub_crash.toml", "--seed", "2", "--json"], 0);
    let first = &diff["twin"][0];
    assert_eq!(first["host"], "hub", "{first}");
    let plan = json(&["plan", "scenarios/hub_crash.toml", "--seed", "2", "--json"], 0);
    let began = plan["steps"][0]["start"]["at"]["at_ns"].as_u64().expect("the crash has a time");
    assert!(first["at_ns"].as_u64() >= Some(began), "{first} {began}");
    let told = said(&["trace", "diff", "scenarios/smoke.toml"], 0);
    assert!(told.contains("nothing differs") || told.contains("the same in both"), "{told}");
    let unknown = said(&["trace", "diff", "scenarios/hub_crash.toml", "--without", "moon"], 2);
    assert!(unknown.contains("no fault `moon`"), "{unknown}");
}

/// A child that is ended by its id when the test is over, however it ends.
struct Watching(std::process::Child);

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_watched_scenario_runs_again_when_it_is_saved() {
    let dir = tempfile::tempdir().expect("tests have a temporary directory");
    let scenario = elsewhere("nn_1_2.toml");
    let path = dir.path().join("s.toml");
    std::fs::write(&path, &scenario).expect("it takes a small file");
    let mut child = Command::new(env!("CARGO_BIN_EXE_seaworthy"))
        .args(["sim", text(&path), "--seed", "1", "--watch", "--out", text(dir.path())])
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("the binary is built with its tests");
    let told = std::io::BufReader::new(child.stderr.take().expect("it is piped"));
    let _watching = Watching(child);
    let mut lines = std::io::BufRead::lines(told).map(|line| line.expect("it tells lines"));
    assert_eq!(lines.next().as_deref(), Some("watching 5 files"));
    std::fs::write(&path, format!("{scenario}\n# saved\n")).expect("it takes a small file");
    assert_eq!(lines.next(), Some(format!("{} was saved", path.display())));
    assert_eq!(lines.next().as_deref(), Some("watching 5 files"));
}

/// The corpus of the project: each plan broke a promise once.
#[test]
fn what_was_found_once_stays_away() {
    let dir = tempfile::tempdir().expect("tests have a temporary directory");
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/corpus");
    let mut plans = 0;
    for entry in std::fs::read_dir(corpus).expect("the project has a corpus") {
        let path = entry.expect("it can be listed").path();
        if path.extension().is_none_or(|extension| extension != "jsonl") {
            continue;
        }
        for line in std::fs::read_to_string(&path).expect("a corpus is text").lines() {
            let known: Value = serde_json::from_str(line).expect("a line of a corpus is JSON");
            let plan = dir.path().join("known.plan.json");
            std::fs::write(&plan, known["plan"].to_string()).expect("a temporary file can be written");
            let name = known["scenario"].as_str().expect("a scenario has a name");
            let in_folder = |folder: &str| format!("{folder}/{name}.toml");
            let scenario = ["scenarios", "scenarios/deep"].map(in_folder);
            let scenario = scenario.iter().find(|path| Path::new(path).exists()).expect("it is in one of the suites");
            let output =
                run(&["sim", scenario, "--plan", text(&plan), "--shrink", "0", "--json", "--out", text(dir.path())]);
            let result: Value = serde_json::from_slice(&output.stdout).expect("it prints a result");
            let judged = &result["scenarios"][0];
            assert_eq!(judged["seeds"][0]["violations"], Value::Array(Vec::new()), "{}: {line}", path.display());
            assert_eq!(judged["phases"]["all"]["lost"], 0, "{}: {line}", path.display());
            plans += 1;
        }
    }
    assert!(plans >= 5, "{plans} plans");
}

#[test]
fn trials_that_run_twice_are_the_same_twice() {
    let explored =
        json(&["explore", "scenarios/smoke.toml", "scenarios/nn_1_2.toml", "--twice", "--trials", "8", "--json"], 0);
    assert_eq!(explored["failures"], Value::Array(Vec::new()));
}
