//! `std:filter`: lets the packets go on, unchanged, for which a condition holds.

use serde::Deserialize;

use super::expr::Expr;
use super::expr_at;
use crate::node::{ConfigError, Node, NodeError, Output, Registry};
use crate::packet::Packet;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    r#where: String,
}

struct Filter {
    condition: Expr,
}

impl Filter {
    fn new(config: &Config) -> Result<Filter, ConfigError> {
        Ok(Filter { condition: expr_at("where", &config.r#where)? })
    }
}

impl Node for Filter {
    fn process(&mut self, packet: &Packet, out: &mut Output) -> Result<(), NodeError> {
        if self.condition.holds(packet)? {
            out.pass(packet);
        }
        Ok(())
    }
}

pub(super) fn register(registry: &mut Registry) {
    registry.node::<Config>(
        "std:filter",
        |config| Filter::new(config).map(drop),
        |_, config| Ok(Box::new(Filter::new(&config)?)),
    );
}

#[cfg(test)]
mod tests {
    use super::super::memory::{Memory, packet, registry};
    use crate::node::{Class, Emitted, Output, RegistryError};
    use crate::packet::{Fields, Packet};
    use serde_json::{Value, json};

    #[track_caller]
    fn check(condition: &str, payload: Value, passes: bool) {
        let config = json!({"where": condition});
        let mut filter = registry().build_node("std:filter", &Memory::default().context(), config).unwrap();
        let (packet, mut out) = (packet(payload), Output::default());
        filter.process(&packet, &mut out).unwrap();
        assert_eq!(out.packets.len(), usize::from(passes));
        assert!(!out.folded && out.state.is_empty());
        if passes {
            assert!(matches!(&out.packets[0], ("out", Emitted::Pass(p)) if p.identity == packet.identity));
        }
    }

    #[test]
    fn passes_what_holds() {
        check("payload.mag >= 1", json!({"mag": 1}), true);
        check("payload.mag >= 1", json!({"mag": 0.99}), false);
        check("payload.mag >= 1", json!({}), false);
        check("payload.mag >= 1", json!({"mag": "7"}), false);
        check("payload.mag", json!({"mag": 7}), false);
    }

    #[test]
    fn a_payload_that_is_not_json_fails() {
        let mut filter = registry()
            .build_node("std:filter", &Memory::default().context(), json!({"where": "payload.a == 1"}))
            .unwrap();
        let bytes = Packet::from(Fields { payload: "{".into(), ..packet(json!(0)).fields().clone() });
        let error = filter.process(&bytes, &mut Output::default()).unwrap_err();
        assert_eq!(error.class, Class::DecodeFailed);
    }

    #[test]
    fn wrong_configurations_name_the_key() {
        for (config, key, part) in [
            (json!({}), "where", "missing field"),
            (json!({"where": "payload.mag >"}), "where", "column 14"),
            (json!({"where": "true", "wher": 1}), "wher", "unknown field"),
        ] {
            let RegistryError::Config(error) = registry().lint("std:filter", config).unwrap_err() else {
                panic!("another error");
            };
            assert_eq!(error.key.as_deref(), Some(key));
            assert!(error.message.contains(part), "{error}");
        }
    }

    #[test]
    fn the_quakes() {
        let mut filter = registry()
            .build_node("std:filter", &Memory::default().context(), json!({"where": "payload.mag >= 1"}))
            .unwrap();
        let lines = include_str!("../../../scenarios/data/quakes.ndjson").lines();
        let mut out = Output::default();
        let read = lines.map(|line| filter.process(&packet(line.parse().unwrap()), &mut out).unwrap()).count();
        assert_eq!((read, out.packets.len()), (1707, 996));
    }
}
