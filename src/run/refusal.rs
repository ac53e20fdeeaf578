//! What `run` refuses before anything starts, each with what to write instead.

use std::io;
use std::path::PathBuf;

use seaworthy_engine::env::os::KeysError;
use seaworthy_engine::runtime::EngineError;

use crate::exit::Exit;
use crate::held::HeldError;

/// The arguments don't fit the file, or the machine can't do what they ask for.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub(super) enum Refusal {
    /// `--only` with a graph.
    #[error("could not choose a process: {file} is a graph")]
    #[diagnostic(code(run::no_processes), help("leave out --only, or name a process graph"))]
    NoProcesses { file: String },
    /// `--only`, `--peer` with a name that the file doesn't have.
    #[error("could not find a process `{process}`")]
    #[diagnostic(code(run::unknown_process), help("the file has: {}", known.join(", ")))]
    UnknownProcess { process: String, known: Vec<String> },
    /// A channel's host without an address.
    #[error("could not run {process} alone: {channel} lives with it, and nobody could reach it")]
    #[diagnostic(code(run::no_listen), help("add --listen 127.0.0.1:7070"))]
    NoListen { process: String, channel: String },
    /// An address that nobody would call.
    #[error("could not listen: no channel lives with {process}")]
    #[diagnostic(code(run::needless_listen), help("leave out --listen"))]
    NeedlessListen { process: String },
    /// A producer that doesn't know where to send.
    #[error("could not run {process} alone: it sends {channel} to {peer}, and was not told where that is")]
    #[diagnostic(code(run::no_peer), help("add --peer {peer}=127.0.0.1:7070"))]
    NoPeer { process: String, channel: String, peer: String },
    /// Journals of processes that the file no longer has.
    #[error("could not start: {file} has no place for {what}")]
    #[diagnostic(code(run::orphans), help("bring back what is gone, or move it to the dead letters with --park"))]
    Gone { file: String, what: String },
    /// A data directory that can't be looked at.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Held(#[from] HeldError),
    /// What is to be parked can't be.
    #[error("could not park what {} holds", dir.display())]
    #[diagnostic(code(run::park))]
    Park { dir: PathBuf, source: EngineError },
    /// Something that is no address.
    #[error("could not read `{text}` in {option}")]
    #[diagnostic(code(run::address), help("write {want}"))]
    Address { option: &'static str, text: String, want: &'static str },
    /// A host's name that leads nowhere.
    #[error("could not find the machine of {text}")]
    #[diagnostic(code(run::unresolved), help("is the name right, and known here?"))]
    Unresolved { text: String, source: io::Error },
    /// An address that others can listen in on.
    #[error("will not carry packets in the clear: {address} in {option} is not a loopback address")]
    #[diagnostic(
        code(run::plaintext),
        help(
            "add --keys DIR, which `seaworthy keys` makes, for mutual TLS; or, on a network where nobody else can listen or send, --allow-plaintext"
        )
    )]
    Plaintext { option: &'static str, address: String },
    /// `--keys` for a graph that talks to nobody.
    #[error("could not use --keys: {file} is a graph, which no other process talks to")]
    #[diagnostic(code(run::no_lanes), help("leave out --keys, or name a process graph"))]
    NoLanes { file: String },
    /// A report that could not be written.
    #[error("could not write beside {}", path.display())]
    #[diagnostic(code(run::report), help("name a file in a folder that can be written with --report"))]
    Report { path: PathBuf, source: io::Error },
    /// Keys that can't be used.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Keys(#[from] KeysError),
}

impl Refusal {
    pub(super) fn exit(&self) -> Exit {
        match self {
            Refusal::Unresolved { .. } | Refusal::Held(_) | Refusal::Park { .. } | Refusal::Report { .. } => {
                Exit::Environment
            }
            Refusal::Keys(error) if error.is_outside() => Exit::Environment,
            _ => Exit::Usage,
        }
    }
}
