//! `std:window`: count, min, max and mean of a field over tumbling windows of event time, one open window a key.
//!
//! The watermark is per key: a key's window closes when an event of the same key comes whose time is at or past the
//! window's end. An event older than the open window is only counted, as `late`, in that window's output: it is in
//! none of its count, min, max and mean. A window whose key falls silent stays open.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use smol_str::{SmolStr, format_smolstr};

use super::expr::Path;
use super::path_at;
use super::units::{TimeUnit, duration_ns};
use crate::node::{Class, ConfigError, Draft, Node, NodeError, Output, Registry};
use crate::packet::{ContentType, Kind, Packet};

/// First byte of each state value.
const STATE_VERSION: u8 = 1;
/// Open windows that a node keeps unless told otherwise.
const KEYS_MAX: usize = 20_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    key: Option<String>,
    field: String,
    time: Option<String>,
    time_unit: Option<TimeUnit>,
    size: String,
    keys_max: Option<usize>,
}

struct Window {
    key: Path,
    field: Path,
    time: Path,
    unit: TimeUnit,
    size_ns: i64,
    keys_max: usize,
    open: BTreeMap<SmolStr, Open>,
}

/// The open window of a key. Times in ns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Open {
    start_ns: i64,
    count: u64,
    min: f64,
    max: f64,
    sum: f64,
    late: u64,
}

/// The payload of an output; times in the unit of the input's times.
#[derive(Serialize)]
struct Closed<'k> {
    key: &'k str,
    start: i64,
    end: i64,
    count: u64,
    min: f64,
    max: f64,
    mean: f64,
    late: u64,
}

impl Window {
    fn new(config: &Config) -> Result<Window, ConfigError> {
        let path = |key, text: &Option<String>, default| text.as_deref().map_or(Ok(default), |text| path_at(key, text));
        let time = path("time", &config.time, Path::Ts)?;
        let unit = match (&time, config.time_unit) {
            (Path::Ts, None | Some(TimeUnit::Ns)) => TimeUnit::Ns,
            (Path::Ts, Some(_)) => return Err(ConfigError::at("time_unit", "`time_unit`: `ts` is always in ns")),
            (_, unit) => unit.unwrap_or(TimeUnit::Ms),
        };
        let size_ns = duration_ns("size", &config.size)?;
        if size_ns % unit.ns() != 0 {
            return Err(ConfigError::at(
                "size",
                format!("`size`: `{}` is not a whole number of `time_unit`", config.size),
            ));
        }
        let keys_max = config.keys_max.unwrap_or(KEYS_MAX);
        if keys_max == 0 {
            return Err(ConfigError::at("keys_max", "`keys_max` is at least 1"));
        }
        Ok(Window {
            key: path("key", &config.key, Path::Key)?,
            field: path_at("field", &config.field)?,
            time,
            unit,
            size_ns,
            keys_max,
            open: BTreeMap::new(),
        })
    }

    /// Key, time in ns and value of a packet.
    fn read(&self, packet: &Packet) -> Result<(SmolStr, i64, f64), NodeError> {
        let invalid =
            |path: &Path, wanted: &str| NodeError::new(Class::SchemaInvalid, format!("`{path}` is not {wanted}"));
        let key = self.key.get(packet)?.to_key().ok_or_else(|| invalid(&self.key, "a key"))?;
        let time_ns = self.unit.to_ns(&self.time.get(packet)?).ok_or_else(|| invalid(&self.time, "a time"))?;
        let value = self.field.get(packet)?.to_f64().ok_or_else(|| invalid(&self.field, "a number"))?;
        Ok((key, time_ns, value))
    }

    fn start_of(&self, time_ns: i64) -> Result<i64, NodeError> {
        let start_ns = time_ns.div_euclid(self.size_ns).checked_mul(self.size_ns);
        let fits = |start_ns: &i64| start_ns.checked_add(self.size_ns).is_some();
        start_ns
            .filter(fits)
            .ok_or_else(|| NodeError::new(Class::SchemaInvalid, "the time is too far from 1970 for a window"))
    }

