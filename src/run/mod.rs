//! `run`: a graph, or all processes of a process graph, for real.
//!
//! A graph runs here, in this process. A process graph is supervised: one child a process, each this same command with
//! `--only` and `--child`; the two sides talk as [`words`] says.

mod address;
mod console;
mod engine;
mod gone;
mod journal;
mod ledger;
mod refusal;
mod report;
mod supervisor;
mod tally;
mod words;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use seaworthy_engine::env::os::Keys;
use seaworthy_engine::graph::{Diagnostic, Phase, Plan};
use seaworthy_engine::load::{Planned, load_any};
use seaworthy_engine::node::Registry;
use seaworthy_engine::process::{ChannelPlan, ProcessPlan};

use crate::exit::Exit;
use crate::files::read_text;
use crate::show;
use console::Console;
use engine::Launch;
pub(crate) use journal::JournalArgs;
use ledger::Ledger;
use refusal::Refusal;

/// Runs a graph for real, or each process of a process graph in a child that is restarted when it dies.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  seaworthy run graph.yaml --report result.json
  seaworthy run process.yaml --data-dir /var/lib/seaworthy
  seaworthy run process.yaml --only hub --listen 127.0.0.1:7070
  seaworthy run process.yaml --only edge --peer hub=127.0.0.1:7070
  seaworthy run process.yaml --only hub --listen 10.0.0.1:7070 --keys keys

Ends with 0 when all input has ended and all is delivered. SIGINT or SIGTERM stops in good order: what is in flight is
finished, what is in a journal goes on next time. A second one ends at once, with 130; nothing is lost by that either.
A child that dies is started again after 0.05 to 1 s, as often as it takes; one that ends with 2, or with 74 before it
ever was up, ends the run.")]
pub(crate) struct Args {
    /// A graph or a process graph (.yaml).
    file: String,
    /// Where journals are kept: a graph's own, or one directory in it for each process [default: data/<name of FILE>]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Runs this process of a process graph alone, here and without restarts.
    #[arg(long, value_name = "PROCESS")]
    only: Option<String>,
    /// Where a process is that this one sends to; once for each.
    #[arg(long, value_name = "PROCESS=HOST:PORT", requires = "only")]
    peer: Vec<String>,
    /// Where this process is reached by those that send to it; port 0 takes any and says which.
    #[arg(long, value_name = "ADDRESS:PORT", requires = "only")]
    listen: Option<String>,
    /// Encrypts what goes between processes, and lets each prove who it is: a directory that `seaworthy keys` made.
    #[arg(long, value_name = "DIR", conflicts_with = "allow_plaintext")]
    keys: Option<PathBuf>,
    /// Lets packets cross a network unencrypted: allows addresses other than loopback without --keys.
    #[arg(long)]
    allow_plaintext: bool,
    #[command(flatten)]
    journal: JournalArgs,
    /// Moves what the journals hold and the graph has no place for any more to the dead letters, instead of refusing to start.
    #[arg(long)]
    park: bool,
    /// Keeps a ledger of what the sources bring and the sinks take, and writes what it comes to, as result.json in wall time.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// A supervisor started this: words from stdin, words to stdout.
    #[arg(long, hide = true, requires = "only")]
    child: bool,
    /// Where this child's witness writes.
    #[arg(long, hide = true, requires = "child", value_name = "DIR")]
    witness: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, registry: &Registry) -> Exit {
    let loaded = load_any(&args.file, &read_text, registry, Phase::Run);
    // A child's warnings were shown by its supervisor.
    let shown = loaded.diagnostics.iter().filter(|found| found.is_error() || !args.child);
    shown.for_each(|found| show::problem(found));
    let Some(planned) = loaded.planned else {
        let outside = loaded.diagnostics.iter().filter(|found| found.is_error()).all(Diagnostic::is_outside);
        return if outside { Exit::Environment } else { Exit::Usage };
    };
    start(args, planned, registry).unwrap_or_else(|refusal| {
        show::problem(&refusal);
        refusal.exit()
    })
}

