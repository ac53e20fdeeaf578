//! A system on this machine instead of in a world: its hosts are threads, its load comes at wall time, nothing is simulated.
//! The load, the endpoints, the ledger and the checks are those of a world.
#![expect(clippy::disallowed_methods, reason = "here the real machine is what is measured")]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::select_all;
use seaworthy_engine::env::os::{self, OsClock, OsNet, OsOptions};
use seaworthy_engine::env::{Clock, Env, Fut, Io, Listener, Net, Stream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use crate::history::History;
use crate::load::LoadEvent;
use crate::plan::Ns;
use crate::sim::hosts::Hosts;
use crate::sim::offering::{EntryLoad, offer_all, plan};
use crate::sim::recorder::Recorder;
use crate::system::{Boot, BootError, System};

/// The load's own host.
const LOAD: &str = "load";
/// How often it is looked whether all is quiet, ns.
const LOOK_NS: Ns = 10_000_000;
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
    runtime()?.block_on(round(system, &names, load, &options))?;
    let mut history = options.recorder.finish().0;
    history.warmup_ns = options.warmup_ns;
    history.load_end_ns = options.duration_ns;
    Ok(history)
}

fn runtime() -> Result<Runtime, RoundError> {
    Builder::new_current_thread().enable_all().build().map_err(machine("start a runtime"))
}

async fn round(
    system: Rc<dyn System>,
    names: &[String],
    load: Vec<EntryLoad>,
    options: &RoundOptions,
) -> Result<(), RoundError> {
    let RoundOptions { recorder, dir, .. } = options;
    let clock: Arc<dyn Clock> = Arc::new(OsClock::new());
    let mut hosts: Vec<Host> = envs(names, options)?
        .into_iter()
        .zip(names)
        .enumerate()
        .map(|(index, (env, name))| {
            let boot = Boot { env, host: name.clone(), incarnation: recorder.hosts().boot(index) };
            Host::start(name, system.boot(boot))
        })
        .collect::<Result<_, _>>()?;
    let up = async {
        until(&clock, || system.quiet()).await.ok_or(RoundError::Stuck { what: "come up" })?;
        recorder.time.run_by(clock.clone());
        let own = os::env(machine_options(dir.join(LOAD), BTreeMap::new(), recorder, names.len()));
        let (env, _) = own.map_err(machine(format!("use {}", dir.display())))?;
        Ok::<_, RoundError>(live(&system, env, load, options, names.len()).await)
    };
    let (drained, end_ns) = tokio::select! {
        biased;
        ended = first_end(&mut hosts) => return Err(ended),
        lived = up => lived?,
    };
    recorder.with_history(|history| (history.drained, history.end_ns) = (drained, end_ns));
    names.iter().for_each(|name| system.stop(name));
    let stopped = async {
        for host in &mut hosts {
            host.ended().await?;
        }
        Ok(())
    };
    tokio::select! {
        biased;
        stopped = stopped => stopped,
        () = clock.sleep(PATIENCE_NS) => Err(RoundError::Stuck { what: "stop" }),
    }
}

/// The load and the drain: whether all was quiet in the end, and when that was.
async fn live(
    system: &Rc<dyn System>,
    env: Env,
    load: Vec<EntryLoad>,
    options: &RoundOptions,
    load_host: usize,
) -> (bool, Ns) {
    let RoundOptions { recorder, duration_ns, drain_ns, load_window, .. } = options;
    let clock = env.clock.clone();
    let offering = offer_all(system.clone(), env, recorder.clone(), load_host, Rc::new(load), *load_window);
    tokio::pin!(offering);
    let (mut offered, mut sample_ns, mut quiet_since) = (false, 0, None);
    loop {
        tokio::select! {
            biased;
            () = &mut offering, if !offered => offered = true,
            () = clock.sleep(LOOK_NS) => {}
        }
        let now_ns = recorder.now_ns();
        if now_ns >= sample_ns {
            sample_ns = now_ns + SAMPLE_NS;
            let backlog = system.gauge("backlog").map(|backlog| (now_ns, backlog));
            recorder.with_history(|history| history.backlog.extend(backlog));
        }
        let quiet = offered && now_ns >= *duration_ns && system.quiet();
        quiet_since = if quiet { quiet_since.or(Some(now_ns)) } else { None };
        if quiet_since.is_some_and(|since| now_ns - since >= QUIET_NS) {
            return (true, now_ns);
        }
        if now_ns >= duration_ns + drain_ns {
            return (false, now_ns);
        }
    }
}

