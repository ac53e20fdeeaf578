//! `queue`: what a data directory holds, beside whoever writes it (`docs/queue.md`).

mod dlq;
mod export;
mod fsck;
mod import;
mod log;
mod ls;
mod sqlite;
mod stats;

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use seaworthy_engine::env::Disk;
use seaworthy_engine::env::os::OsDisk;
use seaworthy_engine::journal::image::Image;
use seaworthy_engine::journal::reader::{Finding, ReadError, Reader, Step};
use seaworthy_engine::journal::repair::RepairError;
use seaworthy_engine::journal::{JournalError, Lsn};

use crate::exit::Exit;
use crate::show;

/// Shows, checks, exports and fills the journals in data directories.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  seaworthy queue ls data/edge_hub/hub
  seaworthy queue fsck data/edge_hub/hub
  seaworthy queue export data/edge_hub/hub --channel uplink > packets.ndjson
  seaworthy queue import data/edge_hub/edge --from sqlite:old-queue.db --channel uplink

ls, stats, log, export and fsck only read, and need no lock: the process may run. fsck --repair and import need it stopped.
fsck ends with 1 when something is damaged, 74 when there is no journal that this binary can read.")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Lists channels, groups and dead letters: how far they are, and what waits.
    Ls(Place),
    /// Adds up what the segments hold: bytes, records by kind, wear, times.
    Stats(Place),
    /// Writes the packets that the segments still hold, a line each.
    Export(export::Args),
    /// Lists the records, a line each, in the order in which they were written.
    Log(log::Args),
    /// Reads everything, and explains what is damaged.
    Fsck(fsck::Args),
    /// Appends the packets of an SQLite queue to a channel.
    Import(import::Args),
}

/// Where a journal is.
#[derive(clap::Args)]
struct Place {
    /// A process's data directory.
    dir: PathBuf,
    /// For a program.
    #[arg(long)]
    json: bool,
}

/// Why a queue could not be read, repaired or filled.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub(crate) enum QueueError {
    /// The journal can't be read.
    #[error("could not read {}", dir.display())]
    #[diagnostic(
        code(queue::read),
        help("a process's data directory is DATA_DIR/PROCESS, or DATA_DIR of a single graph")
    )]
    Read { dir: PathBuf, source: ReadError },
    /// It can't be repaired.
    #[error("could not repair {}", dir.display())]
    #[diagnostic(code(queue::repair))]
    Repair { dir: PathBuf, source: RepairError },
    /// It can't be written.
    #[error("could not write into {}", dir.display())]
    #[diagnostic(code(queue::write))]
    Write { dir: PathBuf, source: JournalError },
    /// The other queue can't be read.
    #[error("could not read {}", file.display())]
    #[diagnostic(
        code(queue::sqlite),
        help(
            "an SQLite file with a table `packets` (seq, enqueued_at, idempotency_key, packet_id, ts, kind, source_id, payload_json, meta_json)"
        )
    )]
    Sqlite { file: PathBuf, source: rusqlite::Error },
    /// Something that is no queue.
    #[error("could not make sense of `{text}` in --from")]
    #[diagnostic(code(queue::from), help("write sqlite:FILE"))]
    From { text: String },
    /// The journal knows the queue's name, but not the queue.
    #[error("could not go on with `{name}` behind row {after}: row {after} of {} is not the one that was imported then", file.display())]
    #[diagnostic(
        code(queue::other),
        help(
            "another queue needs a name of its own: `--as NAME` imports all of it, and nothing of it was left out or imported so far"
        )
    )]
    Other { file: PathBuf, name: String, after: u64 },
    /// Rows that an import, which goes by their numbers, would never come to.
    #[error("could not import {}: {} a `seq` below 1, the least is {least}", file.display(), crate::show::count(*rows, "row has", "rows have"))]
    #[diagnostic(
        code(queue::below_first),
        help(
            "rows are taken by ascending `seq` from 1: give them numbers of their own in a copy of the queue; nothing was imported"
        )
    )]
    BelowFirst { file: PathBuf, rows: usize, least: i64 },
    /// The machine failed.
    #[error("could not {what}")]
    #[diagnostic(code(queue::machine))]
    Machine { what: &'static str, source: io::Error },
}

