//! What can be wrong with a graph, each with its code and what to write instead.

use super::spec::{EDGES_MAX, INBOX_MAX_LIMIT, Kind, NODES_MAX};

/// A graph doesn't make sense.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the fields are the words of the message right above them")]
pub enum GraphProblem {
    #[error("this is not a graph of version 2")]
    #[diagnostic(
        code(graph::version),
        help("write `version: 2`; a file that wires processes (processes, channels, links) has `version: 1`")
    )]
    Version,
    #[error("{count} {what} are more than {max}")]
    #[diagnostic(
        code(graph::too_many),
        help("a graph has at most {NODES_MAX} nodes and {EDGES_MAX} edges; split it into processes")
    )]
    TooMany { what: &'static str, count: usize, max: usize },
    #[error("two nodes have the id `{id}`")]
    #[diagnostic(code(graph::duplicate_id), help("give one of them another id"))]
    DuplicateId { id: String },
    #[error("there is no node kind `{kind}`")]
    #[diagnostic(code(graph::unknown_kind), help("{help}"))]
    UnknownKind { kind: String, help: String },
    #[error("this binary holds no plugin `{plugin}`")]
    #[diagnostic(
        code(graph::unknown_plugin),
        help(
            "{help}\na plugin of your own is registered in your own binary; to simulate the graph without it, a scenario names \
             its stand-in, [stand_in.\"{address}\"]"
        )
    )]
    UnknownPlugin { plugin: String, address: String, help: String },
    #[error("`{plugin}` is a {is}, and the node is a {kind}")]
    #[diagnostic(code(graph::wrong_role), help("write `kind: {is}`, or choose another plugin"))]
    WrongRole { plugin: String, is: Kind, kind: Kind },
    #[error("`{plugin}` can't take this config: {message}")]
    #[diagnostic(
        code(graph::plugin_config),
        help("change what the message names; `config` holds the keys of the plugin")
    )]
    PluginConfig { plugin: String, message: String },
    #[error("`inbox_max` must be a whole number from 1 to {INBOX_MAX_LIMIT}")]
    #[diagnostic(code(graph::inbox_max), help("it counts packets; leave it out for 1024"))]
    InboxMax,
    #[error("there is no `inbox_overflow: {overflow}`")]
    #[diagnostic(code(graph::unknown_overflow), help("{help}"))]
    UnknownOverflow { overflow: String, help: String },
    #[error("a {kind} has no inbox")]
    #[diagnostic(code(graph::no_inbox), help("remove `__runtime__` here, and bound the inboxes behind it"))]
    NoInbox { kind: Kind },
    #[error("there is no node `{id}`")]
    #[diagnostic(code(graph::unknown_node), help("{help}"))]
    UnknownNode { id: String, help: String },
    #[error("`{node}` has no port `{port}`")]
    #[diagnostic(code(graph::unknown_port), help("the only one is `{only}`; leave the key out"))]
    UnknownPort { node: String, port: String, only: &'static str },
    #[error("the edge from `{from}` to `{to}` is written twice")]
    #[diagnostic(code(graph::duplicate_edge), help("remove one of the two: each packet would arrive twice"))]
    DuplicateEdge { from: String, to: String },
    #[error("`{id}` is a source, and this edge leads into it")]
    #[diagnostic(code(graph::into_source), help("turn the edge round, or make `{id}` a node"))]
    IntoSource { id: String },
    #[error("`{id}` is a sink, and this edge leads out of it")]
    #[diagnostic(code(graph::out_of_sink), help("turn the edge round, or make `{id}` a node"))]
    OutOfSink { id: String },
    #[error("nothing leads {direction} `{id}`")]
    #[diagnostic(code(graph::unwired), severity(warning), help("add `- {{{example}}}` to `edges`, or remove the node"))]
    Unwired { id: String, direction: &'static str, example: String },
    #[error("the graph goes round in a circle: {path}")]
    #[diagnostic(
        code(graph::cycle),
        help("remove one of these edges; outside `delay` and `initial` nodes the edges must not lead back")
    )]
    Cycle { path: String },
    #[error("`{id}` is a {kind} node: not in this version")]
    #[diagnostic(
        code(graph::not_in_this_version),
        help("`run` refuses the graph; feed the result back by hand, or do without the loop")
    )]
    NotInThisVersion { id: String, kind: Kind },
    #[error("there is no payload profile `{profile}`")]
    #[diagnostic(code(graph::unknown_profile), help("{help}"))]
    UnknownProfile { profile: String, help: String },
    #[error("a channel can't carry `inproc_any`")]
    #[diagnostic(
        code(graph::profile),
        help("write `json_portable` or `ref_portable`: this edge meets a channel's end")
    )]
    Profile,
    #[error("this channel's end names no channel")]
    #[diagnostic(code(graph::channel_unnamed), help("add `config: {{channel: NAME}}`"))]
    ChannelUnnamed,
    #[error("a channel's end is a sink (it produces) or a source (it consumes), not a {kind}")]
    #[diagnostic(
        code(graph::channel_kind),
        help("write `kind: sink` in the producer's graph, `kind: source` in the consumer's")
    )]
    ChannelKind { kind: Kind },
    #[error("`{id}` is a channel's end, and this graph stands alone")]
    #[diagnostic(
        code(graph::channel_alone),
        help("name the file that wires the processes (`processes`, `channels`, `links`) instead of this one")
    )]
    ChannelAlone { id: String },
}
