//! What is known of the processes of a real run, beside the ledger: their lives, and what they counted themselves.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One process, over all its lives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// Its id.
    pub id: String,
    /// Hash of what its graph says, hexadecimal.
    pub graph_hash: String,
    /// How often it was started.
    pub starts: u64,
    /// How the newest of its lives ended, oldest first: at most 32.
    pub ends: Vec<String>,
    /// False when a life was killed before it could tell all that it had counted: counts are then too low.
    pub counts_complete: bool,
    /// What it counted.
    pub counts: Counts,
    /// What opening its journal found lost or cut: at most 64, the newest.
    pub recovery: Vec<String>,
}

/// How often what happened, by the engine's own word; it judges nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// By the event's name, e.g. `entered`, `sink.acked`.
    pub events: BTreeMap<String, u64>,
    /// `dropped`, by reason; beyond 16 reasons, `other`.
    pub dropped: BTreeMap<String, u64>,
    /// `refused`, by reason; beyond 16 reasons, `other`.
    pub refused: BTreeMap<String, u64>,
}

impl Process {
    /// `3 starts, 812 entered, 812 sink.acked`: its lives, how the last one ended, and what it counted most tellingly.
    #[must_use]
    pub fn line(&self) -> String {
        let starts = if self.starts == 1 { "1 start".to_owned() } else { format!("{} starts", self.starts) };
        let ended = self.ends.last().cloned();
        std::iter::once(starts).chain(ended).chain(self.counts.told()).collect::<Vec<_>>().join(", ")
    }
}

impl Counts {
    /// The most telling ones: `812 entered`, `450 sink.acked`.
    pub fn told(&self) -> impl Iterator<Item = String> {
        let told = ["entered", "granted", "sink.acked", "dropped", "dead_lettered"];
        told.into_iter().filter_map(|name| Some(format!("{} {name}", self.events.get(name)?)))
    }
}
