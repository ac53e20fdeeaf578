//! The nodes that every binary has, `std:…`: three that shape packets, and ends for files and made-up events.
//!
//! `docs/nodes.md` is their manual. None of them touches a clock, a file or entropy but through its [`NodeContext`].
//!
//! [`NodeContext`]: crate::node::NodeContext

mod expr;
mod filter;
mod generator;
mod map;
mod ndjson_sink;
mod ndjson_source;
pub mod units;
mod window;

#[cfg(test)]
mod memory;

use crate::node::{ConfigError, Registry};
use expr::{Expr, ExprError, Path};

/// Adds the std plugins.
///
/// # Panics
/// When the registry already has one of them.
pub fn register(registry: &mut Registry) {
    registry.version(env!("CARGO_PKG_VERSION"));
    filter::register(registry);
    map::register(registry);
    window::register(registry);
    ndjson_source::register(registry);
    ndjson_sink::register(registry);
    generator::register(registry);
    registry.version("");
}

fn expr_at(key: &str, text: &str) -> Result<Expr, ConfigError> {
    Expr::parse(text).map_err(|error| wrong_text(key, text, &error))
}

fn path_at(key: &str, text: &str) -> Result<Path, ConfigError> {
    Path::parse(text).map_err(|error| wrong_text(key, text, &error))
}

fn wrong_text(key: &str, text: &str, error: &ExprError) -> ConfigError {
    ConfigError::at(key, format!("`{key}`: could not read `{text}`: {error}"))
}

/// Files of sources and sinks are named from the graph's directory, or absolutely.
fn path_of_file(path: &str) -> Result<(), ConfigError> {
    if path.is_empty() || path.ends_with('/') || path.contains('\0') {
        return Err(ConfigError::at("path", format!("`path`: `{path}` is not the path of a file")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::memory::registry;
    use crate::node::Shape;
    use serde_json::Value;

    #[test]
    fn the_manuals_examples_are_right() {
        let mut seen = Vec::new();
        for block in include_str!("../../../docs/nodes.md").split("```yaml\n").skip(1) {
            let yaml = block.split("```").next().unwrap();
            for node in serde_saphyr::from_str::<Vec<Value>>(yaml).unwrap() {
                let plugin = node["plugin"].as_str().unwrap().to_owned();
                registry().lint(&plugin, node["config"].clone()).unwrap_or_else(|error| panic!("{plugin}: {error}"));
                let kind = match registry().shape(&plugin).unwrap() {
                    Shape::Source => "source",
                    Shape::Node | Shape::StatefulNode => "node",
                    Shape::Sink => "sink",
                };
                assert_eq!(node["kind"], kind, "{plugin}");
                seen.push(plugin);
            }
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen, registry().names().collect::<Vec<_>>(), "each plugin has an example");
    }
}
