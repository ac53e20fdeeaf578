//! `std:generator`: makes up events, each a pure function of the configured seed and its number.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value as Json;
use smol_str::format_smolstr;
use xxhash_rust::xxh3::xxh3_64;

use super::expr::Value;
use super::units::Rate;
use crate::env::{Fut, Seed};
use crate::node::{ConfigError, Draft, Entry, NodeContext, NodeError, Registry, Resume, Source};
use crate::packet::{ContentType, Kind, Seq};

/// Event time between two events without a rate, ns.
const STEP_NS: u64 = 1_000_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    count: Option<u64>,
    rate: Option<String>,
    json: BTreeMap<String, Json>,
    #[serde(default)]
    seed: u64,
    key: Option<String>,
}

/// How a field gets its value.
enum Field {
    /// `key(n)`: one of the texts `k0` to `k(n-1)`.
    Key(u64),
    /// `uniform(from, to)`: a float, `to` excluded.
    Uniform(f64, f64),
    /// Always this.
    Literal(Json),
}

impl Field {
    fn parse(name: &str, json: &Json) -> Result<Field, ConfigError> {
        let call = json.as_str().and_then(|text| text.strip_suffix(')')?.split_once('('));
        let wrong = |wanted: &str| {
            let key = format!("json.{name}");
            ConfigError::at(&key, format!("`{key}`: {json} is not {wanted}"))
        };
        match call {
            Some(("key", count)) => match count.trim().parse() {
                Ok(count) if count > 0 => Ok(Field::Key(count)),
                _ => Err(wrong("`key(N)` with an integer N of at least 1")),
            },
            Some(("uniform", range)) => {
                let (from, to) = range.split_once(',').unwrap_or_default();
                match (from.trim().parse::<f64>(), to.trim().parse::<f64>()) {
                    (Ok(from), Ok(to)) if from < to && (to - from).is_finite() => Ok(Field::Uniform(from, to)),
                    _ => Err(wrong("`uniform(A, B)` with numbers A < B")),
                }
            }
            _ => Ok(Field::Literal(json.clone())),
        }
    }

    fn value(&self, seed: &dyn Seed, key: &[u64]) -> Json {
        let draw = || seed.draw("std:generator", key);
        match self {
            // The high half of the product: even for every count, without a bias worth naming.
            Field::Key(count) => format!("k{}", (u128::from(draw()) * u128::from(*count)) >> 64).into(),
            // 53 bits are all that a float between 0 and 1 can tell apart.
            Field::Uniform(from, to) => (from + (to - from) * ((draw() >> 11) as f64 / (1_u64 << 53) as f64)).into(),
            Field::Literal(json) => json.clone(),
        }
    }
}

struct Generator {
    context: NodeContext,
    count: u64,
    rate: Option<Rate>,
    fields: Vec<(String, Field)>,
    seed: u64,
    key: Option<String>,
    /// The next event's number.
    next: u64,
    /// The first number of this incarnation and the `mono` that it is due at.
    anchor: (u64, u64),
}

impl Generator {
    fn new(context: NodeContext, config: Config) -> Result<Generator, ConfigError> {
        let plan = Plan::new(&config)?;
        Ok(Generator {
            context,
            count: config.count.unwrap_or(u64::MAX),
            rate: plan.rate,
            fields: plan.fields,
            seed: config.seed,
            key: config.key,
            next: 1,
            anchor: (1, 0),
        })
    }

    fn due(&self, number: u64) -> u64 {
        let (first, mono) = self.anchor;
        self.rate.map_or(0, |rate| mono.saturating_add(rate.due_ns(number - first)))
    }

    fn entry(&self, number: u64) -> Entry {
        let seed = &*self.context.env.seed;
        let fields: serde_json::Map<String, Json> = self
            .fields
            .iter()
            // Keyed by name, so that a new field changes no other.
            .map(|(name, field)| (name.clone(), field.value(seed, &[self.seed, number, xxh3_64(name.as_bytes())])))
            .collect();
        let key = self.key.as_ref().and_then(|name| Value::of(&fields[name]).to_key());
        let ts = self.rate.map_or(number.saturating_mul(STEP_NS), |rate| rate.due_ns(number));
        Entry {
            seq: Seq(number),
            draft: Draft {
                packet_id: format_smolstr!("{}/{number}", self.context.node),
                ts: i64::try_from(ts).unwrap_or(i64::MAX),
                kind: Kind::Event,
                source_id: self.context.node.as_str().into(),
                key,
                content_type: ContentType::Json,
                payload: Json::Object(fields).to_string().into(),
                meta: BTreeMap::new(),
            },
            position: Bytes::new(),
        }
    }

    async fn entries(&mut self, max: usize) -> Option<Vec<Entry>> {
        if self.next > self.count {
            return None;
        }
        let clock = &self.context.env.clock;
        let due = self.due(self.next);
        if due > clock.mono() {
            clock.sleep_until(due).await;
        }
        let now = clock.mono().max(due);
        let first = self.next;
        let numbers = (first..=self.count).take(max).take_while(|number| self.due(*number) <= now);
        let entries: Vec<Entry> = numbers.map(|number| self.entry(number)).collect();
        self.next += entries.len() as u64;
        Some(entries)
    }
}

