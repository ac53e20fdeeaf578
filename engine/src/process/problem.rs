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
    #[error("channel `{channel}` has {links} links: N:N channels are not in this version")]
    #[diagnostic(code(process::not_in_this_version), help("use one channel for each pair of processes"))]
    ManyLinks { channel: String, links: usize },
    #[error("channel `{channel}` lives with `{host}`, which is not its consumer: not in this version")]
    #[diagnostic(code(process::not_in_this_version), help("leave `host` out: it is then the consumer `{consumer}`"))]
    ForeignHost { channel: String, host: String, consumer: String },
    #[error("channel `{channel}` leads from `{process}` back to itself: not in this version")]
    #[diagnostic(code(process::not_in_this_version), help("within a process, wire the nodes by edges"))]
    SelfLink { channel: String, process: String },
    #[error("no link uses channel `{channel}`")]
    #[diagnostic(
        code(process::unlinked_channel),
        help("add `- {{producer: ..., consumer: ..., channel: {channel}}}` to `links`, or remove the channel")
    )]
    UnlinkedChannel { channel: String },
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
