//! The ledger of a real run: where its witnesses write, and what that comes to when the run is over.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use seaworthy_engine::env::os::OsDisk;
use seaworthy_engine::journal::reader::{ReadError, Reader, Step};
use seaworthy_engine::load::Planned;
use seaworthy_engine::node::Registry;
use seaworthy_harness::history::Buried;
use seaworthy_harness::run::{Prepared, Witnessed, WitnessedError};
use seaworthy_harness::witness::EVENTS_MAX;
use seaworthy_reports::pool::{Pool, ScenarioMeta};
use seaworthy_reports::result::{Scenario, Verdict};
use tempfile::TempDir;

use super::refusal::Refusal;
use super::{Args, data_dir, parent};
use crate::made_up;

/// What a run is to be judged by, or why it can't be.
pub(super) struct Ledger {
    meta: ScenarioMeta,
    kept: Result<Kept, String>,
}

struct Kept {
    /// Goes when the run is over.
    dir: TempDir,
    prepared: Box<Prepared>,
    /// Where each process keeps its journal.
    journals: BTreeMap<String, PathBuf>,
}

impl Ledger {
    /// That of the run which is about to begin; `None` where nobody wants a report.
    pub(super) fn open(args: &Args, planned: &Planned, registry: &Registry) -> Result<Option<Ledger>, Refusal> {
        let Some(report) = &args.report else { return Ok(None) };
        if report.is_dir() {
            let source = io::Error::from(io::ErrorKind::IsADirectory);
            return Err(Refusal::Report { path: report.clone(), source });
        }
        let (dir, durability) = (data_dir(args), args.journal.options("").durability);
        let (journals, graphs): (BTreeMap<String, PathBuf>, Vec<String>) = match planned {
            Planned::Graph(plan) => ([(plan.process.clone(), dir)].into(), vec![format!("{:016x}", plan.graph_hash)]),
            Planned::Processes(plan) => {
                let one = |process: &seaworthy_engine::process::PlannedProcess| {
                    ((process.id.clone(), dir.join(&process.id)), format!("{:016x}", process.plan.graph_hash))
                };
                plan.processes.iter().map(one).unzip()
            }
        };
        let id = Path::new(&args.file).file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let hash = format!("run.{}.{durability}", graphs.join("."));
        let meta = ScenarioMeta { id, hash, ..ScenarioMeta::default() };
        let why = if args.only.is_some() {
            Some("what became of its events in the other processes is not known here".to_owned())
        } else if !journals.values().all(|dir| is_empty(dir)) {
            Some("it went on from earlier journals; one with a ledger begins with an empty --data-dir".to_owned())
        } else {
            None
        };
        let kept = match why {
            Some(why) => Err(why),
            None => match prepared(&args.file, registry) {
                Ok(prepared) => {
                    let unwritten = |source| Refusal::Report { path: report.clone(), source };
                    let dir = folder(&parent(&report.to_string_lossy())).map_err(unwritten)?;
                    Ok(Kept { dir, prepared, journals })
                }
                Err(why) => Err(why),
            },
        };
        Ok(Some(Ledger { meta, kept }))
    }

    /// Where the witness of each process writes.
    pub(super) fn dir(&self) -> Option<&Path> {
        self.kept.as_ref().ok().map(|kept| kept.dir.path())
    }

    /// What it comes to, and how long what it is of took, ms. `is_drained`: all input had ended, and everything was delivered.
    pub(super) fn close(self, is_drained: bool) -> (Scenario, u64) {
        let Ledger { meta, kept } = self;
        let mut pool = Pool::default();
        let witnessed = kept.and_then(|kept| Ok((kept.judge(is_drained).map_err(|error| error.to_string())?, kept)));
        match witnessed {
            Ok((Witnessed { run, is_cut, by_key }, kept)) => {
                pool.add(&run);
                let mut scenario = pool.finish(&kept.prepared.witnessed_meta(&meta.id, &meta.hash, by_key));
                scenario.part = is_cut.then(|| {
                    let seconds = run.end_ns as f64 / 1e9;
                    format!("the first {seconds:.1} s, after which a process had more than {EVENTS_MAX} events")
                });
                (scenario, run.end_ns / 1_000_000)
            }
            Err(why) => {
                let mut scenario = pool.finish(&meta);
                (scenario.void, scenario.verdict) = (vec![format!("there is no ledger: {why}")], Verdict::Void);
                (scenario, 0)
            }
        }
    }
}

impl Kept {
    fn judge(&self, is_drained: bool) -> Result<Witnessed, WitnessedError> {
        self.prepared.judge_witnessed(self.dir.path(), is_drained, |processes| {
            let mut letters = Vec::new();
            for (process, dir) in self.journals.iter().filter(|(process, _)| processes.contains(*process)) {
                letters.extend(dead_letters(process, dir)?);
            }
            letters.sort();
            letters.dedup();
            Ok(letters)
        })
    }
}

/// What the checks need to know of a graph, or why they can't tell of it.
fn prepared(file: &str, registry: &Registry) -> Result<Box<Prepared>, String> {
    let prepared = made_up::without_load(file, registry).map_err(|error| error.to_string())?;
    prepared.can_be_witnessed().map_err(|error| error.to_string())?;
    Ok(Box::new(prepared))
}

/// A folder in `within`, which is made where it isn't there; only this user can look into it.
fn folder(within: &Path) -> io::Result<TempDir> {
    std::fs::create_dir_all(within)?;
    tempfile::Builder::new().prefix(".seaworthy-run-").tempdir_in(within)
}

/// Whether there is nothing in a directory, or no such directory.
fn is_empty(dir: &Path) -> bool {
    std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none()) || !dir.exists()
}

/// The dead letters in the journal of a process.
fn dead_letters(process: &str, dir: &Path) -> Result<Vec<Buried>, ReadError> {
    let machine = |what: &str| {
        let what = what.to_owned();
        move |source| ReadError::Io { what, source }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(machine("start the runtime"))?.block_on(async {
        let disk = OsDisk::new(dir).map_err(machine("start the threads for files"))?;
        let mut reader = Reader::open(Arc::new(disk)).await?;
        let mut letters = Vec::new();
        while let Some(step) = reader.next().await? {
            let Step::Frame(frame) = step else { continue };
            letters.extend(frame.records().flatten().filter_map(|(_, record)| Buried::of(process, &record)));
        }
        Ok(letters)
    })
}
