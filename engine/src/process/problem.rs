//! What can be wrong with a process graph, each with its code and what to write instead.

/// A process graph doesn't make sense, by itself or with the graphs that it names.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the fields are the words of the message right above them")]
pub enum ProcessProblem {
    #[error("this is not a process graph of version 1")]
    #[diagnostic(code(process::version), help("write `version: 1`; a graph of nodes and edges has `version: 2`"))]
    Version,
    #[error("{count} {what} are more than {max}")]
    #[diagnostic(code(process::too_many), help("split the file"))]
    TooMany { what: &'static str, count: usize, max: usize },
    #[error("two {what} have the id `{id}`")]
    #[diagnostic(code(process::duplicate_id), help("give one of them another id"))]
    DuplicateId { what: &'static str, id: String },
    #[error("there is no process `{id}`")]
    #[diagnostic(code(process::unknown_process), help("{help}"))]
    UnknownProcess { id: String, help: String },
    #[error("there is no channel `{id}`")]
    #[diagnostic(code(process::unknown_channel), help("{help}"))]
    UnknownChannel { id: String, help: String },
    #[error("there is no channel kind `{kind}`")]
    #[diagnostic(code(process::unknown_kind), help("write `kind: journal`"))]
    UnknownKind { kind: String },
    #[error("`kind: sqlite_queue` is an alias of `journal` here")]
    #[diagnostic(
        code(process::alias),
        severity(advice),
        help("nothing is lost or left out; write `kind: journal` to be clear")
    )]
    Alias,
    #[error("`path` is not used: a channel lives in the journal of its host")]
    #[diagnostic(code(process::path_unused), severity(advice), help("remove it; `--data-dir` says where journals lie"))]
    PathUnused,
    #[error("`require_ack: false` changes nothing in this version: the consumer always acks")]
    #[diagnostic(code(process::always_acks), severity(warning), help("write `require_ack: true`, or leave it out"))]
    AlwaysAcks,
    #[error("a channel can't carry `inproc_any`")]
    #[diagnostic(code(process::profile), help("write `json_portable` or `ref_portable`"))]
    Profile,
    #[error("channel `{channel}` has several consumers, and no host: {consumers}")]
    #[diagnostic(
        code(process::host_needed),
        help("add `host: {first}` to the channel, or another process: it keeps the packets of all")
    )]
    HostNeeded { channel: String, consumers: String, first: String },
    #[error("process `{consumer}` takes from channel `{channel}` in two groups: `{first}` and `{second}`")]
    #[diagnostic(code(process::two_groups), help("give its links the same `group`, or use a process for each"))]
    TwoGroups { channel: String, consumer: String, first: String, second: String },
    #[error("the link from `{producer}` to `{consumer}` over channel `{channel}` is written twice")]
    #[diagnostic(code(process::repeated_link), help("remove one of the two"))]
    RepeatedLink { channel: String, producer: String, consumer: String },
    #[error("`{key}` can't be `{word}`")]
    #[diagnostic(code(process::unknown_word), help("{help}"))]
    UnknownWord { key: String, word: String, help: String },
    #[error("`{key}`: `{text}` is not a duration of 1 ns to 30 days")]
    #[diagnostic(code(process::no_time), help("write e.g. `500ms`, `10s` or `1h`"))]
    NoTime { key: String, text: String },
    #[error("`{key}` must be a whole number from 1 to {max}")]
    #[diagnostic(code(process::no_count), help("write e.g. `{key}: 5`, or leave it out"))]
    NoCount { key: String, max: u64 },
    #[error("nothing ever becomes poison here: packets are delivered as often as it takes")]
    #[diagnostic(code(process::no_poison), help("add e.g. `max_deliver: 5`, or remove `on_poison`"))]
    NoPoison,
    #[error("a channel with `order: none` knows no keys to park or block")]
    #[diagnostic(code(process::no_keys), help("write `order: key`, or `on_poison: dlq`"))]
    NoKeys,
    #[error("`backoff` is longer than `backoff_max`")]
    #[diagnostic(code(process::backoff), help("the first wait doubles up to the longest: swap the two"))]
    Backoff,
    #[error("process `{process}` puts into channel `{channel}` and takes from it: not in this version")]
    #[diagnostic(code(process::not_in_this_version), help("within a process, wire the nodes by edges"))]
    SelfLink { channel: String, process: String },
    #[error("packets go round in a circle: {path}: not in this version")]
    #[diagnostic(
        code(process::cycle),
        help(
            "in one of these processes, let nothing lead from the channel that it takes from to the one that it puts into"
        )
    )]
    Cycle { path: String },
    #[error("no link uses channel `{channel}`")]
    #[diagnostic(
        code(process::unlinked_channel),
        help("add `- {{producer: ..., consumer: ..., channel: {channel}}}` to `links`, or remove the channel")
    )]
    UnlinkedChannel { channel: String },
    #[error("process `{producer}` puts into {count} channels of `{host}`: a connection carries {max}")]
    #[diagnostic(
        code(process::too_many_channels),
        help("give some of them another `host`, or let another process put into them")
    )]
    TooManyChannels { producer: String, host: String, count: usize, max: usize },
    #[error("process `{host}` keeps channels for {count} connections: it takes {max}")]
    #[diagnostic(
        code(process::too_many_connections),
        help(
            "give some of its channels another `host`; each producer has one connection, each member one for each channel"
        )
    )]
    TooManyConnections { host: String, count: usize, max: usize },
    #[error("the graph of `{process}` has no node that {does} channel `{channel}`")]
    #[diagnostic(
        code(process::missing_end),
        help(
            "add to {graph}: {{id: {channel}, kind: {kind}, plugin: \"std:channel\", config: {{channel: {channel}}}}}"
        )
    )]
    MissingEnd { process: String, channel: String, graph: String, does: &'static str, kind: &'static str },
    #[error("no link lets process `{process}` {may} channel `{channel}`")]
    #[diagnostic(code(process::unlinked_end), help("{help}"))]
    UnlinkedEnd { process: String, channel: String, may: &'static str, help: String },
    #[error("channel `{channel}` has two ends of the same kind in this graph")]
    #[diagnostic(
        code(process::second_end),
        help("keep one node for the channel, and lead several edges into or out of it")
    )]
    SecondEnd { channel: String },
    #[error("could not read the graph `{path}`")]
    #[diagnostic(
        code(process::graph_unreadable),
        help("paths are relative to the file that names them; is it spelled right?")
    )]
    GraphUnreadable { path: String, source: std::io::Error },
}
