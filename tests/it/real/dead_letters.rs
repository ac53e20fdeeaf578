//! What a dead letter says, as `seaworthy queue export --dead-letters` shows it, checked against its schema.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests of real processes read and write real files; a failure is the test\'s"
)]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::own_node::binary;
use super::run::Running;

const GRAPH: &str = "version: 2
nodes:
  - {id: feed, kind: source, plugin: \"std:ndjson_source\", config: {path: in.ndjson, key: site}}
  - {id: warm, kind: node, plugin: \"std:filter\", config: {where: \"payload.fahrenheit > 0\"}}
  - {id: celsius, kind: node, plugin: \"own:celsius\"}
  - {id: out, kind: sink, plugin: \"std:ndjson_sink\", config: {path: out.ndjson}}
edges: [{from: feed, to: warm}, {from: feed, to: celsius}, {from: celsius, to: out}, {from: warm, to: out}]
";

fn exported(dir: &Path, more: &[&str]) -> Vec<Value> {
    let seaworthy = Path::new(env!("CARGO_BIN_EXE_seaworthy"));
    let mut command = Command::new(seaworthy);
    command.args(["queue", "export"]).arg(dir).arg("--dead-letters").args(more);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let schema = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schema/dlq.v1.schema.json"));
    let validator = jsonschema::validator_for(&serde_json::from_str(&schema.unwrap()).unwrap()).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for line in &lines {
        let errors: Vec<String> = validator.iter_errors(line).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}\n{line:#}");
    }
    assert!(!validator.is_valid(&serde_json::json!({"specversion": "1.0"})));
    lines
}

#[test]
fn a_dead_letter_says_what_failed_on_what_and_where_it_came_from() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("g.yaml"), GRAPH).unwrap();
    let lines = [
        "{\"site\": \"a\", \"fahrenheit\": 32}",
        "{\"site\": \"b\", \"kelvin\": 1.10}",
        "{\"site\": \"b\", \"kelvin\": 2}",
    ];
    fs::write(path("in.ndjson"), lines.join("\n")).unwrap();
    let mut command = Command::new(binary());
    command.current_dir(dir.path()).args(["run", "g.yaml"]);
    let mut running = Running::start(command);
    assert_eq!(running.code(), Some(0), "{}", running.said());

    let letters = exported(&path("data/g"), &[]);
    let panics: Vec<&Value> = letters.iter().filter(|letter| letter["data"]["failure"]["node"] == "celsius").collect();
    let [first, second] = panics[..] else { panic!("{letters:#?}") };
    assert_eq!((&first["source"], &first["type"]), (&"/g/celsius".into(), &"seaworthy.dlq.v1".into()));
    assert_ne!(first["id"], second["id"]);
    let data = &first["data"];
    assert_eq!((&data["packet"]["payload"], &data["packet"]["key"]), (&lines[1].into(), &"b".into()));
    // printf '%s' '{"site": "b", "kelvin": 1.10}' | sha256sum
    let sha256 = "901bfe7af7764963165beec6a3921974a19cd6cbaa88ff07c73e1ac657726728";
    assert!(data["packet"]["sha256"].as_str().unwrap().starts_with(sha256), "{data:#}");
    assert_eq!((&data["cursor"]["input"], &data["cursor"]["seq"]), (&"source/feed".into(), &2.into()));
    let failure = &data["failure"];
    assert_eq!((&failure["class"], &failure["retryable"]), (&"plugin.panic".into(), &false.into()));
    assert_eq!(
        (&failure["plugin"], &failure["plugin_version"]),
        (&"own:celsius".into(), &env!("CARGO_PKG_VERSION").into())
    );
    assert_eq!((&failure["attempts"], &failure["first_unix_ns"]), (&1.into(), &failure["last_unix_ns"]));
    assert_eq!(failure["fingerprint"], second["data"]["failure"]["fingerprint"]);
    assert_eq!((&data["runtime"]["process"], &data["redrive"]["state"]), (&"g".into(), &"parked".into()));
    assert_ne!(data["runtime"]["graph_hash"], "0000000000000000");
    assert_eq!((&data["history"][0]["by"], &data["history"][0]["state"]), (&"celsius".into(), &"parked".into()));
    let lsn = exported(&path("data/g"), &["--to", "0"]);
    assert!(lsn.is_empty(), "{lsn:?}");
}
