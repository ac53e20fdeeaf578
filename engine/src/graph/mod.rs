//! Graphs: the file format, its rules, and the plan that the runtime starts from.
//!
//! Pure: text in, a plan or what is wrong out. Nothing here opens a file or builds a node.

pub(crate) mod check;
pub(crate) mod diagnostic;
pub(crate) mod plan;
mod problem;
pub(crate) mod spec;
pub(crate) mod suggest;
pub(crate) mod yaml;

pub use check::{Context, Phase, check};
pub use diagnostic::{At, Diagnostic, SourceFile};
pub use plan::{InboxSpec, Overflow, Plan, PlannedNode, Role, graph_hash};
pub use problem::GraphProblem;
pub use spec::{CHANNEL_PLUGIN, EdgeSpec, GraphSpec, INBOX_MAX_DEFAULT, Kind, NodeSpec, Profile};
pub use yaml::{FILE_BYTES_MAX, YamlProblem};

/// One plugin of each role, for the tests of what reads graphs.
#[cfg(test)]
pub(crate) fn test_registry() -> crate::node::Registry {
    use crate::env::Fut;
    use crate::node::{Entry, Node, NodeError, Output, Registry, Resume, Sink, Source};
    use crate::packet::Packet;

    struct Nothing;
    impl Source for Nothing {
        fn start(&mut self, _: Resume) -> Fut<'_, Result<(), NodeError>> {
            Box::pin(async { Ok(()) })
        }
        fn next(&mut self, _: usize) -> Fut<'_, Result<Option<Vec<Entry>>, NodeError>> {
            Box::pin(async { Ok(None) })
        }
    }
    impl Node for Nothing {
        fn process(&mut self, _: &Packet, _: &mut Output) -> Result<(), NodeError> {
            Ok(())
        }
    }
    impl Sink for Nothing {
        fn write<'a>(&'a mut self, _: &'a [Packet]) -> Fut<'a, Vec<Result<(), NodeError>>> {
            Box::pin(async { Vec::new() })
        }
    }

    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Path {
        #[serde(rename = "path")]
        _path: String,
    }
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Empty {}

    let mut registry = Registry::new();
    registry.source::<Path>("t:source", |_| Ok(()), |_, _| Ok(Box::new(Nothing)));
    registry.node::<Empty>("t:node", |_| Ok(()), |_, _| Ok(Box::new(Nothing)));
    registry.stateful::<Empty>("t:window", |_| Ok(()), |_, _| Ok(Box::new(Nothing)));
    registry.sink::<Empty>("t:sink", |_| Ok(()), |_, _| Ok(Box::new(Nothing)));
    registry
}
