//! Checks what stands in for nodes: that it is needed, what it costs, and what comes out of it.

use super::address::Target;
use super::check::Checker;
use super::check_load::read_size;
use super::error::ScenarioError;
use super::model::{Made, StandIn};
use super::shape::{Named, Text};
use super::spec::StandInText;
use super::value::{self, ValueError};

/// One packet out for each packet in, in parts per million.
const ONE_PPM: u64 = 1_000_000;
/// Most packets that a stand-in may give for one.
const OUTPUT_MAX: f64 = 100.0;

impl Checker<'_> {
    /// What runs in place of nodes, in order of their addresses.
    pub fn stand_ins(&mut self, texts: Named<StandInText>) -> Vec<StandIn> {
        let read = |(address, text): (Text, Option<StandInText>)| self.stand_in(&address, text?);
        let mut stand_ins: Vec<StandIn> = texts.0.into_iter().filter_map(read).collect();
        stand_ins.sort_by(|a, b| a.node.cmp(&b.node));
        stand_ins
    }

    fn stand_in(&mut self, address: &Text, text: StandInText) -> Option<StandIn> {
        let node = match self.keep(self.world.find(&address.value, &address.at))? {
            Target::Node(node) => node,
            other => {
                self.wrong_target(address, &other, "a stand-in", "a node, such as \"edge.camera\"");
                return None;
            }
        };
        if node.plugin_is_here {
            self.contradiction(
                format!("`{}` needs no stand-in: this binary holds its plugin", address.value),
                &address.at,
                "take it out; a node that is here runs as it is",
            );
        }
        let StandInText { service, output, json, bytes, .. } = &text;
        if !node.handles && (service.is_some() || output.is_some() || json.is_some() || bytes.is_some()) {
            let instead = if node.source { "its load replaces it" } else { "a recording sink replaces it" };
            self.contradiction(
                format!("`{}` is {}, and {instead}", address.value, Target::Node(node.clone()).words()),
                &text.at,
                format!(
                    "write [stand_in.\"{}\"] without keys; what a sink costs is a fault, `sink.slow`",
                    address.value
                ),
            );
        }
        let service = service.as_ref().and_then(|service| self.value("service", service, value::dist));
        let output_ppm = output.as_ref().map_or(Some(ONE_PPM), |output| {
            let read = read_output(&output.value);
            self.keep(read.map_err(|error| ScenarioError::value("output", error, &output.at)))
        });
        let content = match (json, bytes) {
            (Some(fields), None) => self.template(fields).map(Made::Json),
            (None, Some(size)) => self.value("bytes", size, read_size).map(Made::Bytes),
            (None, None) => None,
            (Some(_), Some(bytes)) => {
                self.contradiction("the stand-in says twice what comes out", &bytes.at, "keep one of `json`, `bytes`");
                None
            }
        };
        Some(StandIn { node: address.value.clone(), service, output_ppm: output_ppm?, content })
    }
}

/// Packets out for a million packets in.
fn read_output(written: &serde_json::Value) -> Result<u64, ValueError> {
    match written.as_f64() {
        Some(ratio) if (0.0..=OUTPUT_MAX).contains(&ratio) => Ok((ratio * ONE_PPM as f64).round() as u64),
        _ => Err(ValueError {
            found: written.to_string(),
            wanted: "a number of packets",
            help: "write packets out for each one in, from 0 to 100: 0.3, or 2".to_owned(),
        }),
    }
}
