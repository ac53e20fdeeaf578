//! Exits that only a binary with faulty plugins can end with: 5, for a node that is another one in each process, and 70, for
//! a plugin that panics where nothing catches it. This program is that binary, and the test of it.

use std::path::Path;
use std::process::{Command, ExitCode, Output};

use seaworthy_engine::node::{Draft, Node, NodeError, Output as Out};
use seaworthy_engine::packet::Packet;

/// Says which process it is in.
struct Told;

impl Node for Told {
    fn process(&mut self, packet: &Packet, out: &mut Out) -> Result<(), NodeError> {
        out.emit(Draft { payload: format!("{{\"process\":{}}}", std::process::id()).into(), ..Draft::of(packet) });
        Ok(())
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {}

fn main() -> ExitCode {
    // `gate` runs itself again in a second process, as `elsewhere`.
    if std::env::args().nth(1).is_some_and(|first| first == "gate" || first == "elsewhere") {
        let mut registry = seaworthy::std_registry();
        registry.node::<Config>("bad:told", |_| Ok(()), |_, _| Ok(Box::new(Told)));
        registry.node::<Config>("bad:panics", |_| panic!("a plugin's check panics"), |_, _| Ok(Box::new(Told)));
        return seaworthy::main(registry);
    }
    check("bad:told", 5, "crash seed 1: trace");
    check("bad:panics", 70, "a plugin's check panics");
    println!("test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
    ExitCode::SUCCESS
}

/// Puts the node into a graph of two processes, and the graph through the gate.
fn check(plugin: &str, code: i32, why: &str) {
    let dir = tempfile::tempdir().expect("tests have a temporary directory");
    let process = "version: 1\nprocesses: [{id: edge, graph: edge.yaml}, {id: hub, graph: hub.yaml}]\n\
                   channels: [{id: up, kind: journal}]\nlinks: [{producer: edge, consumer: hub, channel: up}]\n";
    let edge = format!(
        "version: 2\nnodes:\n  - {{id: feed, kind: source, plugin: \"std:ndjson_source\", config: {{path: rows.ndjson, id: id}}}}\n  \
         - {{id: node, kind: node, plugin: \"{plugin}\"}}\n  - {{id: to, kind: sink, plugin: \"std:channel\", config: {{channel: up}}}}\n\
         edges: [{{from: feed, to: node}}, {{from: node, to: to}}]\n"
    );
    let hub = "version: 2\nnodes:\n  - {id: from, kind: source, plugin: \"std:channel\", config: {channel: up}}\n  \
               - {id: out, kind: sink, plugin: \"std:ndjson_sink\", config: {path: out.ndjson}}\nedges: [{from: from, to: out}]\n";
    let crash = "why = \"a node that is another one each time\"\ngraph = \"process.yaml\"\nseeds = { pr = \"1..2\" }\n\
                 sim = { duration = \"3s\", warmup = \"500ms\" }\nload = { into = \"edge.feed\", rate = \"50/s\", json = { a = \"uniform(1, 6)\" } }\n\
                 [faults.crash]\nkind = \"host.crash\"\non = \"hub\"\nat = \"1s\"\n[expect]\n\"lost\" = \"== 0\"\n";
    let files = [
        ("process.yaml", process),
        ("edge.yaml", &edge),
        ("hub.yaml", hub),
        ("scenarios/crash.toml", &crash.replace("process.yaml", "../process.yaml")),
    ];
    files.iter().for_each(|(name, text)| write(&dir.path().join(name), text));
    let own = std::env::current_exe().expect("a running program is somewhere");
    let Output { status, stdout, stderr } =
        Command::new(own).arg("gate").current_dir(dir.path()).output().expect("it runs itself");
    let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert_eq!(status.code(), Some(code), "{plugin}: {said}");
    assert!(said.contains(why), "{plugin}: {said}");
    if code == 5 {
        let result = read(&dir.path().join("out/gate/result.json"));
        assert!(result.contains("\"step\": \"determinism\""), "{result}");
        assert!(read(&dir.path().join("out/gate/metrics.prom")).contains("seaworthy_all_passed 0\n"));
    }
}

#[expect(clippy::disallowed_methods, reason = "tests make real folders")]
fn write(path: &Path, text: &str) {
    let folder = path.parent().expect("it lies in a folder");
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(path, text))
        .expect("a temporary directory takes files");
}

#[expect(clippy::disallowed_methods, reason = "tests read real files")]
fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