    fn close(&self, key: &str, open: &Open, packet: &Packet) -> Draft {
        assert!(open.count > 0, "the window of `{key}` at {} opened without an event", open.start_ns);
        let end_ns = open.start_ns + self.size_ns;
        let (start, end) = (open.start_ns / self.unit.ns(), end_ns / self.unit.ns());
        let mean = open.sum / open.count as f64;
        let Open { count, min, max, late, .. } = *open;
        let payload = serde_json::to_vec(&Closed { key, start, end, count, min, max, mean, late });
        Draft {
            packet_id: format_smolstr!("window/{key}/{start}"),
            ts: end_ns,
            kind: Kind::Event,
            source_id: packet.source_id.clone(),
            key: Some(key.into()),
            content_type: ContentType::Json,
            payload: payload.expect("a window holds only text and numbers").into(),
            meta: BTreeMap::new(),
        }
    }
}

impl Open {
    fn of(start_ns: i64, value: f64) -> Open {
        Open { start_ns, count: 1, min: value, max: value, sum: value, late: 0 }
    }

    fn with(&self, value: f64) -> Result<Open, NodeError> {
        let sum = self.sum + value;
        if !sum.is_finite() {
            return Err(NodeError::new(Class::SchemaInvalid, "the window's sum is too large for a number"));
        }
        Ok(Open { count: self.count + 1, min: self.min.min(value), max: self.max.max(value), sum, ..*self })
    }

    fn encode(&self) -> Bytes {
        postcard::to_extend(self, vec![STATE_VERSION]).expect("a window holds only numbers").into()
    }

    fn decode(bytes: &[u8]) -> Result<Open, NodeError> {
        let error = |message: String| NodeError::new(Class::Unknown, format!("could not restore a window: {message}"));
        match bytes.split_first() {
            Some((&STATE_VERSION, rest)) => postcard::from_bytes(rest).map_err(|why| error(why.to_string())),
            Some((version, _)) => {
                Err(error(format!("its state has version {version}, this is version {STATE_VERSION}")))
            }
            None => Err(error("its state is empty".into())),
        }
    }
}

impl Node for Window {
    fn process(&mut self, packet: &Packet, out: &mut Output) -> Result<(), NodeError> {
        let (key, time_ns, value) = self.read(packet)?;
        let start_ns = self.start_of(time_ns)?;
        let next = match self.open.get(&key) {
            None if self.open.len() >= self.keys_max => {
                return Err(NodeError::new(
                    Class::SizeExceeded,
                    format!("more than {} keys have an open window", self.keys_max),
                ));
            }
            None => Open::of(start_ns, value),
            Some(open) if start_ns < open.start_ns => Open { late: open.late + 1, ..open.clone() },
            Some(open) if start_ns == open.start_ns => open.with(value)?,
            Some(open) => {
                out.emit(self.close(&key, open, packet));
                Open::of(start_ns, value)
            }
        };
        out.put(key.as_bytes().to_vec(), next.encode());
        out.folded = true;
        self.open.insert(key, next);
        Ok(())
    }

    fn restore(&mut self, state: &BTreeMap<Bytes, Bytes>) -> Result<(), NodeError> {
        for (key, value) in state {
            let key = std::str::from_utf8(key)
                .map_err(|_| NodeError::new(Class::Unknown, "could not restore a window: its key is not text"))?;
            self.open.insert(key.into(), Open::decode(value)?);
        }
        Ok(())
    }
}

pub(super) fn register(registry: &mut Registry) {
    registry.stateful::<Config>(
        "std:window",
        |config| Window::new(config).map(drop),
        |_, config| Ok(Box::new(Window::new(&config)?)),
    );
}

#[cfg(test)]
mod tests {
    use super::super::memory::{Memory, packet, registry};
    use crate::node::{Class, Emitted, Node, NodeError, Output, RegistryError, Shape};
    use crate::packet::{Fields, Packet};
    use bytes::Bytes;
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use std::collections::BTreeMap;

    fn build(config: Value) -> Box<dyn Node> {
        registry().build_node("std:window", &Memory::default().context(), config).unwrap()
    }

    fn per_net() -> Box<dyn Node> {
        build(json!({"key": "payload.net", "field": "payload.mag", "time": "payload.time", "size": "1s"}))
    }

    type State = BTreeMap<Bytes, Bytes>;

