//! A system on this machine instead of in a world: its hosts are threads, its load comes at wall time, nothing is simulated.
//! The load, the endpoints, the ledger and the checks are those of a world.
#![expect(clippy::disallowed_methods, reason = "here the real machine is what is measured")]

mod disk;
mod faults;
mod fleet;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use seaworthy_engine::env::Clock;
use seaworthy_engine::env::os::{self, OsClock, OsOptions};
use tokio::runtime::{Builder, Runtime};

pub use faults::KINDS;
pub(crate) use faults::is_known;

use crate::fault::Trigger;
use crate::history::History;
use crate::load::LoadEvent;
use crate::plan::{Ns, Plan};
use crate::sim::hosts::Hosts;
use crate::sim::offering::{EntryLoad, offer_all, plan};
use crate::sim::recorder::Recorder;
use crate::system::{BootError, System};
use disk::Switches;
use faults::Faults;
use fleet::{Fleet, Hindrances};
use wire::Ways;

/// The load's own host.
const LOAD: &str = "load";
/// How often it is looked whether all is quiet, ns.
const LOOK_NS: Ns = 10_000_000;
/// How often it is looked whether a fault is due, ns.
const FAULT_LOOK_NS: Ns = 1_000_000;
/// How often the backlog is sampled, ns.
const SAMPLE_NS: Ns = 100_000_000;
/// How long everything must be quiet before the drain is over, ns.
const QUIET_NS: Ns = 100_000_000;
/// How long all hosts may take to come up, and to stop, ns.
const PATIENCE_NS: Ns = 60_000_000_000;

/// What a round is made of, beside system and workload.
pub struct RoundOptions {
    /// Takes everything down; the same one that the system's endpoints write to. It serves one round.
    pub recorder: Arc<Recorder>,
    /// Each host keeps its files in a folder of its name in it.
    pub dir: PathBuf,
    /// How long the warm-up lasts, ns.
    pub warmup_ns: Ns,
    /// How long the load lasts, ns.
    pub duration_ns: Ns,
    /// How long the drain may take after that, ns.
    pub drain_ns: Ns,
    /// Events without an answer that an entry may have.
    pub load_window: usize,
    /// What goes wrong; `None` leaves connections and disks alone.
    pub faults: Option<RoundFaults>,
}

/// What goes wrong in a round.
pub struct RoundFaults {
    /// Every step, of [`KINDS`] alone.
    pub plan: Plan,
    /// Decides the plan's conditions.
    pub trigger: Trigger,
    /// Addresses whose gauges are written down when a fault begins.
    pub gauges: Vec<String>,
}

