//! `std:map`: sets and removes top-level fields of a JSON payload, and may give the packet a new key.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde_json::Value as Json;

use super::expr::{Expr, Value};
use super::expr_at;
use crate::json::Field;
use crate::node::{Class, ConfigError, Draft, Node, NodeError, Output, Registry};
use crate::packet::{ContentType, Packet};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default)]
    set: BTreeMap<String, String>,
    #[serde(default)]
    remove: Vec<String>,
    key: Option<String>,
}

struct Map {
    /// In the order of their names.
    set: Vec<Set>,
    remove: Vec<String>,
    key: Option<Expr>,
    /// Room for a payload, used again and again.
    room: Vec<u8>,
    /// What is left of the memory that payloads are cut from.
    left: BytesMut,
}

/// Payloads are cut from so many bytes; a packet that stays holds no more than that.
const CUT_FROM: usize = 4096;
/// Larger ones have memory of their own.
const CUT_MAX: usize = CUT_FROM / 8;

struct Set {
    field: String,
    /// The field as JSON, with its colon.
    head: Vec<u8>,
    expr: Expr,
}

/// A field that a nested path would name is refused rather than taken as a name with a dot in it.
fn top_level(key: &str, field: &str) -> Result<(), ConfigError> {
    if field.is_empty() || field.contains('.') {
        let message = format!("`{key}`: `{field}` is not a top-level field of the payload; write e.g. `mag`");
        return Err(ConfigError::at(key, message));
    }
    Ok(())
}

impl Map {
    fn new(config: &Config) -> Result<Map, ConfigError> {
        let mut set = Vec::new();
        for (field, text) in &config.set {
            top_level("set", field)?;
            let head = format!("{}:", Json::from(field.as_str())).into();
            set.push(Set { field: field.clone(), head, expr: expr_at(&format!("set.{field}"), text)? });
        }
        for field in &config.remove {
            top_level("remove", field)?;
            if config.set.contains_key(field) {
                return Err(ConfigError::at("remove", format!("`remove`: `{field}` is also set")));
            }
        }
        let key = config.key.as_deref().map(|text| expr_at("key", text)).transpose()?;
        Ok(Map { set, remove: config.remove.clone(), key, room: Vec::new(), left: BytesMut::new() })
    }
}

impl Map {
    /// The new payload by way of the tree.
    fn rebuilt(&self, packet: &Packet) -> Result<Bytes, NodeError> {
        let mut fields = match packet.json() {
            Some(Json::Object(fields)) => fields.clone(),
            Some(_) => return Err(NodeError::new(Class::SchemaInvalid, "the payload is not a JSON object")),
            None => return Err(NodeError::new(Class::DecodeFailed, "the payload is not JSON")),
        };
        for Set { field, expr, .. } in &self.set {
            fields.insert(field.clone(), expr.eval(packet)?.to_json());
        }
        for field in &self.remove {
            fields.remove(field);
        }
        Ok(Json::Object(fields).to_string().into())
    }

    /// The same text, put together from pieces of the old one; `None` when those would change on their way through the
    /// tree.
    fn spliced(&mut self, packet: &Packet) -> Result<Option<Bytes>, NodeError> {
        let Some(outline) = packet.outline().filter(|outline| outline.is_canonical()) else { return Ok(None) };
        let text = &*packet.payload;
        let out = &mut self.room;
        out.clear();
        out.push(b'{');
        // Fields come in the order of their names, as in the tree.
        let mut set = self.set.iter().peekable();
        // Those that stand together are copied together.
        let mut run = Run(0..0);
        for field in &*outline.sorted(text) {
            let key = field.key(text);
            while let Some(set) = set.next_if(|set| set.field.as_bytes() < key) {
                run.write(text, out);
                set.write(out, packet)?;
            }
            let replaced = set.peek().is_some_and(|set| set.field.as_bytes() == key);
            if !replaced && !self.remove.iter().any(|field| field.as_bytes() == key) {
                run.add(field, text, out);
            }
        }
        run.write(text, out);
        for set in set {
            set.write(out, packet)?;
        }
        match out.last_mut() {
            Some(comma @ b',') => *comma = b'}',
            _ => out.push(b'}'),
        }
        Ok(Some(self.cut()))
    }