/// What the texts of a configuration say.
struct Plan {
    rate: Option<Rate>,
    fields: Vec<(String, Field)>,
}

impl Plan {
    fn new(config: &Config) -> Result<Plan, ConfigError> {
        let rate = config.rate.as_deref().map(|text| Rate::parse("rate", text)).transpose()?;
        let mut fields = Vec::new();
        for (name, json) in &config.json {
            fields.push((name.clone(), Field::parse(name, json)?));
        }
        match &config.key {
            Some(key) if !config.json.contains_key(key) => {
                Err(ConfigError::at("key", format!("`key`: `json` has no field `{key}`")))
            }
            _ => Ok(Plan { rate, fields }),
        }
    }
}

impl Source for Generator {
    fn start(&mut self, resume: Resume) -> Fut<'_, Result<(), NodeError>> {
        self.next = resume.floor.next().0;
        self.anchor = (self.next, self.context.env.clock.mono());
        Box::pin(std::future::ready(Ok(())))
    }

    fn next(&mut self, max: usize) -> Fut<'_, Result<Option<Vec<Entry>>, NodeError>> {
        assert!(max > 0, "asked for no entries");
        Box::pin(async move { Ok(self.entries(max).await) })
    }
}

pub(super) fn register(registry: &mut Registry) {
    registry.source::<Config>(
        "std:generator",
        |config| Plan::new(config).map(drop),
        |context, config| Ok(Box::new(Generator::new(context.clone(), config)?)),
    );
}

#[cfg(test)]
mod tests {
    use super::super::memory::{Memory, poll_once, registry, wait};
    use crate::node::{Entry, RegistryError, Resume};
    use crate::packet::Seq;
    use serde_json::{Value, json};

    fn make(memory: &Memory, config: Value, floor: u64, max: usize) -> Vec<Entry> {
        let mut source = registry().build_source("std:generator", &memory.context(), config).unwrap();
        wait(async {
            source.start(Resume { floor: Seq(floor), ..Resume::default() }).await.unwrap();
            let mut all = Vec::new();
            while let Some(entries) = source.next(max).await.unwrap() {
                assert!((1..=max).contains(&entries.len()));
                all.extend(entries);
            }
            all
        })
    }

    fn config() -> Value {
        json!({"count": 1000, "json": {"net": "key(12)", "mag": "uniform(0, 6)", "unit": "ml", "n": 3}, "seed": 7, "key": "net"})
    }

    #[test]
    fn events_are_a_function_of_seed_and_number() {
        let whole = make(&Memory::default(), config(), 0, 64);
        let mut nets = [0; 12];
        for (index, entry) in whole.iter().enumerate() {
            let payload: Value = serde_json::from_slice(&entry.draft.payload).unwrap();
            let net = payload["net"].as_str().unwrap();
            nets[net.strip_prefix('k').unwrap().parse::<usize>().unwrap()] += 1;
            assert!((0.0..6.0).contains(&payload["mag"].as_f64().unwrap()), "{payload}");
            assert_eq!((&payload["unit"], &payload["n"]), (&json!("ml"), &json!(3)));
            assert_eq!(entry.draft.key.as_deref(), Some(net));
            assert_eq!(entry.draft.packet_id, format!("feed/{}", index + 1));
        }
        assert!(nets.iter().all(|count| (40..140).contains(count)), "{nets:?}");
        let rest = make(&Memory::default(), config(), 400, 7);
        assert_eq!(format!("{rest:?}"), format!("{:?}", &whole[400..]));
        let mut other = config();
        other["seed"] = json!(8);
        assert_ne!(make(&Memory::default(), other, 0, 64)[0].draft.payload, whole[0].draft.payload);
    }

    #[test]
    fn a_rate_paces_without_drift_and_a_dropped_call_loses_nothing() {
        let memory = Memory::default();
        let mut config = config();
        config["rate"] = json!("300/s");
        let whole = make(&memory, config.clone(), 0, 64);
        assert_eq!((whole.len(), memory.mono()), (1000, 3_330_000_000));
        assert_eq!(whole[299].draft.ts, 1_000_000_000);
        let mut source = registry().build_source("std:generator", &memory.context(), config).unwrap();
        wait(async {
            source.start(Resume::default()).await.unwrap();
            assert_eq!(source.next(9).await.unwrap().unwrap().len(), 1);
            assert!(poll_once(&mut source.next(9)).is_none());
            assert_eq!(source.next(9).await.unwrap().unwrap()[0].seq, Seq(2));
        });
    }

    #[test]
    fn wrong_configurations_name_the_key() {
        for (config, key) in [
            (json!({}), "json"),
            (json!({"json": {}, "rate": "fast"}), "rate"),
            (json!({"json": {"a": "key(0)"}}), "json.a"),
            (json!({"json": {"a": "uniform(6, 0)"}}), "json.a"),
            (json!({"json": {"a": "uniform(1)"}}), "json.a"),
            (json!({"json": {"a": 1}, "key": "b"}), "key"),
            (json!({"json": {}, "counts": 1}), "counts"),
        ] {
            let RegistryError::Config(error) = registry().lint("std:generator", config.clone()).unwrap_err() else {
                panic!("another error");
            };
            assert_eq!(error.key.as_deref(), Some(key), "{config}: {error}");
        }
    }
}
