//! A run as a trace in the Chrome format, which Perfetto and `chrome://tracing` show: a track a host, one for the faults, and
//! an arrow of time a packet from its arrival to each sink.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::story::Line;

/// The track of faults and phases.
const WORLD: u64 = 1;
/// Packets that are drawn at most; the first ones.
const PACKETS: usize = 5_000;

/// The document, from the lines of a story whose trace was kept. Times are µs, as the format wants them.
#[must_use]
pub fn document(lines: &[Line]) -> Value {
    let mut hosts: BTreeMap<&str, u64> = BTreeMap::new();
    for line in lines {
        if let Some(host) = &line.host {
            let next = hosts.len() as u64 + 2;
            hosts.entry(host).or_insert(next);
        }
    }
    let us = |ns: u64| ns as f64 / 1e3;
    let end_ns = lines.last().map_or(0, |line| line.at_ns);
    let track = |host: &Option<String>| host.as_deref().map_or(WORLD, |host| hosts[host]);
    let mut events = vec![named(WORLD, "faults")];
    events.extend(hosts.iter().map(|(host, track)| named(*track, host)));
    let span = |name: &str, track: u64, from_ns: u64, to_ns: u64, args: Value| json!({"name": name, "ph": "X", "ts": us(from_ns), "dur": us(to_ns.saturating_sub(from_ns)), "pid": 1, "tid": track, "args": args});
    let mut up: BTreeMap<u64, (u64, String)> = BTreeMap::new();
    let mut began: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    let mut due: BTreeMap<&str, u64> = BTreeMap::new();
    let mut drawn = 0;
    for line in lines {
        let track = track(&line.host);
        match (line.what.as_str(), &line.packet) {
            ("up", None) => {
                up.insert(track, (line.at_ns, line.more.clone()));
            }
            ("down", None) => {
                if let Some((from_ns, life)) = up.remove(&track) {
                    events.push(span(&life, track, from_ns, line.at_ns, json!({"ended": line.more})));
                }
            }
            ("fault", None) => began.entry(&line.place).or_default().push(line.at_ns),
            ("heal", None) => {
                let from_ns = began.get_mut(line.place.as_str()).and_then(Vec::pop).unwrap_or(line.at_ns);
                events.push(span(&line.place, WORLD, from_ns, line.at_ns, json!({"what": line.more})));
            }
            ("due", Some(packet)) => {
                due.insert(packet, line.at_ns);
            }
            ("visible", Some(packet)) if drawn < PACKETS => {
                if let Some(from_ns) = due.get(packet.as_str()) {
                    drawn += 1;
                    let event = |phase: &str, ns: u64| json!({"name": packet, "cat": line.place, "ph": phase, "id": drawn, "ts": us(ns), "pid": 1, "tid": track});
                    events.extend([event("b", *from_ns), event("e", line.at_ns)]);
                }
            }
            ("VIOLATION" | "phase" | "ended" | "disk", None) => {
                let name = if line.place.is_empty() { &line.what } else { &line.place };
                events.push(json!({"name": name, "ph": "i", "s": "g", "ts": us(line.at_ns), "pid": 1, "tid": track, "args": {"what": line.more}}));
            }
            _ => {}
        }
    }
    events.extend(up.into_iter().map(|(track, (from_ns, life))| span(&life, track, from_ns, end_ns, json!({}))));
    json!({"displayTimeUnit": "ms", "traceEvents": events})
}

fn named(track: u64, name: &str) -> Value {
    json!({"name": "thread_name", "ph": "M", "pid": 1, "tid": track, "args": {"name": name}})
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A crash of the hub, and a packet that waits for it.
    fn crash() -> Vec<Line> {
        let line = |at_ns, host: Option<&str>, what: &str, place: &str, packet: Option<&str>| Line {
            at_ns,
            host: host.map(str::to_owned),
            what: what.to_owned(),
            place: place.to_owned(),
            packet: packet.map(str::to_owned),
            number: None,
            to: None,
            more: String::new(),
        };
        vec![
            line(0, Some("hub"), "up", "", None),
            line(1_000, Some("edge"), "due", "edge.feed", Some("q")),
            line(2_000, None, "fault", "crash", None),
            line(2_000, Some("hub"), "down", "", None),
            line(3_000, None, "heal", "crash", None),
            line(3_000, Some("hub"), "up", "", None),
            line(9_000, Some("hub"), "visible", "hub.raw", Some("q")),
            line(9_500, None, "VIOLATION", "lost", None),
        ]
    }

    #[test]
    fn the_trace_of_a_crash() {
        let document = document(&crash());
        let events = document["traceEvents"].as_array().unwrap().iter().map(|event| format!("{event}\n"));
        insta::assert_snapshot!("trace_crash", events.collect::<String>());
    }

    #[test]
    fn lives_faults_and_packets_have_their_spans() {
        let document = document(&crash());
        let events = document["traceEvents"].as_array().unwrap();
        let of = |phase: &str| events.iter().filter(|event| event["ph"] == phase).collect::<Vec<_>>();
        assert_eq!((of("M").len(), of("X").len(), of("b").len(), of("e").len()), (3, 3, 1, 1));
        assert_eq!((of("b")[0]["ts"].as_f64(), of("e")[0]["ts"].as_f64()), (Some(1.0), Some(9.0)));
        assert!(of("X").iter().all(|span| span["dur"].as_f64() >= Some(0.0)));
    }
}