impl QueueError {
    fn exit(&self) -> Exit {
        match self {
            QueueError::From { .. } | QueueError::Other { .. } | QueueError::BelowFirst { .. } => Exit::Usage,
            _ => Exit::Environment,
        }
    }
}

pub(crate) fn run(args: &Args) -> Exit {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime.map_err(|source| QueueError::Machine { what: "start the runtime", source });
    let outcome = outcome.and_then(|runtime| match &args.command {
        Command::Ls(place) => runtime.block_on(ls::run(&place.dir, place.json)),
        Command::Stats(place) => runtime.block_on(stats::run(&place.dir, place.json)),
        Command::Export(args) => runtime.block_on(export::run(args)),
        Command::Log(args) => runtime.block_on(log::run(args)),
        Command::Fsck(args) => runtime.block_on(fsck::run(args)),
        Command::Import(args) => runtime.block_on(import::run(args)),
    });
    outcome.unwrap_or_else(|error| {
        show::problem(&error);
        error.exit()
    })
}

/// What the journal in `dir` adds up to; `None` where there is none. Takes no lock and writes nothing.
pub(crate) fn image(dir: &Path) -> Result<Option<Image>, QueueError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| QueueError::Machine { what: "start the runtime", source })?;
    runtime.block_on(async {
        let mut reader = match Reader::open(disk(dir)?).await {
            Ok(reader) => reader,
            Err(ReadError::Missing | ReadError::NoJournal) => return Ok(None),
            Err(error) => return Err(unreadable(dir)(error)),
        };
        ls::image(&mut reader, &mut Findings::default()).await.map(Some).map_err(unreadable(dir))
    })
}

fn disk(dir: &Path) -> Result<Arc<dyn Disk>, QueueError> {
    let disk =
        OsDisk::new(dir).map_err(|source| QueueError::Machine { what: "start the threads for files", source })?;
    Ok(Arc::new(disk))
}

fn unreadable(dir: &Path) -> impl Fn(ReadError) -> QueueError {
    move |source| QueueError::Read { dir: dir.to_owned(), source }
}

async fn reader(dir: &Path) -> Result<Reader, QueueError> {
    Reader::open(disk(dir)?).await.map_err(unreadable(dir))
}

/// Prints what `write` makes of each frame below `to` and of what was passed over, until the journal ends or whoever reads it
/// has seen enough. `what` names it where it can't be done.
async fn print(
    dir: &Path,
    mut reader: Reader,
    to: u64,
    what: &'static str,
    mut write: impl FnMut(&mut dyn Write, Step, &mut Findings) -> io::Result<()>,
) -> Result<Exit, QueueError> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut findings = Findings::default();
    while let Some(step) = reader.next().await.map_err(unreadable(dir))? {
        let written = match step {
            Step::Finding(finding) => {
                findings.add(finding);
                Ok(())
            }
            Step::Frame(frame) if frame.header.base >= Lsn(to) => break,
            step => write(&mut out, step, &mut findings),
        };
        match written {
            Ok(()) => {}
            // A reader that has seen enough (`| head`) is fine.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(Exit::Pass),
            Err(source) => return Err(QueueError::Machine { what, source }),
        }
    }
    out.flush().map_err(|source| QueueError::Machine { what, source })?;
    findings.tell();
    Ok(findings.exit())
}

/// Findings that are kept one by one; further ones are only counted.
const FINDINGS_MAX: usize = 1000;

/// What was found on the way through a journal.
#[derive(Default)]
struct Findings {
    kept: Vec<Finding>,
    more: u64,
    damaged: bool,
}

impl Findings {
    fn add(&mut self, finding: Finding) {
        self.damaged |= finding.is_damage();
        if self.kept.len() < FINDINGS_MAX { self.kept.push(finding) } else { self.more += 1 }
    }

    /// Tells them on stderr, where a report goes to stdout.
    fn tell(&self) {
        show::notes(&self.lines());
    }

    fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.kept.iter().map(ToString::to_string).collect();
        if self.more > 0 {
            lines.push(format!("and {} more findings", self.more));
        }
        lines
    }

    fn exit(&self) -> Exit {
        if self.damaged { Exit::Failed } else { Exit::Pass }
    }
}

/// `12.0 MiB`.
fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64)
}