/// Waits until it holds; `None` where that takes too long.
async fn until(clock: &Arc<dyn Clock>, holds: impl Fn() -> bool) -> Option<()> {
    let limit_ns = clock.mono() + PATIENCE_NS;
    while !holds() {
        if clock.mono() >= limit_ns {
            return None;
        }
        clock.sleep(LOOK_NS).await;
    }
    Some(())
}

/// The machine as each host sees it: a folder, a port of the loopback interface, and where the others are.
fn envs(names: &[String], options: &RoundOptions) -> Result<Vec<Env>, RoundError> {
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listen = |_: &String| OsNet::bind(Some(loopback), BTreeMap::new()).map_err(machine("listen on loopback"));
    let doors: Vec<OsNet> = names.iter().map(listen).collect::<Result<_, _>>()?;
    let addresses: BTreeMap<String, SocketAddr> =
        names.iter().cloned().zip(doors.iter().filter_map(OsNet::bound)).collect();
    let env = |(index, (name, door)): (usize, (&String, OsNet))| {
        let dir = options.dir.join(name);
        let failed = machine(format!("use {}", dir.display()));
        let (env, net) = os::env(machine_options(dir, addresses.clone(), &options.recorder, index)).map_err(failed)?;
        Ok(Env { net: Arc::new(Wire { door, net }), ..env })
    };
    names.iter().zip(doors).enumerate().map(env).collect()
}

fn machine_options(
    data_dir: PathBuf,
    peers: BTreeMap<String, SocketAddr>,
    recorder: &Arc<Recorder>,
    host: usize,
) -> OsOptions {
    OsOptions { data_dir, listen: None, peers, keys: None, probe: recorder.probe(host, 1) }
}

/// A port was taken before anybody knew of it, so listening and connecting are two.
struct Wire {
    door: OsNet,
    net: Arc<OsNet>,
}

impl Net for Wire {
    fn connect(&self, process: &str) -> Io<Box<dyn Stream>> {
        self.net.connect(process)
    }

    fn listen(&self, process: &str) -> Io<Box<dyn Listener>> {
        self.door.listen(process)
    }
}

/// A host's software on a thread of its own.
struct Host {
    name: String,
    end: oneshot::Receiver<Result<(), BootError>>,
}

impl Host {
    fn start(name: &str, software: Fut<'static, Result<(), BootError>>) -> Result<Host, RoundError> {
        let runtime = runtime()?;
        let (ended, end) = oneshot::channel();
        let run = move || {
            // Nobody listens any more where the round failed.
            let _ = ended.send(runtime.block_on(software));
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
        thread.map_err(machine("start a thread"))?;
        Ok(Host { name: name.to_owned(), end })
    }

    async fn ended(&mut self) -> Result<(), RoundError> {
        // The sender is dropped only by a panic.
        Ok((&mut self.end).await.map_err(|_| RoundError::Panicked { host: self.name.clone() })??)
    }
}

/// The first host whose software ends, and how.
async fn first_end(hosts: &mut [Host]) -> RoundError {
    let ends = hosts.iter_mut().map(|host| {
        Box::pin(async {
            let name = host.name.clone();
            let message = "it ended before it was asked to".to_owned();
            host.ended().await.err().unwrap_or(BootError { host: name, message, exit: 70 }.into())
        })
    });
    select_all(ends).await.0
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
