//! A run and its twin as a trace in the Chrome format, which Perfetto and `chrome://tracing` show: a process each, in it a track a
//! host, one for the faults, and an arrow of time a packet from its arrival to each sink.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::story::Line;

/// The track of faults and phases.
const WORLD: u64 = 1;
/// Ways of packets to sinks that are drawn at most: those that the run lacks and its twin has, then the slowest.
const WAYS: usize = 2_000;

/// The document, from the lines of two stories whose traces were kept: those of a seed, and of the same without its faults, where it
/// has some. Times are virtual µs, as the format wants them.
#[must_use]
pub fn document(seed: u64, run: &[Line], twin: Option<&[Line]>) -> Value {
    let (ways, calm) = (Ways::of(run), twin.map(Ways::of));
    let drawn = ways.worth_drawing(calm.as_ref());
    let mut events = Vec::new();
    draw(&mut events, (1, &format!("seed {seed}")), run, &ways, &drawn);
    if let Some((twin, calm)) = twin.zip(calm) {
        draw(&mut events, (2, &format!("seed {seed} without its faults")), twin, &calm, &drawn);
    }
    json!({"displayTimeUnit": "ms", "traceEvents": events})
}

/// A packet and a sink that it comes to.
type To<'a> = (&'a str, &'a str);

/// When packets were due, and when they came to which sinks.
struct Ways<'a> {
    due: BTreeMap<&'a str, u64>,
    came: BTreeMap<To<'a>, Vec<u64>>,
}

impl<'a> Ways<'a> {
    fn of(lines: &'a [Line]) -> Self {
        let mut ways = Ways { due: BTreeMap::new(), came: BTreeMap::new() };
        for line in lines {
            match (line.what.as_str(), &line.packet) {
                ("due", Some(packet)) => {
                    ways.due.insert(packet, line.at_ns);
                }
                ("visible", Some(packet)) => ways.came.entry((packet, &line.place)).or_default().push(line.at_ns),
                _ => {}
            }
        }
        ways
    }

