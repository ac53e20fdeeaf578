//! A binary with a node of its own, and all of the command around it.
//!
//! ```text
//! cargo run --example own_node -- run my_graph.yaml
//! ```
//! where a node of the graph says `{id: celsius, kind: node, plugin: "own:celsius"}`. A packet on which the node fails, or
//! panics, becomes a dead letter; the node goes on with the next one.

use std::process::ExitCode;

use seaworthy_engine::node::{Draft, Node, NodeError, Output};
use seaworthy_engine::packet::Packet;

/// Turns `{"fahrenheit": 212}` into `{"celsius":100.0}`.
struct Celsius;

impl Node for Celsius {
    fn process(&mut self, packet: &Packet, out: &mut Output) -> Result<(), NodeError> {
        let reading = packet.json().and_then(|json| json["fahrenheit"].as_f64()).expect("a reading in fahrenheit");
        let payload = format!("{{\"celsius\":{:?}}}", (reading - 32.0) / 1.8).into();
        out.emit(Draft { payload, ..Draft::of(packet) });
        Ok(())
    }
}

/// The node takes no configuration.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {}

fn main() -> ExitCode {
    let mut registry = seaworthy::std_registry();
    registry.version(env!("CARGO_PKG_VERSION"));
    registry.node::<Config>("own:celsius", |_| Ok(()), |_, _| Ok(Box::new(Celsius)));
    seaworthy::main(registry)
}
