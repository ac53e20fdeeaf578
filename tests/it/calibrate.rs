//! `calibrate`: what nodes cost is measured, written, and charged by the simulation.
#![expect(clippy::disallowed_methods, reason = "tests make real files and run the binary")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use seaworthy_reports::result::Figure;

fn seaworthy(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seaworthy"));
    command.args(arguments).current_dir(dir).output().expect("the binary is built with its tests")
}

fn in_tree(path: &str) -> String {
    format!("{}/scenarios/{path}", env!("CARGO_MANIFEST_DIR"))
}

/// The day of the calibration and the p50 of a short run with these lines added.
#[track_caller]
fn simulated(dir: &Path, more: &str) -> (Option<String>, f64) {
    let text =
        format!("extends = \"{}\"\nsim = {{ duration = \"4s\", warmup = \"1s\" }}\n{more}", in_tree("smoke.toml"));
    fs::write(dir.join("s.toml"), text).expect("a temporary directory takes files");
    let output = seaworthy(dir, &["sim", "s.toml", "--seed", "1", "--json", "--out", "out"]);
    let said = String::from_utf8_lossy(&output.stderr);
    let file = seaworthy_reports::read::parse(&String::from_utf8_lossy(&output.stdout));
    let file = file.unwrap_or_else(|error| panic!("{error}: {said}"));
    let scenario = &file.scenarios[0];
    let Figure::V { v } = &scenario.phases["all"].latency_ms.p50 else { panic!("{scenario:?}") };
    (scenario.cpu.clone(), v.0)
}

#[test]
fn nodes_are_measured_and_a_simulation_charges_it() {
    let dir = tempfile::tempdir().unwrap();
    let graph = in_tree("graphs/edge_hub.yaml");
    let output = seaworthy(dir.path(), &["calibrate", &graph, "--rounds", "3", "--out", "edge_hub.cpu.toml"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("edge.strong") && said.contains("us a packet"), "{said}");
    let text = fs::read_to_string(dir.path().join("edge_hub.cpu.toml")).unwrap();
    assert!(text.contains("[nodes.\"edge.strong\"]\npacket_ns = "), "{text}");
    assert!(!text.contains("edge.feed"), "a source is no node that processes: {text}");
    let day = text.lines().find_map(|line| line.strip_prefix("measured = \"")).map(|rest| rest.trim_end_matches('"'));

    let (measured, usual) = simulated(dir.path(), "cpu = \"edge_hub.cpu.toml\"\n");
    assert_eq!(measured.as_deref(), day);
    let slow = "measured = \"2026-01-01\"\n[nodes.\"edge.strong\"]\npacket_ns = 4000000\nkib_ns = 0\n";
    fs::write(dir.path().join("slow.cpu.toml"), slow).unwrap();
    let (measured, slow) = simulated(dir.path(), "cpu = \"slow.cpu.toml\"\n");
    assert_eq!(measured.as_deref(), Some("2026-01-01"));
    assert!(slow >= usual + 3.0, "4 ms a packet are charged: {usual} ms, then {slow} ms");
    assert_eq!(simulated(dir.path(), "").0, None);
}

#[test]
fn a_calibration_that_does_not_fit_is_told() {
    let dir = tempfile::tempdir().unwrap();
    for (text, why) in [
        ("measured = 7\n", "invalid type"),
        ("measured = \"d\"\n[nodes.\"moon.base\"]\npacket_ns = 1\nkib_ns = 1\n", "no node `moon.base`"),
        ("measured = \"d\"\n[nodes.\"edge.strong\"]\npacket_ns = -1\nkib_ns = 1\n", "invalid value"),
    ] {
        fs::write(dir.path().join("c.toml"), text).unwrap();
        let scenario = format!("extends = \"{}\"\ncpu = \"c.toml\"\n", in_tree("smoke.toml"));
        fs::write(dir.path().join("s.toml"), scenario).unwrap();
        let output = seaworthy(dir.path(), &["sim", "s.toml"]);
        let said = String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(why) && said.contains("c.toml"), "{said}");
    }
    let output = seaworthy(dir.path(), &["calibrate", "nowhere.yaml"]);
    assert_eq!(output.status.code(), Some(2));
    let output =
        seaworthy(dir.path(), &["calibrate", &in_tree("graphs/edge_hub.yaml"), "--rate", "1", "--rounds", "1"]);
    assert_eq!(output.status.code(), Some(4), "ten packets are too few");
    assert!(!dir.path().join("edge_hub.cpu.toml").exists());
}
