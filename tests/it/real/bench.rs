//! `bench`: the load and the ledger of a scenario on this machine.
#![expect(clippy::disallowed_methods, reason = "tests make real files")]

use std::fs;
use std::process::{Command, Output};

use seaworthy_reports::result::{ResultFile, Time, Verdict};
use tempfile::TempDir;

fn bench(dir: &TempDir, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seaworthy"));
    command.arg("bench").args(arguments).current_dir(dir.path()).output().expect("the binary is built with its tests")
}

fn in_tree(path: &str) -> String {
    format!("{}/scenarios/{path}", env!("CARGO_MANIFEST_DIR"))
}

#[track_caller]
fn result(dir: &TempDir, arguments: &[&str]) -> ResultFile {
    let output = bench(dir, arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    let file = seaworthy_reports::read::parse(&String::from_utf8_lossy(&output.stdout));
    let found: Vec<_> = file.iter().flat_map(|file| &file.scenarios).map(|s| (&s.void, &s.expect, &s.seeds)).collect();
    assert_eq!(output.status.code(), Some(0), "{said}{found:?}");
    file.expect("it printed its result")
}

#[test]
fn a_round_has_the_ledger_of_a_simulation() {
    let dir = tempfile::tempdir().unwrap();
    let (graph, rows) = (in_tree("graphs/edge_hub.yaml"), in_tree("data/quakes.ndjson"));
    // An objective that a busy machine meets, too.
    let scenario = format!(
        "why = \"a quiet machine carries all\"\ngraph = \"{graph}\"\nsim = {{ duration = \"2s\", warmup = \"200ms\" }}\n\
         load = {{ into = \"edge.feed\", rate = \"200/s\", rows = \"{rows}\", repeat = true }}\n[expect]\n\"latency.p99\" = \"<= 60s\"\n"
    );
    fs::write(dir.path().join("smoke.toml"), scenario).unwrap();
    let file = result(&dir, &["smoke.toml", "--rounds", "2", "--json"]);
    let smoke = &file.scenarios[0];
    assert_eq!((file.time, file.verdict, smoke.seeds.len()), (Time::Wall, Verdict::Pass, 2));
    let all = &smoke.phases["all"];
    assert!(all.offered > 100 && all.offered == all.accepted, "{all:?}");
    assert_eq!(all.visible + all.absorbed, all.accepted, "nothing is lost, and all is accounted for");
    assert!(!smoke.expect.is_empty(), "it has no faults, so its objectives are judged");
    assert!(smoke.seeds.iter().all(|round| round.trace_hash.is_empty() && round.cpu_us.is_some_and(|us| us.0 > 0.0)));
    assert!(smoke.waterfalls.iter().all(|way| way.events > 0), "{:?}", smoke.waterfalls);
    let left: Vec<_> =
        fs::read_dir(dir.path().join("out/bench/smoke")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with("bench-")), "journals are gone: {left:?}");
    assert!(left.iter().any(|name| name == "report.html"), "{left:?}");
}

#[test]
fn a_cut_and_a_kill_of_the_real_system_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (graph, rows) = (in_tree("graphs/edge_hub.yaml"), in_tree("data/quakes.ndjson"));
    let scenario = format!(
        "why = \"what goes wrong for real loses nothing\"\ngraph = \"{graph}\"\nsim = {{ duration = \"4s\", warmup = \"500ms\" }}\n\
         load = {{ into = \"edge.feed\", rate = \"200/s\", rows = \"{rows}\", repeat = true }}\n\
         [faults.cut]\nkind = \"net.cut\"\non = \"edge<->hub\"\nat = \"1s\"\nfor = \"500ms\"\n\
         [faults.kill]\nkind = \"host.crash\"\non = \"hub\"\nat = \"2s\"\nrestart = \"200ms\"\n\
         [faults.slow]\nkind = \"disk.latency\"\non = \"edge\"\nat = \"3s\"\nfor = \"500ms\"\nadd = \"5ms\"\n"
    );
    fs::write(dir.path().join("storm.toml"), scenario).unwrap();
    let file = result(&dir, &["storm.toml", "--faults", "--rounds", "1", "--json"]);
    let storm = &file.scenarios[0];
    let all = &storm.phases["all"];
    assert_eq!((file.verdict, all.lost, all.unresolved), (Verdict::Pass, 0, 0));
    assert!(all.offered > 500, "{all:?}");
    assert!(storm.void.is_empty(), "each fault was felt: {:?}", storm.void);
    let phases: Vec<&String> = storm.phases.keys().collect();
    for fault in ["cut", "kill", "slow"] {
        assert!(phases.iter().any(|phase| phase.starts_with("fault(") && phase.contains(fault)), "{phases:?}");
    }

    let output = bench(&dir, &[&in_tree("power_cut.toml"), "--faults", "--duration", "1s"]);
    let said = String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("`torn-edge` (disk.torn) is one that a real machine can't be made to"), "{said}");
}

