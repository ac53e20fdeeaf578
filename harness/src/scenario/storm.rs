//! Every fault that a graph can meet: each kind on each link, host, channel, node, sink and source, with parameters that
//! show what it does. What `seaworthy storm` tries, and what says that no kind is forgotten.

use std::fmt::Write;

use super::address::World;
use super::kinds::{ALL, FAULTS, On};

/// One fault, alone, at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The kind.
    pub kind: &'static str,
    /// The place, as scenarios write it.
    pub on: String,
    /// The fault's table, as a scenario has it, with what must go wrong beside it to be felt.
    pub faults: String,
    /// What a scenario must allow, as lines of `[expect]`.
    pub expect: &'static str,
}

impl Case {
    /// A file's name for it: `net.cut-edge-hub`.
    #[must_use]
    pub fn file_stem(&self) -> String {
        let plain = |c: char| if c.is_alphanumeric() || c == '_' { c } else { '-' };
        let place: String = self.on.replace("<->", "-").replace(ALL, "all").chars().map(plain).collect();
        format!("{}-{place}", self.kind.replace('.', "_"))
    }
}

/// Parameters of a kind beyond `kind` and `on`, for a run of 10 s.
///
/// # Panics
/// When there is no such kind.
#[must_use]
pub fn example(kind: &str) -> &'static str {
    match kind {
        "net.cut" | "net.swizzle" | "disk.torn" | "disk.lying_sync" | "host.mixed_versions" => {
            "at = \"3s\"\nfor = \"3s\"\n"
        }
        "net.flap" => "at = \"3s\"\nfor = \"4s\"\ndown = \"300ms\"\nup = \"uniform(100ms, 400ms)\"\n",
        "net.latency" | "ack.delay" | "publish.delay" | "disk.latency" | "node.slow" | "sink.slow" => {
            "at = \"3s\"\nfor = \"4s\"\nadd = \"uniform(5ms, 50ms)\"\n"
        }
        "net.loss" => "at = \"3s\"\nfor = \"4s\"\nratio = \"5%\"\n",
        "net.bandwidth" => "at = \"3s\"\nfor = \"4s\"\nrate = \"500kbit/s\"\n",
        "net.reset" | "net.half_open" | "disk.rot" | "host.crash" | "host.power_cut" | "host.stop" | "host.wipe" => {
            "at = \"3s\"\n"
        }
        "host.rolling_restart" => "at = \"2s\"\nrestart = \"300ms\"\nup = \"300ms\"\n",
        "net.short_io" => "at = \"3s\"\nfor = \"2s\"\nbytes = \"64\"\n",
        "ack.duplicate" | "ack.reorder" | "publish.duplicate" => "at = \"3s\"\nfor = \"4s\"\nratio = \"30%\"\n",
        "ack.lose" | "delivery.duplicate" => "at = \"3s\"\nfor = \"4s\"\nratio = \"2%\"\n",
        "disk.full" => "at = \"2s\"\nfor = \"5s\"\n",
        "disk.quota" => "at = \"2s\"\nfor = \"5s\"\nbytes = \"1MiB\"\n",
        "disk.stall" | "host.pause" => "at = \"3s\"\nfor = \"2s\"\n",
        "disk.throttle" => "at = \"3s\"\nfor = \"4s\"\nrate = \"1MiB/s\"\n",
        "disk.eio" => "at = \"3s\"\nfor = \"2s\"\nop = \"write\"\nratio = \"1%\"\n",
        "host.restart_storm" => "at = \"3s\"\nfor = \"4s\"\noperation = 40\n",
        "clock.skew" => "at = \"3s\"\nfor = \"4s\"\nby = \"-1h\"\n",
        "clock.drift" => "at = \"3s\"\nfor = \"4s\"\nby = \"20%\"\n",
        "clock.step" => "at = \"3s\"\nby = \"-10m\"\n",
        "cpu.starve" => "at = \"3s\"\nfor = \"4s\"\nratio = \"80%\"\n",
        "node.panic" | "load.poison" | "sink.reject" => "at = \"3s\"\nfor = \"4s\"\nratio = \"1%\"\n",
        "load.burst" => "at = \"3s\"\nfor = \"3s\"\n",
        "sink.error" => "at = \"3s\"\nfor = \"2s\"\nratio = \"30%\"\n",
        other => unreachable!("`{other}` is in the table of kinds and has no example"),
    }
}

/// Every kind at every place of the world that can bear it, in order of the table of kinds.
#[must_use]
pub fn cases(world: &World) -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in FAULTS {
        for on in places(world, kind.on) {
            let bears = match kind.id {
                "host.wipe" => !world.keeps(&on),
                "publish.delay" | "publish.duplicate" => world.is_fed_from_afar(&on),
                _ => true,
            };
            if !bears {
                continue;
            }
            let mut faults = format!("[faults.it]\nkind = \"{}\"\non = \"{on}\"\n{}", kind.id, example(kind.id));
            beside(&mut faults, world, kind.id, &on);
            let expect = match kind.id {
                "node.panic" | "load.poison" | "sink.reject" => "\"dead_lettered\" = \">= 0\"\n",
                "host.wipe" => "\"lost.reported\" = \">= 0\"\n",
                _ => "",
            };
            cases.push(Case { kind: kind.id, on, faults, expect });
        }
    }
    cases
}

/// What must go wrong at the same time for a fault to be felt.
fn beside(faults: &mut String, world: &World, kind: &str, host: &str) {
    let more = match kind {
        "disk.torn" => format!("[faults.cut]\nkind = \"host.power_cut\"\non = \"{host}\"\nat = \"5s\"\n"),
        // Cut off, a host must keep what it has.
        "disk.full" | "disk.quota" if !world.links(Some(host)).is_empty() => {
            format!("[faults.away]\nkind = \"net.swizzle\"\non = \"{host}\"\nat = \"2s\"\nfor = \"5s\"\n")
        }
        _ => return,
    };
    let _ = write!(faults, "\n{more}");
}

fn places(world: &World, on: On) -> Vec<String> {
    let nodes = |wanted: fn(&super::address::WorldNode) -> bool| {
        let nodes = world.nodes.iter().filter(|node| wanted(node));
        nodes.map(|node| format!("{}.{}", node.host, node.node)).collect()
    };
    match on {
        On::Link => world.links(None).into_iter().map(|link| format!("{}<->{}", link.a, link.b)).collect(),
        On::Links if world.links(None).is_empty() => Vec::new(),
        On::Links | On::Hosts => vec![ALL.to_owned()],
        On::Host => world.hosts.clone(),
        On::Channel => world.lanes(),
        On::Node => nodes(|node| node.handles),
        On::Sink => nodes(|node| node.sink),
        On::Source => nodes(|node| node.source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::kinds;

    #[test]
    fn every_kind_has_an_example() {
        for kind in kinds::FAULTS {
            let example = example(kind.id);
            assert!(kind.needs.iter().all(|key| example.contains(&format!("{key} ="))), "{}: {example}", kind.id);
        }
    }
}