    /// What stands in `room`, as a payload.
    fn cut(&mut self) -> Bytes {
        if self.room.len() > CUT_MAX {
            return Bytes::copy_from_slice(&self.room);
        }
        if self.left.capacity() < self.room.len() {
            self.left = BytesMut::with_capacity(CUT_FROM);
        }
        self.left.extend_from_slice(&self.room);
        self.left.split().freeze()
    }
}

/// Fields that are yet to be copied, and stand together.
struct Run(Range<usize>);

impl Run {
    fn add(&mut self, field: &Field, text: &[u8], out: &mut Vec<u8>) {
        match field.range() {
            // There is only the comma between them.
            Some(range) if !self.0.is_empty() && range.start == self.0.end + 1 => self.0.end = range.end,
            Some(range) => {
                self.write(text, out);
                self.0 = range;
            }
            None => {
                self.write(text, out);
                field.write(text, out);
                out.push(b',');
            }
        }
    }

    /// Writes them, and the comma behind them.
    fn write(&mut self, text: &[u8], out: &mut Vec<u8>) {
        if !self.0.is_empty() {
            out.extend_from_slice(&text[std::mem::take(&mut self.0)]);
            out.push(b',');
        }
    }
}

impl Set {
    /// Writes the field and the comma behind it.
    fn write(&self, out: &mut Vec<u8>, packet: &Packet) -> Result<(), NodeError> {
        out.extend_from_slice(&self.head);
        match self.expr.eval(packet)? {
            Value::Bool(bool) => out.extend_from_slice(if bool { b"true" } else { b"false" }),
            value => {
                let written = serde_json::to_writer(&mut *out, &value.to_json());
                written.expect("JSON can be written to memory");
            }
        }
        out.push(b',');
        Ok(())
    }
}

impl Node for Map {
    fn process(&mut self, packet: &Packet, out: &mut Output) -> Result<(), NodeError> {
        let payload = match self.spliced(packet)? {
            Some(payload) => payload,
            None => self.rebuilt(packet)?,
        };
        let key = match &self.key {
            None => packet.key.clone(),
            Some(expr) => match expr.eval(packet)? {
                Value::Null => None,
                value => Some(value.to_key().ok_or_else(|| {
                    NodeError::new(
                        Class::SchemaInvalid,
                        format!("`{expr}` is no key: it must be text, an integer or a boolean"),
                    )
                })?),
            },
        };
        out.emit(Draft { key, content_type: ContentType::Json, ..Draft::with(packet, payload) });
        Ok(())
    }
}

pub(super) fn register(registry: &mut Registry) {
    registry.node::<Config>(
        "std:map",
        |config| Map::new(config).map(drop),
        |_, config| Ok(Box::new(Map::new(&config)?)),
    );
}

#[cfg(test)]
mod tests {
    use super::super::memory::{Memory, packet, registry};
    use super::{Config, Map};
    use crate::node::{Class, Draft, Emitted, NodeError, Output, RegistryError};
    use crate::packet::{Fields, Packet};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn run(config: Value, packet: &Packet) -> Result<Draft, NodeError> {
        let mut map = registry().build_node("std:map", &Memory::default().context(), config).unwrap();
        let mut out = Output::default();
        map.process(packet, &mut out)?;
        match out.packets.pop() {
            Some(("out", Emitted::New(draft))) if out.packets.is_empty() => Ok(draft),
            other => panic!("one new packet, not {other:?}"),
        }
    }

    #[track_caller]
    fn check(config: Value, payload: Value, expected: &str) {
        let draft = run(config, &packet(payload)).unwrap();
        assert_eq!(std::str::from_utf8(&draft.payload).unwrap(), expected);
        assert_eq!((draft.packet_id.as_str(), draft.ts, draft.source_id.as_str()), ("p-1", 5, "s"));
    }

