//! A binary with a node of its own (`examples/own_node.rs`), with a packet on which that node panics.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests of real processes read and write real files; a failure is the test\'s"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::bad_input::{processes, report};
use super::frames;
use super::run::Running;

const GRAPH: &str = "version: 2
nodes:
  - {id: feed, kind: source, plugin: \"std:ndjson_source\", config: {path: in.ndjson}}
  - {id: celsius, kind: node, plugin: \"own:celsius\"}
  - {id: out, kind: sink, plugin: \"std:ndjson_sink\", config: {path: out.ndjson}}
edges: [{from: feed, to: celsius}, {from: celsius, to: out}]
";

/// The example's binary. `cargo test` builds it, `cargo test --test it` doesn't, and would find an old one.
pub(crate) fn binary() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let target = Path::new(env!("CARGO_BIN_EXE_seaworthy")).parent().unwrap();
        let mut build = Command::new(env!("CARGO"));
        // All packages, as the tests are built: another selection would mean other features, and all of it twice.
        build
            .args(["build", "--quiet", "--workspace", "--example", "own_node"])
            .current_dir(env!("CARGO_MANIFEST_DIR"));
        // Nor with what cargo tells this test: build scripts that look at it would run again, and all above them.
        let told = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        told.filter(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")).for_each(|name| {
            build.env_remove(name);
        });
        if target.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success(), "{build:?}");
        target.join("examples/own_node")
    });
    built.clone()
}

#[test]
fn a_panicking_packet_becomes_a_dead_letter() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("g.yaml"), GRAPH).unwrap();
    fs::write(path("in.ndjson"), "{\"fahrenheit\": 212}\n{\"kelvin\": 0}\n{\"fahrenheit\": 32}\n").unwrap();
    let mut command = Command::new(binary());
    command.current_dir(dir.path()).args(["run", "g.yaml", "--report", "result.json"]);
    let mut running = Running::start(command);
    assert_eq!(running.code(), Some(0), "{}", running.said());
    assert_eq!(fs::read_to_string(path("out.ndjson")).unwrap(), "{\"celsius\":100.0}\n{\"celsius\":0.0}\n");
    let letters = frames::read(&path("data/g")).dead_letters;
    let [(node, class, message)] = letters.as_slice() else { panic!("{letters:?}") };
    assert_eq!((node.as_str(), class.as_str()), ("celsius", "plugin.panic"));
    assert!(message.contains("a reading in fahrenheit"), "{message}");
    let report = report(&path("result.json"));
    assert_eq!(processes(&report)[0]["counts"]["events"]["dead_lettered"], 1);
    // The ledger takes the engine's word for a panic, and judges the rest.
    let all = &report["scenarios"][0]["phases"]["all"];
    assert_eq!((&all["dead_lettered"], &all["visible"], &all["lost"]), (&1.into(), &2.into(), &0.into()), "{report}");
    assert_eq!(report["verdict"], "pass");
}