fn start(args: &Args, planned: Planned, registry: &Registry) -> Result<Exit, Refusal> {
    let ledger = Ledger::open(args, &planned, registry)?;
    match (planned, &args.only) {
        (Planned::Graph(_), _) if args.keys.is_some() => Err(Refusal::NoLanes { file: args.file.clone() }),
        (Planned::Graph(plan), None) => {
            let launch = Launch {
                files: parent(&args.file),
                data_dir: data_dir(args),
                channels: Vec::new(),
                listen: None,
                peers: BTreeMap::new(),
                ..launch(args, plan, registry)
            };
            Ok(alone(args, launch, ledger))
        }
        (Planned::Graph(_), Some(_)) => Err(Refusal::NoProcesses { file: args.file.clone() }),
        (Planned::Processes(plan), Some(only)) => Ok(alone(args, one_of(args, plan, only, registry)?, ledger)),
        (Planned::Processes(plan), None) => {
            // What a child would find wrong is said once, before anything starts.
            plan.processes.iter().try_for_each(|process| keys(args, &process.id).map(drop))?;
            gone::settle(args, &plan)?;
            let console = Console::named(Some("run"));
            let ended = supervisor::run(args, &plan, &console, ledger.as_ref().and_then(Ledger::dir));
            Ok(ended.close(&console, &args.file, ledger.zip(args.report.as_deref())))
        }
    }
}

fn launch(args: &Args, plan: Plan, registry: &Registry) -> Launch {
    Launch {
        plan,
        channels: Vec::new(),
        files: PathBuf::new(),
        data_dir: PathBuf::new(),
        listen: None,
        peers: BTreeMap::new(),
        keys: None,
        registry: registry.clone(),
        journal: args.journal.clone(),
        park: args.park,
        child: args.child,
        witness: args.witness.clone(),
    }
}

/// One process of a process graph, with its addresses.
fn one_of(args: &Args, plan: ProcessPlan, only: &str, registry: &Registry) -> Result<Launch, Refusal> {
    let known: Vec<String> = plan.processes.iter().map(|process| process.id.clone()).collect();
    let Some(process) = plan.processes.into_iter().find(|process| process.id == only) else {
        return Err(Refusal::UnknownProcess { process: only.to_owned(), known });
    };
    let addresses = address::Addresses::of(args, only, &plan.channels, &known)?;
    Ok(Launch {
        files: parent(&process.path),
        data_dir: data_dir(args).join(only),
        channels: ChannelPlan::of(only, &plan.channels),
        listen: addresses.listen,
        peers: addresses.peers,
        keys: keys(args, only)?,
        ..launch(args, process.plan, registry)
    })
}

/// The keys of one process, where there are any to be used.
fn keys(args: &Args, process: &str) -> Result<Option<Keys>, Refusal> {
    Ok(args.keys.as_deref().map(|dir| Keys::load(dir, process)).transpose()?)
}

fn alone(args: &Args, mut launch: Launch, ledger: Option<Ledger>) -> Exit {
    let console = Console::named(args.child.then_some(launch.plan.process.as_str()));
    console.take_logs();
    if let Some(dir) = ledger.as_ref().and_then(Ledger::dir) {
        launch.witness = Some(dir.to_owned());
    }
    let ended = engine::run(launch, &console);
    if args.child {
        return ended.exit;
    }
    ended.close(&console, &args.file, ledger.zip(args.report.as_deref()))
}

fn data_dir(args: &Args) -> PathBuf {
    let stem = Path::new(&args.file).file_stem().map(PathBuf::from).unwrap_or_default();
    args.data_dir.clone().unwrap_or_else(|| Path::new("data").join(stem))
}

fn parent(path: &str) -> PathBuf {
    let parent = Path::new(path).parent().unwrap_or(Path::new(""));
    if parent.as_os_str().is_empty() { PathBuf::from(".") } else { parent.to_owned() }
}