    /// Runs a node over packets, applying its state changes as the runtime would; answers ids and payloads.
    fn run(node: &mut dyn Node, state: &mut State, packets: &[Packet]) -> Vec<(String, String)> {
        let mut made = Vec::new();
        for packet in packets {
            let mut out = Output::default();
            node.process(packet, &mut out).unwrap();
            assert!(out.folded);
            for (key, value) in out.state {
                match value {
                    Some(value) => state.insert(key, value),
                    None => state.remove(&key),
                };
            }
            for (_, emitted) in out.packets {
                let Emitted::New(draft) = emitted else { panic!("a window passes nothing") };
                assert_eq!(draft.key.as_deref(), draft.packet_id.split('/').nth(1));
                made.push((draft.packet_id.to_string(), String::from_utf8(draft.payload.to_vec()).unwrap()));
            }
        }
        made
    }

    fn event(net: &str, time: i64, mag: impl Into<Value>) -> Packet {
        packet(json!({"net": net, "time": time, "mag": mag.into()}))
    }

    #[test]
    fn closes_on_the_next_event_of_the_key() {
        let events = [
            event("a", 1000, 1),
            event("b", 9000, 7),
            event("a", 1999, 4.5),
            event("a", 900, 9),  // late: counted, not in the figures
            event("a", 2000, 3), // exactly at the end
            event("a", 5500, 2),
        ];
        let made = run(per_net().as_mut(), &mut State::new(), &events);
        let expected = [
            (
                "window/a/1000",
                r#"{"key":"a","start":1000,"end":2000,"count":2,"min":1.0,"max":4.5,"mean":2.75,"late":1}"#,
            ),
            (
                "window/a/2000",
                r#"{"key":"a","start":2000,"end":3000,"count":1,"min":3.0,"max":3.0,"mean":3.0,"late":0}"#,
            ),
        ];
        assert_eq!(made, expected.map(|(id, payload)| (id.to_owned(), payload.to_owned())));
    }

    #[test]
    fn defaults_are_the_packets_key_and_ts() {
        let mut node = build(json!({"field": "payload.mag", "size": "1us"}));
        let at = |ts: i64| Packet::from(Fields { ts, ..packet(json!({"mag": 1})).fields().clone() });
        let mut out = Output::default();
        for ts in [-1, 0] {
            node.process(&at(ts), &mut out).unwrap();
        }
        let Some((_, Emitted::New(draft))) = out.packets.pop() else { panic!("one output") };
        assert_eq!((draft.packet_id.as_str(), draft.ts, draft.key.as_deref()), ("window/ci/-1000", 0, Some("ci")));
    }