    #[test]
    fn sets_and_removes() {
        check(json!({}), json!({"b": 1, "a": 2.5}), r#"{"a":2.5,"b":1}"#);
        check(
            json!({"set": {"c": "payload.a * 2", "d": "payload.a / 2"}}),
            json!({"a": 3}),
            r#"{"a":3,"c":6,"d":1.5}"#,
        );
        check(
            json!({"set": {"n": "payload.nope", "all": "payload"}}),
            json!({"a": [1]}),
            r#"{"a":[1],"all":{"a":[1]},"n":null}"#,
        );
        check(json!({"remove": ["a", "z"]}), json!({"a": 1, "b": 2}), r#"{"b":2}"#);
        // Every expression sees the input, so a swap needs no third field.
        check(json!({"set": {"a": "payload.b", "b": "payload.a"}}), json!({"a": 1, "b": 2}), r#"{"a":2,"b":1}"#);
    }

    #[test]
    fn gives_keys() {
        let key = |expr: &str| {
            run(json!({"key": expr}), &packet(json!({"net": "uw", "n": 7, "f": 1.5}))).map(|draft| draft.key)
        };
        assert_eq!(key("payload.net").unwrap().as_deref(), Some("uw"));
        assert_eq!(key("payload.n").unwrap().as_deref(), Some("7"));
        assert_eq!(key("payload.nope").unwrap(), None);
        assert_eq!(key("payload.f").unwrap_err().class, Class::SchemaInvalid);
        assert_eq!(run(json!({}), &packet(json!({}))).unwrap().key.as_deref(), Some("ci"));
    }

    #[test]
    fn errors() {
        assert_eq!(run(json!({}), &packet(json!([1]))).unwrap_err().class, Class::SchemaInvalid);
        assert_eq!(
            run(json!({"set": {"x": "payload.a + 1"}}), &packet(json!({}))).unwrap_err().class,
            Class::SchemaInvalid
        );
        for (config, key, part) in [
            (json!({"sett": {}}), "sett", "unknown field"),
            (json!({"set": {"x": "1 +"}}), "set.x", "column 4"),
            (json!({"set": {"payload.x": "1"}}), "set", "top-level"),
            (json!({"remove": ["a.b"]}), "remove", "top-level"),
            (json!({"remove": ["a"], "set": {"a": "1"}}), "remove", "also set"),
            (json!({"key": "net"}), "key", "unknown name `net`"),
        ] {
            let RegistryError::Config(error) = registry().lint("std:map", config).unwrap_err() else {
                panic!("another error");
            };
            assert_eq!(error.key.as_deref(), Some(key));
            assert!(error.message.contains(part), "{error}");
        }
    }

    #[test]
    fn no_number_of_the_quakes_changes() {
        for line in include_str!("../../../scenarios/data/quakes.ndjson").lines() {
            let payload: Value = line.parse().unwrap();
            let draft = run(json!({"set": {"mag": "payload.mag"}}), &packet(payload)).unwrap();
            let mapped = std::str::from_utf8(&draft.payload).unwrap();
            for field in line.trim_matches(['{', '}']).split(",\"").map(|field| field.trim_matches('"')) {
                assert!(mapped.contains(field), "{field} is not in {mapped}");
            }
        }
    }

    proptest! {
        #[test]
        fn pieces_and_tree_make_the_same_text(
            fields in prop::collection::vec(("[a-f]|ab[a-c]", "-?[1-9][0-9]{0,3}(\\.[0-9]{1,3})?|\"[a-zä\"\\\\ ]{0,4}\"|null|\\{\"b\":1,\"a\":\\[ ?true\\]\\}"), 0..6),
            set in prop::collection::btree_map("[a-f]|ab[a-c]|\"", prop::sample::select(vec!["payload.a", "payload", "1.50", "payload.b.a", "'\\\"'", "payload.c + 1"]), 0..4),
            remove in prop::collection::vec("[g-h]|ab[d-e]|a", 0..2),
        ) {
            let text: Vec<String> = fields.iter().map(|(key, value)| format!("\"{key}\": {value}")).collect();
            let fields = Fields { payload: format!("{{{}}}", text.join(",")).into(), ..packet(json!(0)).fields().clone() };
            let packet = Packet::from(fields);
            let set = set.into_iter().filter(|(field, _)| !remove.contains(field));
            let set = set.map(|(field, text)| (field, text.to_owned())).collect();
            let mut map = Map::new(&Config { set, remove, key: None }).unwrap();
            if let Some(spliced) = map.spliced(&packet).transpose() {
                prop_assert_eq!(spliced, map.rebuilt(&packet));
            }
        }
    }
}
