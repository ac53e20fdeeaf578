//! The registry: which plugin names this binary holds, and how each is built from its configuration.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::{Node, Sink, Source};
use crate::env::{Disk, Env};

/// What a plugin is built from.
#[derive(Clone)]
pub struct NodeContext {
    /// The machine.
    pub env: Env,
    /// The files beside the graph, for sources and sinks that read and write files. Not the data directory.
    pub files: Arc<dyn Disk>,
    /// The process that the node runs in.
    pub process: String,
    /// The node's id.
    pub node: String,
}

/// The role of a plugin, which must match the node's `kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Brings packets in.
    Source,
    /// Packets in, packets out; keeps no state.
    Node,
    /// Packets in, packets out; keeps durable state.
    StatefulNode,
    /// Takes packets out.
    Sink,
}

/// A node's configuration doesn't fit its plugin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConfigError {
    /// What is wrong, naming the key.
    pub message: String,
    /// The key that is wrong, when one is.
    pub key: Option<String>,
}

impl ConfigError {
    /// An error about `key`.
    pub fn at(key: &str, message: impl Into<String>) -> Self {
        ConfigError { message: message.into(), key: Some(key.into()) }
    }
}

type Build<T> = Arc<dyn Fn(&NodeContext, serde_json::Value) -> Result<Box<T>, ConfigError> + Send + Sync>;
type MakeNode = Arc<dyn Fn() -> Box<dyn Node> + Send + Sync>;
type Lint = Arc<dyn Fn(serde_json::Value) -> Result<(), ConfigError> + Send + Sync>;

#[derive(Clone)]
enum Builder {
    Source(Build<dyn Source>),
    Node { build: Build<dyn Node>, stateful: bool },
    Sink(Build<dyn Sink>),
}

#[derive(Clone)]
struct Plugin {
    builder: Builder,
    lint: Lint,
    version: String,
}

/// Plugins by name. Belongs to whoever made it; there is no global one.
#[derive(Clone, Default)]
pub struct Registry {
    plugins: BTreeMap<String, Plugin>,
    /// Nodes that stand in for ones whose plugin isn't here, by `process.node`.
    stand_ins: BTreeMap<String, MakeNode>,
    /// Of the plugins that come next.
    version: String,
}

/// A plugin can't be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// No plugin of that name.
    #[error("unknown plugin `{0}`")]
    Unknown(String),
    /// The plugin has another role.
    #[error("plugin `{name}` is a {is:?}, not a {wanted:?}")]
    Shape {
        /// The plugin.
        name: String,
        /// Its role.
        is: Shape,
        /// What was asked for.
        wanted: Shape,
    },
    /// The configuration doesn't fit.
    #[error("{0}")]
    Config(#[from] ConfigError),
}

fn parse<C: DeserializeOwned>(config: serde_json::Value) -> Result<C, ConfigError> {
    // An absent config reads as an empty one, so that serde can name the keys that are missing.
    let config = if config.is_null() { serde_json::Value::Object(serde_json::Map::new()) } else { config };
    serde_json::from_value(config).map_err(|error| {
        let message = error.to_string();
        let key = message.split('`').nth(1).map(str::to_owned);
        ConfigError { message, key }
    })
}

impl Registry {
    /// An empty registry.
    #[must_use]
    pub fn new() -> Self {
        Registry::default()
    }

    /// Says the version of the plugins that are added from here on; dead letters name it.
    pub fn version(&mut self, version: &str) {
        version.clone_into(&mut self.version);
    }

    /// The version of a plugin; empty when there is none of that name, or nobody said.
    #[must_use]
    pub fn version_of(&self, name: &str) -> &str {
        self.plugins.get(name).map_or("", |plugin| &plugin.version)
    }

    fn insert(&mut self, name: &str, builder: Builder, lint: Lint) {
        let plugin = Plugin { builder, lint, version: self.version.clone() };
        let replaced = self.plugins.insert(name.to_owned(), plugin).is_some();
        assert!(!replaced, "plugin `{name}` is registered twice");
    }