    fn worth_drawing(&self, calm: Option<&Ways<'a>>) -> BTreeSet<To<'a>> {
        let missing = calm.into_iter().flat_map(|calm| calm.came.keys()).filter(|to| !self.came.contains_key(*to));
        let took_ns = |to: &To<'_>, came: &[u64]| {
            let due_ns = self.due.get(to.0).copied()?;
            Some(came.last()?.saturating_sub(due_ns))
        };
        let mut slow: Vec<(Reverse<Option<u64>>, To<'a>)> =
            self.came.iter().map(|(to, came)| (Reverse(took_ns(to, came)), *to)).collect();
        slow.sort_unstable();
        missing.copied().chain(slow.into_iter().map(|(_, to)| to)).take(WAYS).collect()
    }
}

/// Draws one run as the process of that number and name.
fn draw(events: &mut Vec<Value>, (pid, name): (u64, &str), lines: &[Line], ways: &Ways<'_>, drawn: &BTreeSet<To<'_>>) {
    let mut hosts: BTreeMap<&str, u64> = BTreeMap::new();
    for line in lines {
        if let Some(host) = &line.host {
            let next = hosts.len() as u64 + 2;
            hosts.entry(host).or_insert(next);
        }
    }
    let us = |ns: u64| ns as f64 / 1e3;
    let end_ns = lines.last().map_or(0, |line| line.at_ns);
    let track = |host: Option<&str>| host.and_then(|host| hosts.get(host)).copied().unwrap_or(WORLD);
    let of_process = json!({"name": "process_name", "ph": "M", "pid": pid, "args": {"name": name}});
    let named = |track: u64, name: &str| json!({"name": "thread_name", "ph": "M", "pid": pid, "tid": track, "args": {"name": name}});
    events.extend([of_process, named(WORLD, "faults")]);
    events.extend(hosts.iter().map(|(host, track)| named(*track, host)));
    let span = |name: &str, track: u64, from_ns: u64, to_ns: u64, args: Value| json!({"name": name, "ph": "X", "ts": us(from_ns), "dur": us(to_ns.saturating_sub(from_ns)), "pid": pid, "tid": track, "args": args});
    let mut up: BTreeMap<u64, (u64, &str)> = BTreeMap::new();
    let mut began: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for line in lines.iter().filter(|line| line.packet.is_none()) {
        let track = track(line.host.as_deref());
        match line.what.as_str() {
            "up" => {
                up.insert(track, (line.at_ns, &line.more));
            }
            "down" => {
                if let Some((from_ns, life)) = up.remove(&track) {
                    events.push(span(life, track, from_ns, line.at_ns, json!({"ended": line.more})));
                }
            }
            "fault" => began.entry(&line.place).or_default().push(line.at_ns),
            "heal" => {
                let from_ns = began.get_mut(line.place.as_str()).and_then(Vec::pop).unwrap_or(line.at_ns);
                events.push(span(&line.place, WORLD, from_ns, line.at_ns, json!({"what": line.more})));
            }
            "VIOLATION" | "phase" | "ended" | "disk" => {
                let name = if line.place.is_empty() { &line.what } else { &line.place };
                events.push(json!({"name": name, "ph": "i", "s": "p", "ts": us(line.at_ns), "pid": pid, "tid": track, "args": {"what": line.more}}));
            }
            _ => {}
        }
    }
    events.extend(up.into_iter().map(|(track, (from_ns, life))| span(life, track, from_ns, end_ns, json!({}))));
    for (packet, sink) in drawn {
        let Some(due_ns) = ways.due.get(packet) else { continue };
        let track = track(sink.split_once('.').map(|(host, _)| host));
        // One that never came reaches to the end.
        let (name, came) = match ways.came.get(&(*packet, *sink)) {
            Some(came) => ((*packet).to_owned(), &came[..]),
            None => (format!("{packet} never came"), &[end_ns][..]),
        };
        for came_ns in came {
            // One a pair, in both processes: viewers pair by it.
            let id = events.len();
            let event = |phase: &str, ns: u64| json!({"name": name, "cat": sink, "ph": phase, "id": id, "ts": us(ns), "pid": pid, "tid": track});
            events.extend([event("b", *due_ns), event("e", *came_ns)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at_ns: u64, host: Option<&str>, what: &str, place: &str, packet: Option<&str>) -> Line {
        Line {
            at_ns,
            host: host.map(str::to_owned),
            what: what.to_owned(),
            place: place.to_owned(),
            packet: packet.map(str::to_owned),
            number: None,
            to: None,
            more: String::new(),
        }
    }

    /// A crash of the hub, a packet that waits for it, and one that it swallows.
    fn crash() -> Vec<Line> {
        vec![
            line(0, Some("hub"), "up", "", None),
            line(1_000, Some("edge"), "due", "edge.feed", Some("q")),
            line(1_500, Some("edge"), "due", "edge.feed", Some("r")),
            line(2_000, None, "fault", "crash", None),
            line(2_000, Some("hub"), "down", "", None),
            line(3_000, None, "heal", "crash", None),
            line(3_000, Some("hub"), "up", "", None),
            line(9_000, Some("hub"), "visible", "hub.raw", Some("q")),
            line(9_500, None, "VIOLATION", "lost", None),
        ]
    }

    fn calm() -> Vec<Line> {
        vec![
            line(0, Some("hub"), "up", "", None),
            line(1_000, Some("edge"), "due", "edge.feed", Some("q")),
            line(1_500, Some("edge"), "due", "edge.feed", Some("r")),
            line(1_600, Some("hub"), "visible", "hub.raw", Some("q")),
            line(1_700, Some("hub"), "visible", "hub.raw", Some("r")),
            line(9_000, None, "phase", "", None),
        ]
    }

    fn events(document: &Value) -> Vec<Value> {
        document["traceEvents"].as_array().unwrap().clone()
    }

    #[test]
    fn the_trace_of_a_crash_and_its_twin() {
        let events = events(&document(7, &crash(), Some(&calm())));
        insta::assert_snapshot!("trace_crash", events.iter().map(|event| format!("{event}\n")).collect::<String>());
    }

    #[test]
    fn lives_faults_and_packets_have_their_spans() {
        let events = events(&document(7, &crash(), None));
        let of = |phase: &str| events.iter().filter(|event| event["ph"] == phase).collect::<Vec<_>>();
        assert_eq!((of("M").len(), of("X").len(), of("b").len(), of("e").len()), (4, 3, 1, 1));
        assert_eq!((of("b")[0]["ts"].as_f64(), of("e")[0]["ts"].as_f64()), (Some(1.0), Some(9.0)));
        assert!(of("X").iter().all(|span| span["dur"].as_f64() >= Some(0.0)));
    }

    #[test]
    fn what_only_the_twin_saw_reaches_to_the_end() {
        let events = events(&document(7, &crash(), Some(&calm())));
        let never: Vec<&Value> = events.iter().filter(|event| event["name"] == "r never came").collect();
        let at: Vec<Option<f64>> = never.iter().map(|event| event["ts"].as_f64()).collect();
        assert_eq!(at, [Some(1.5), Some(9.5)]);
        assert!(never.iter().all(|event| event["pid"] == 1), "{never:?}");
        let ids: BTreeSet<u64> =
            events.iter().filter(|event| event["ph"] == "b").filter_map(|event| event["id"].as_u64()).collect();
        assert_eq!(ids.len(), 4, "each pair of both has its own");
    }

    #[test]
    fn of_many_packets_the_slowest_are_drawn() {
        let names: Vec<String> = (0..3_000).map(|number| format!("q-{number}")).collect();
        let due = names.iter().map(|name| line(0, Some("edge"), "due", "edge.feed", Some(name)));
        let came = (1..).zip(&names).map(|(at_ns, name)| line(at_ns, Some("hub"), "visible", "hub.raw", Some(name)));
        let lines: Vec<Line> = due.chain(came).collect();
        let drawn = Ways::of(&lines).worth_drawing(None);
        assert_eq!(drawn.len(), WAYS);
        assert!(drawn.contains(&("q-2999", "hub.raw")) && !drawn.contains(&("q-999", "hub.raw")));
    }
}