/// Why a round says nothing.
#[derive(Debug, thiserror::Error)]
pub enum RoundError {
    /// The machine refused something.
    #[error("could not {what}: {source}")]
    Machine {
        /// What was tried.
        what: String,
        /// The machine's word.
        source: io::Error,
    },
    /// A host's software ended before it was asked to.
    #[error(transparent)]
    Ended(#[from] BootError),
    /// A host's software panicked.
    #[error("{host} panicked; its message is above")]
    Panicked {
        /// Which.
        host: String,
    },
    /// It took longer than a minute.
    #[error("the hosts did not {what} within a minute")]
    Stuck {
        /// What they were to do.
        what: &'static str,
    },
}

impl RoundError {
    /// The exit code for it: that of the software that ended, 70 for a panic, 74 for the machine.
    #[must_use]
    pub fn exit(&self) -> i32 {
        match self {
            RoundError::Ended(error) => error.exit,
            RoundError::Panicked { .. } => 70,
            RoundError::Machine { .. } | RoundError::Stuck { .. } => 74,
        }
    }
}

fn machine(what: impl Into<String>) -> impl FnOnce(io::Error) -> RoundError {
    let what = what.into();
    |source| RoundError::Machine { what, source }
}

/// Runs one round, start to end: boots every host, offers the load at its times, waits until all is quiet, stops.
///
/// # Errors
/// When the machine refuses something, or a host's software ends by itself.
pub fn run_round(
    system: Rc<dyn System>,
    workload: Vec<LoadEvent>,
    options: RoundOptions,
) -> Result<History, RoundError> {
    let names: Vec<String> = system.hosts().into_iter().map(|spec| spec.name).collect();
    options.recorder.begin(Hosts::new(names.iter().cloned().chain([LOAD.to_owned()])));
    let load = plan(workload, &options.recorder);
    let (recorder, warmup_ns, duration_ns) = (options.recorder.clone(), options.warmup_ns, options.duration_ns);
    runtime()?.block_on(round(system, &names, load, options))?;
    let mut history = recorder.finish().0;
    history.warmup_ns = warmup_ns;
    history.load_end_ns = duration_ns;
    Ok(history)
}

fn runtime() -> Result<Runtime, RoundError> {
    Builder::new_current_thread().enable_all().build().map_err(machine("start a runtime"))
}

async fn round(
    system: Rc<dyn System>,
    names: &[String],
    load: Vec<EntryLoad>,
    options: RoundOptions,
) -> Result<(), RoundError> {
    let RoundOptions { recorder, dir, warmup_ns: _, duration_ns, drain_ns, load_window, faults } = options;
    let clock: Arc<dyn Clock> = Arc::new(OsClock::new());
    let hindrances = faults.as_ref().map(|_| Hindrances {
        ways: Ways::between(names, &recorder.seed),
        disks: names.iter().map(|name| (name.clone(), Arc::new(Switches::new(name, &recorder.seed)))).collect(),
    });
    let mut faults = faults.map(|RoundFaults { plan, trigger, gauges }| {
        Faults::new(&plan, trigger, gauges, hindrances.clone().unwrap_or_default())
    });
    let mut fleet = Fleet::boot(system.clone(), names, &recorder, &dir, hindrances)?;
    let began_ns = clock.mono();
    let limit_ns = began_ns + PATIENCE_NS;
    while !system.quiet() {
        fleet.look(clock.mono() - began_ns).await?;
        if clock.mono() >= limit_ns {
            return Err(RoundError::Stuck { what: "come up" });
        }
        clock.sleep(LOOK_NS).await;
    }
    recorder.time.run_by(clock.clone());
    let own = OsOptions {
        data_dir: dir.join(LOAD),
        listen: None,
        peers: BTreeMap::new(),
        keys: None,
        probe: recorder.probe(names.len(), 1),
    };
    let (env, _) = os::env(own).map_err(machine(format!("use {}", dir.display())))?;
    let offering = offer_all(system.clone(), env, recorder.clone(), names.len(), Rc::new(load), load_window);
    tokio::pin!(offering);
    let (mut offered, mut healed, mut sample_ns, mut quiet_since) = (false, false, 0, None);
    let look_ns = if faults.is_some() { FAULT_LOOK_NS } else { LOOK_NS };
    let drained = loop {
        tokio::select! {
            biased;
            () = &mut offering, if !offered => offered = true,
            () = clock.sleep(look_ns) => {}
        }
        let now_ns = recorder.now_ns();
        fleet.look(now_ns).await?;
        if let Some(faults) = faults.as_mut().filter(|_| !healed) {
            if now_ns < duration_ns {
                faults.tick(now_ns, &*system, &recorder, &mut fleet).await?;
            } else {
                faults.heal_all(now_ns, &recorder);
                fleet.restart_all(now_ns);
                healed = true;
            }
        }
        if now_ns >= sample_ns {
            sample_ns = now_ns + SAMPLE_NS;
            let backlog = system.gauge("backlog").map(|backlog| (now_ns, backlog));
            recorder.with_history(|history| history.backlog.extend(backlog));
        }
        let quiet = offered && now_ns >= duration_ns && fleet.all_up() && system.quiet();
        quiet_since = if quiet { quiet_since.or(Some(now_ns)) } else { None };
        if quiet_since.is_some_and(|since| now_ns - since >= QUIET_NS) {
            break true;
        }
        if now_ns >= duration_ns + drain_ns {
            break false;
        }
    };
    recorder.with_history(|history| {
        history.drained = drained;
        history.end_ns = recorder.now_ns();
        history.applied = faults.map(Faults::finish).unwrap_or_default();
    });
    tokio::select! {
        biased;
        ended = fleet.ended() => ended,
        () = clock.sleep(PATIENCE_NS) => Err(RoundError::Stuck { what: "stop" }),
    }
}

/// Files by name.
pub(crate) type Files = BTreeMap<String, Bytes>;

/// The files of each host's folder, for outside readers.
pub(crate) fn files(dir: &Path, hosts: &BTreeSet<String>) -> Result<Vec<(String, Files)>, RoundError> {
    hosts
        .iter()
        .map(|host| Ok((host.clone(), files_of(&dir.join(host)).map_err(machine(format!("read {host}'s files")))?)))
        .collect()
}

fn files_of(dir: &Path) -> io::Result<Files> {
    let mut files = Files::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if let (true, Some(name)) = (path.is_file(), path.file_name().and_then(|name| name.to_str())) {
            files.insert(name.to_owned(), std::fs::read(&path)?.into());
        }
    }
    Ok(files)
}

/// Processor time of this process so far, all threads, ns.
pub(crate) fn cpu_ns() -> u64 {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    u64::try_from(spent.tv_sec * 1_000_000_000 + spent.tv_nsec).expect("time that was spent is not below 0")
}
