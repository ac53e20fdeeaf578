//! What a person reads when a file is wrong, and what the loader does with files that are no files at all.

use miette::{GraphicalReportHandler, GraphicalTheme};
use proptest::prelude::*;
use seaworthy_engine::env::Fut;
use seaworthy_engine::graph::Phase;
use seaworthy_engine::load::{Loaded, load_any};
use seaworthy_engine::node::{Entry, NodeError, Output, Registry, Resume};
use seaworthy_engine::packet::Packet;
use serde::Deserialize;
use std::io;

struct Nothing;

impl seaworthy_engine::node::Source for Nothing {
    fn start(&mut self, _: Resume) -> Fut<'_, Result<(), NodeError>> {
        Box::pin(async { Ok(()) })
    }
    fn next(&mut self, _: usize) -> Fut<'_, Result<Option<Vec<Entry>>, NodeError>> {
        Box::pin(async { Ok(None) })
    }
}

impl seaworthy_engine::node::Node for Nothing {
    fn process(&mut self, _: &Packet, _: &mut Output) -> Result<(), NodeError> {
        Ok(())
    }
}

impl seaworthy_engine::node::Sink for Nothing {
    fn write<'a>(&'a mut self, _: &'a [Packet]) -> Fut<'a, Vec<Result<(), NodeError>>> {
        Box::pin(async { Vec::new() })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Path {
    #[serde(rename = "path")]
    _path: String,
}

fn registry() -> Registry {
    let mut registry = Registry::new();
    registry.source::<Path>("my:source", |_| Ok(()), |_, _| Ok(Box::new(Nothing)));
    registry.node::<serde_json::Value>("my:filter", |_| Ok(()), |_, _| Ok(Box::new(Nothing)));
    registry.sink::<Path>("my:sink", |_| Ok(()), |_, _| Ok(Box::new(Nothing)));
    registry
}

fn load(files: &[(&str, &str)]) -> Loaded {
    let read = |path: &str| {
        let file = files.iter().find(|(name, _)| *name == path);
        file.map(|(_, text)| (*text).to_owned()).ok_or_else(|| io::ErrorKind::NotFound.into())
    };
    load_any(files[0].0, &read, &registry(), Phase::Run)
}

fn rendered(files: &[(&str, &str)]) -> String {
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(100);
    let mut text = String::new();
    for diagnostic in load(files).diagnostics {
        handler.render_report(&mut text, &diagnostic).expect("writing to a String can't fail");
        text.push('\n');
    }
    text
}

const GRAPH: &str = r#"version: 2
nodes:
  - {id: feed, kind: source, plugin: "my:source", config: {pth: quakes.ndjson}}
  - {id: strong, kind: node, plugin: "my:fliter", config: {__runtime__: {inbox_max: 0}}}
  - {id: seen, kind: node, plugin: "camera.Detector"}
  - {id: out, kind: sink, plugin: "my:sink", config: {path: out.ndjson}}
  - {id: out, kind: skin, plugin: "my:sink", config: {path: out.ndjson}}
edges:
  - {from: feed, to: strong}
  - {from: strong, to: seen}
  - {from: seen, to: strong}
  - {form: seen, to: outt}
"#;

#[test]
fn a_graph_with_everything_wrong() {
    insta::assert_snapshot!(rendered(&[("edge.yaml", GRAPH)]));
}

#[test]
fn a_file_that_is_not_yaml() {
    insta::assert_snapshot!(rendered(&[("edge.yaml", "version: 2\nnodes:\n  - {id: a, kind: source\nedges: []\n")]));
}

#[test]
fn processes_whose_ends_do_not_meet() {
    let process = "version: 1\nprocesses: [{id: edge, graph: edge.yaml}, {id: hub, graph: hub.yaml}]\n\
        channels: [{id: uplink, kind: sqlite_queue, path: q.db}]\nlinks: [{producer: edge, consumer: hub, channel: uplink}]\n";
    let edge = "version: 2\nnodes:\n  - {id: feed, kind: source, plugin: \"my:source\", config: {path: a}}\n  \
        - {id: up, kind: sink, plugin: \"std:channel\", config: {channel: upling}}\nedges: [{from: feed, to: up}]\n";
    insta::assert_snapshot!(rendered(&[("p.yaml", process), ("edge.yaml", edge)]));
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let loaded = load(&[("any.yaml", &String::from_utf8_lossy(&bytes))]);
        prop_assert_eq!(loaded.planned.is_none(), loaded.is_refused());
    }

    #[test]
    fn any_damage_is_rendered(at in 0usize..600, cut in 0usize..60, paste in "[ -~\n\u{e9}\u{1f30a}]{0,9}") {
        let at = at.min(GRAPH.len());
        let mut text = GRAPH.to_owned();
        text.replace_range(at..(at + cut).min(GRAPH.len()), &paste);
        prop_assert!(!rendered(&[("damaged.yaml", &text)]).is_empty(), "this graph has more errors than one cut removes");
    }
}