    #[test]
    fn what_fails_changes_nothing() {
        let mut node = build(
            json!({"key": "payload.net", "field": "payload.mag", "time": "payload.time", "size": "1s", "keys_max": 1}),
        );
        let mut state = State::new();
        run(node.as_mut(), &mut state, &[event("a", 0, 1e308)]);
        let mut fails = |packet: Packet| -> NodeError {
            let mut out = Output::default();
            let error = node.process(&packet, &mut out).unwrap_err();
            assert!(out.packets.is_empty() && out.state.is_empty() && !out.folded);
            error
        };
        assert_eq!(fails(event("a", 0, "x")).to_string(), "schema.invalid: `payload.mag` is not a number");
        assert_eq!(fails(packet(json!({"net": "a", "time": 0}))).class, Class::SchemaInvalid);
        assert_eq!(
            fails(packet(json!({"net": "a", "mag": 0}))).to_string(),
            "schema.invalid: `payload.time` is not a time"
        );
        assert_eq!(
            fails(packet(json!({"time": 0, "mag": 0}))).to_string(),
            "schema.invalid: `payload.net` is not a key"
        );
        assert_eq!(fails(event("a", 0, 1e308)).class, Class::SchemaInvalid);
        assert_eq!(fails(event("a", i64::MAX, 1)).class, Class::SchemaInvalid);
        assert_eq!(fails(event("b", 0, 1)).class, Class::SizeExceeded);
        let made = run(node.as_mut(), &mut state, &[event("a", 1000, 1)]);
        assert!(
            made[0].1.contains(r#""count":1,"min":1e+308"#) || made[0].1.contains(r#""count":1,"min":1e308"#),
            "{made:?}"
        );
    }

    #[test]
    fn refuses_state_of_another_version() {
        for value in [&[][..], &[2, 0], &[1, 0]] {
            let state = State::from([(Bytes::from("a"), Bytes::copy_from_slice(value))]);
            assert!(per_net().restore(&state).unwrap_err().message.contains("could not restore a window"));
        }
    }

    #[test]
    fn wrong_configurations_name_the_key() {
        assert_eq!(registry().shape("std:window"), Some(Shape::StatefulNode));
        for (config, key) in [
            (json!({"size": "1h"}), "field"),
            (json!({"field": "payload.mag"}), "size"),
            (json!({"field": "payload.mag", "size": "1"}), "size"),
            (json!({"field": "payload.mag", "size": "1us", "time": "payload.time"}), "size"),
            (json!({"field": "1 + 1", "size": "1h"}), "field"),
            (json!({"field": "payload.mag", "size": "1h", "time_unit": "ms"}), "time_unit"),
            (json!({"field": "payload.mag", "size": "1h", "keys_max": 0}), "keys_max"),
            (json!({"field": "payload.mag", "size": "1h", "emit": "now"}), "emit"),
        ] {
            let RegistryError::Config(error) = registry().lint("std:window", config.clone()).unwrap_err() else {
                panic!("another error");
            };
            assert_eq!(error.key.as_deref(), Some(key), "{config}: {error}");
        }
    }

    #[test]
    fn the_quakes_hour_by_hour() {
        let config = json!({"key": "payload.net", "field": "payload.mag", "time": "payload.time", "size": "1h"});
        let lines: Vec<Value> =
            include_str!("../../../scenarios/data/quakes.ndjson").lines().map(|line| line.parse().unwrap()).collect();
        let packets: Vec<Packet> = lines.iter().cloned().map(packet).collect();
        let made = run(build(config).as_mut(), &mut State::new(), &packets);
        // By hand: all hours of a net but its last.
        let mut hours: BTreeMap<(String, i64), Vec<f64>> = BTreeMap::new();
        for line in &lines {
            let hour = line["time"].as_i64().unwrap() / 3_600_000 * 3_600_000;
            hours.entry((line["net"].as_str().unwrap().into(), hour)).or_default().push(line["mag"].as_f64().unwrap());
        }
        let mut last: BTreeMap<&str, i64> = BTreeMap::new();
        for (net, hour) in hours.keys() {
            last.insert(net, *hour);
        }
        assert_eq!(made.len(), hours.len() - last.len());
        for (id, payload) in made {
            let closed: Value = payload.parse().unwrap();
            let (net, start) = (closed["key"].as_str().unwrap(), closed["start"].as_i64().unwrap());
            let mags = &hours[&(net.to_owned(), start)];
            assert_eq!(id, format!("window/{net}/{start}"));
            assert_eq!(closed["count"], mags.len());
            assert_eq!(closed["max"], mags.iter().copied().fold(f64::MIN, f64::max));
            // As text: reading a float back with serde_json may be off by its last bit.
            let mean = mags.iter().sum::<f64>() / mags.len() as f64;
            assert!(payload.contains(&format!("\"mean\":{mean:?},")), "{payload}: {mean:?}");
            assert_eq!(closed["late"], 0);
        }
    }

    proptest! {
        #[test]
        fn a_restart_anywhere_changes_nothing(
            events in prop::collection::vec((0..3u8, 0..9000i64, -5.0..5.0), 1..40), cut in 0..40usize,
        ) {
            let packets: Vec<Packet> = events.iter().map(|(net, time, mag)| event(&net.to_string(), *time, *mag)).collect();
            let cut = cut.min(packets.len());
            let (mut whole_state, mut state) = (State::new(), State::new());
            let whole = run(per_net().as_mut(), &mut whole_state, &packets);
            let mut parts = run(per_net().as_mut(), &mut state, &packets[..cut]);
            let mut restored = per_net();
            restored.restore(&state).unwrap();
            parts.extend(run(restored.as_mut(), &mut state, &packets[cut..]));
            prop_assert_eq!(whole, parts);
            prop_assert_eq!(whole_state, state);
        }
    }
}
