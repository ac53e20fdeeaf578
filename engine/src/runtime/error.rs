//! Why an engine could not start, or ended, and the exit code that a process then has.

use super::orphans::{Orphan, list};
use crate::journal::JournalError;
use crate::lane::LaneError;
use crate::node::{NodeError, RegistryError};
use crate::packet::Seq;

/// Why an engine could not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The journal can't be opened, or stopped.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A node can't be built.
    #[error("could not build the graph: {0}")]
    Build(#[from] RegistryError),
    /// A node can't take its state back.
    #[error("could not restore node `{node}`: {error}")]
    Restore {
        /// The node.
        node: String,
        /// Its words.
        error: NodeError,
    },
    /// A source failed.
    #[error("could not read from source `{node}`: {error}")]
    Source {
        /// The node.
        node: String,
        /// Its words.
        error: NodeError,
    },
    /// A stored packet can't be read.
    #[error("could not read packet {seq} of {channel}: {why}")]
    Decode {
        /// The channel.
        channel: String,
        /// Its number.
        seq: Seq,
        /// The decoder's words.
        why: String,
    },
    /// The graph has changed, and has no place for what the journal holds.
    #[error("could not start: the graph has no place for {}; bring back what is gone, or move it to the dead letters with --park", list(.0))]
    Orphans(Vec<Orphan>),
    /// A lane can't go on.
    #[error("could not run a lane: {0}")]
    Lane(#[from] LaneError),
    /// The program is wrong: a task panicked outside any node.
    #[error("engine.panic: {0}")]
    Panic(String),
}

impl EngineError {
    /// The exit code that a process ends with (PLAN.md): 2 usage, 70 internal, 74 environment.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            EngineError::Build(_) | EngineError::Orphans(_) => 2,
            EngineError::Panic(_) => 70,
            EngineError::Journal(_) | EngineError::Restore { .. } | EngineError::Source { .. } => 74,
            EngineError::Decode { .. } | EngineError::Lane(_) => 74,
        }
    }
}