    /// Adds a source. `C` is its configuration; `lint` checks what serde can't, without touching anything outside.
    ///
    /// # Panics
    /// When the name is taken.
    pub fn source<C: DeserializeOwned + 'static>(
        &mut self,
        name: &str,
        lint: fn(&C) -> Result<(), ConfigError>,
        build: impl Fn(&NodeContext, C) -> Result<Box<dyn Source>, ConfigError> + Send + Sync + 'static,
    ) {
        let builder = Builder::Source(Arc::new(move |context, config| build(context, parse::<C>(config)?)));
        self.insert(name, builder, Arc::new(move |config| lint(&parse::<C>(config)?)));
    }

    /// Adds a node without state.
    ///
    /// # Panics
    /// When the name is taken.
    pub fn node<C: DeserializeOwned + 'static>(
        &mut self,
        name: &str,
        lint: fn(&C) -> Result<(), ConfigError>,
        build: impl Fn(&NodeContext, C) -> Result<Box<dyn Node>, ConfigError> + Send + Sync + 'static,
    ) {
        let build: Build<dyn Node> = Arc::new(move |context, config| build(context, parse::<C>(config)?));
        let builder = Builder::Node { build, stateful: false };
        self.insert(name, builder, Arc::new(move |config| lint(&parse::<C>(config)?)));
    }

    /// Adds a node that keeps durable state. Its state, its outputs and its input's cursor are committed together.
    ///
    /// # Panics
    /// When the name is taken.
    pub fn stateful<C: DeserializeOwned + 'static>(
        &mut self,
        name: &str,
        lint: fn(&C) -> Result<(), ConfigError>,
        build: impl Fn(&NodeContext, C) -> Result<Box<dyn Node>, ConfigError> + Send + Sync + 'static,
    ) {
        let build: Build<dyn Node> = Arc::new(move |context, config| build(context, parse::<C>(config)?));
        let builder = Builder::Node { build, stateful: true };
        self.insert(name, builder, Arc::new(move |config| lint(&parse::<C>(config)?)));
    }

    /// Adds a sink.
    ///
    /// # Panics
    /// When the name is taken.
    pub fn sink<C: DeserializeOwned + 'static>(
        &mut self,
        name: &str,
        lint: fn(&C) -> Result<(), ConfigError>,
        build: impl Fn(&NodeContext, C) -> Result<Box<dyn Sink>, ConfigError> + Send + Sync + 'static,
    ) {
        let builder = Builder::Sink(Arc::new(move |context, config| build(context, parse::<C>(config)?)));
        self.insert(name, builder, Arc::new(move |config| lint(&parse::<C>(config)?)));
    }

    /// Lets the node at `address` (`process.node`) be planned though this registry doesn't hold its plugin; its configuration is
    /// not looked at. A node is then the one that `make` gives. A source or a sink is left to whoever starts the engine, who
    /// gives a [`StandIn`](crate::runtime::StandIn). A plugin that is here is used all the same.
    pub fn stand_in(&mut self, address: &str, make: impl Fn() -> Box<dyn Node> + Send + Sync + 'static) {
        self.stand_ins.insert(address.to_owned(), Arc::new(make));
    }

    /// Whether something stands in for the node at `address` (`process.node`).
    #[must_use]
    pub fn has_stand_in(&self, address: &str) -> bool {
        self.stand_ins.contains_key(address)
    }

    /// Names of all plugins, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.plugins.keys().map(String::as_str)
    }

    /// The role of a plugin, or `None` when there is none of that name.
    #[must_use]
    pub fn shape(&self, name: &str) -> Option<Shape> {
        self.plugins.get(name).map(|plugin| match plugin.builder {
            Builder::Source(_) => Shape::Source,
            Builder::Node { stateful: false, .. } => Shape::Node,
            Builder::Node { stateful: true, .. } => Shape::StatefulNode,
            Builder::Sink(_) => Shape::Sink,
        })
    }

    /// Checks a configuration without building anything.
    ///
    /// # Errors
    /// Unknown plugin, or a configuration that it can't take.
    pub fn lint(&self, name: &str, config: serde_json::Value) -> Result<(), RegistryError> {
        let plugin = self.plugins.get(name).ok_or_else(|| RegistryError::Unknown(name.to_owned()))?;
        Ok((plugin.lint)(config)?)
    }

    fn wrong(&self, name: &str, wanted: Shape) -> RegistryError {
        match self.shape(name) {
            Some(is) => RegistryError::Shape { name: name.to_owned(), is, wanted },
            None => RegistryError::Unknown(name.to_owned()),
        }
    }

    /// Builds a source.
    ///
    /// # Errors
    /// Unknown plugin, another role, or a configuration that it can't take.
    pub fn build_source(
        &self,
        name: &str,
        context: &NodeContext,
        config: serde_json::Value,
    ) -> Result<Box<dyn Source>, RegistryError> {
        match self.plugins.get(name).map(|plugin| &plugin.builder) {
            Some(Builder::Source(build)) => Ok(build(context, config)?),
            _ => Err(self.wrong(name, Shape::Source)),
        }
    }

    /// Builds a node, stateful or not.
    ///
    /// # Errors
    /// Unknown plugin, another role, or a configuration that it can't take.
    pub fn build_node(
        &self,
        name: &str,
        context: &NodeContext,
        config: serde_json::Value,
    ) -> Result<Box<dyn Node>, RegistryError> {
        match self.plugins.get(name).map(|plugin| &plugin.builder) {
            Some(Builder::Node { build, .. }) => Ok(build(context, config)?),
            Some(_) => Err(self.wrong(name, Shape::Node)),
            None => match self.stand_ins.get(&format!("{}.{}", context.process, context.node)) {
                Some(make) => Ok(make()),
                None => Err(self.wrong(name, Shape::Node)),
            },
        }
    }

    /// Builds a sink.
    ///
    /// # Errors
    /// Unknown plugin, another role, or a configuration that it can't take.
    pub fn build_sink(
        &self,
        name: &str,
        context: &NodeContext,
        config: serde_json::Value,
    ) -> Result<Box<dyn Sink>, RegistryError> {
        match self.plugins.get(name).map(|plugin| &plugin.builder) {
            Some(Builder::Sink(build)) => Ok(build(context, config)?),
            _ => Err(self.wrong(name, Shape::Sink)),
        }
    }
}