#[test]
fn faults_and_their_objectives_stay_out() {
    let dir = tempfile::tempdir().unwrap();
    let file = result(&dir, &[&in_tree("deep/nn_poison.toml"), "--rounds", "1", "--duration", "1s", "--json"]);
    let scenario = &file.scenarios[0];
    assert!(scenario.expect.is_empty() && scenario.sometimes.is_empty() && scenario.recovery.is_empty());
}

#[test]
fn a_graph_gets_a_load_and_rounds_are_compared_as_a_sample() {
    let dir = tempfile::tempdir().unwrap();
    let graph = in_tree("graphs/edge_hub.yaml");
    let arguments = [graph.as_str(), "--rounds", "2", "--duration", "1s", "--rate", "1000", "--out"];
    for out in ["one", "two"] {
        let output = bench(&dir, &[&arguments[..], &[out]].concat());
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.starts_with("PASS edge_hub  2 rounds x 1 s   lost 0  dup 0"), "{text}");
        assert!(text.contains("ms (wall)\n  p99 of a round ") && text.contains(" us an event"), "{text}");
    }
    let mut compare = Command::new(env!("CARGO_BIN_EXE_seaworthy"));
    let output =
        compare.args(["compare", "one/edge_hub", "two/edge_hub", "--json"]).current_dir(dir.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    // Two rounds are too few to call anything a regression.
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("\"inconclusive\"") || text.contains("\"equivalent\""), "{text}");
}

#[test]
fn what_cannot_be_run_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let smoke = in_tree("smoke.toml");
    let graph = in_tree("graphs/edge_hub.yaml");
    let cases: [(&[&str], i32, &str); 5] = [
        (&["nowhere.toml"], 2, "could not read nowhere.toml"),
        (&[&graph, "--rate", "100000", "--duration", "9s"], 2, "more than 500000"),
        (&[&smoke, "--data-dir", "/proc/nowhere"], 74, "could not make a folder"),
        (&[&smoke, "--duration", "1ms"], 2, "at least 1s"),
        (&[&smoke, "--rounds", "0"], 2, "--rounds"),
    ];
    for (arguments, code, why) in cases {
        let output = bench(&dir, arguments);
        let said = String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(why), "{arguments:?}: {said}");
    }
}

#[test]
fn dead_letters_are_read_from_the_journals() {
    let dir = tempfile::tempdir().unwrap();
    let graph = in_tree("graphs/edge_hub.yaml");
    let scenario = format!(
        "why = \"what is no JSON becomes a dead letter\"\ngraph = \"{graph}\"\nsim = {{ duration = \"2s\", warmup = \"500ms\" }}\n\
         load = {{ into = \"edge.feed\", rate = \"100/s\", bytes = \"uniform(10, 20)\" }}\n[expect]\n\"dead_lettered\" = \">= 1\"\n"
    );
    fs::write(dir.path().join("noise.toml"), scenario).unwrap();
    let file = result(&dir, &["noise.toml", "--rounds", "1", "--json"]);
    let all = &file.scenarios[0].phases["all"];
    assert!(all.dead_lettered > 100 && all.dead_lettered == all.accepted, "{all:?}");
}
