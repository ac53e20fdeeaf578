//! One engine for real: started, watched, stopped by signals or by its supervisor.
#![expect(clippy::disallowed_methods, reason = "the command times its own run; the engine asks env.clock")]

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::journal::JournalArgs;
use seaworthy_engine::env::Probe;
use seaworthy_engine::env::os::{self, Keys, OsDisk, OsOptions};
use seaworthy_engine::graph::Plan;
use seaworthy_engine::node::Registry;
use seaworthy_engine::observe::Event;
use seaworthy_engine::process::ChannelPlan;
use seaworthy_engine::runtime::{Engine, EngineError, EngineOptions};
use seaworthy_harness::witness::Witness;
use seaworthy_reports::result::{Counts, Process};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::console::Console;
use super::report::{self, Ended};
use super::tally::{self, Counter};
use super::words::{FINISH, Supervisor, Word};
use crate::exit::Exit;

/// Most trees of one input that may be unsettled at a time.
const IN_FLIGHT_MAX: usize = 1024;
/// How often progress is shown, or told to the supervisor.
pub(super) const TICK: Duration = Duration::from_millis(250);

/// Signals that come within this time of the first are the same request.
const ONE_STOP: Duration = Duration::from_millis(100);

/// What one engine is started from.
pub(super) struct Launch {
    pub(super) plan: Plan,
    pub(super) channels: Vec<ChannelPlan>,
    /// Where the graph lies: files are named from there.
    pub(super) files: PathBuf,
    pub(super) data_dir: PathBuf,
    pub(super) listen: Option<SocketAddr>,
    pub(super) peers: BTreeMap<String, SocketAddr>,
    pub(super) keys: Option<Keys>,
    pub(super) registry: Registry,
    pub(super) journal: JournalArgs,
    pub(super) park: bool,
    pub(super) child: bool,
    /// Where its witness writes, if it has one.
    pub(super) witness: Option<PathBuf>,
}

/// Why it ended other than well.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error("could not {what}")]
    Machine { what: String, source: io::Error },
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("ended at once, by a second signal; the next start goes on from the journal")]
    Interrupted,
}

impl RunError {
    fn machine(what: impl Into<String>) -> impl FnOnce(io::Error) -> RunError {
        |source| RunError::Machine { what: what.into(), source }
    }

    fn exit(&self) -> Exit {
        match self {
            RunError::Machine { .. } => Exit::Environment,
            RunError::Interrupted => Exit::Interrupted,
            RunError::Engine(error) => match error.exit_code() {
                2 => Exit::Usage,
                70 => Exit::Internal,
                _ => Exit::Environment,
            },
        }
    }
}

/// An error with all that led to it, in one line.
pub(super) fn in_words(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}

/// Runs an engine to its end.
pub(super) fn run(launch: Launch, console: &Console) -> Ended {
    let began = Instant::now();
    let mut process = report::unstarted(&launch.plan.process, launch.plan.graph_hash);
    process.starts = 1;
    let counter = Arc::new(Counter::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime
        .map_err(RunError::machine("start the runtime"))
        .and_then(|runtime| runtime.block_on(drive(launch, console, &counter, &mut process)));
    let exit = match &outcome {
        Ok(_) => Exit::Pass,
        Err(error) => {
            console.say(&in_words(error));
            error.exit()
        }
    };
    report::ended(&mut process, format!("exit {}", exit as u8));
    process.counts = counter.counts();
    Ended {
        exit,
        wall_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        is_drained: matches!(outcome, Ok(End::Finished)),
        processes: vec![process],
    }
}

/// How an engine ended that ended well.
#[derive(Clone, Copy)]
enum End {
    /// Nothing more could come in, and everything was delivered.
    Finished,
    /// It was stopped.
    Stopped,
}

async fn drive(
    launch: Launch,
    console: &Console,
    counter: &Arc<Counter>,
    process: &mut Process,
) -> Result<End, RunError> {
    let mut orders = Orders::new(launch.child).map_err(RunError::machine("listen for signals"))?;
    let witness = launch.witness.as_deref().map(|dir| Witness::begin(dir, &launch.plan.process)).transpose();
    let witness = witness.map_err(RunError::machine("write down what happens for the report"))?;
    let probe = Arc::new(Heard { counter: counter.clone(), witness: witness.clone() });
    let (name, options) = options(launch, probe, witness.as_ref(), console)?;
    let starting = Engine::start(options);
    tokio::pin!(starting);
    let mut finish = false;
    let engine = loop {
        tokio::select! {
            biased;
            engine = &mut starting => break engine?,
            order = orders.next() => match order {
                Order::Finish => finish = true,
                // Nothing is in flight yet.
                Order::Stop | Order::EndNow => return Ok(End::Stopped),
            }
        }
    };
    let recovery = engine.recovery().lines();
    recovery.iter().for_each(|line| report::found(process, line.clone()));
    orders.tell(&Word::up(recovery));
    tracing::info!(process = %name, "up; SIGINT or SIGTERM stops it in good order");
    let handle = engine.handle();
    if finish {
        handle.finish();
    }
    let mut tick = ticks();
    let mut told = Counts::default();
    let mut end = End::Finished;
    let running = engine.run();
    tokio::pin!(running);
    let outcome = loop {
        tokio::select! {
            biased;
            outcome = &mut running => break outcome.map(|()| end).map_err(RunError::from),
            order = orders.next() => match order {
                Order::Finish if finish => {}
                Order::Finish => {
                    finish = true;
                    handle.finish();
                }
                Order::Stop => {
                    end = End::Stopped;
                    tracing::info!(process = %name, in_flight = handle.in_flight(), "stopping: what is in flight is finished first");
                    handle.stop();
                }
                Order::EndNow => break Err(RunError::Interrupted),
            },
            _ = tick.tick() => {
                let counts = counter.counts();
                if counts != told {
                    orders.tell(&Word::Counted(counts.clone()));
                    if orders.supervisor.is_none() {
                        console.progress(&tally::line(&name, &counts));
                    }
                    told = counts;
                }
            }
        }
    };
    orders.tell(&Word::Counted(counter.counts()));
    if let Some(witness) = &witness {
        witness.end();
    }
    outcome
}

/// The probe of a real run.
struct Heard {
    counter: Arc<Counter>,
    witness: Option<Arc<Witness>>,
}

impl Probe for Heard {
    fn on(&self, events: &[Event]) {
        self.counter.on(events);
        if let Some(witness) = &self.witness {
            witness.on(events);
        }
    }
}

/// The machine and the plan; gives the process's name with them.
fn options(
    launch: Launch,
    probe: Arc<Heard>,
    witness: Option<&Arc<Witness>>,
    console: &Console,
) -> Result<(String, EngineOptions), RunError> {
    let Launch { plan, channels, files, data_dir, listen, peers, keys, registry, journal, park, .. } = launch;
    let name = plan.process.clone();
    let what = format!("use the data directory {} or the network", data_dir.display());
    let machine = OsOptions { data_dir, listen, peers, keys, probe };
    let (env, net) = os::env(machine).map_err(RunError::machine(what))?;
    if let (Some(address), false) = (net.bound(), launch.child) {
        console.say(&format!("{name} listens on {address}"));
    }
    let journal = journal.options(&name);
    if let Some(window) = journal.durability.loss_window() {
        console.say(&format!("{name}: durability {}: {window}", journal.durability));
    }
    let files = OsDisk::anywhere(files).map_err(RunError::machine("start the threads for files"))?;
    let (stand_ins, in_flight_max) = (BTreeMap::new(), IN_FLIGHT_MAX);
    let files = Arc::new(files);
    let mut options = EngineOptions { env, files, plan, channels, registry, stand_ins, journal, in_flight_max, park };
    if let Some(witness) = witness {
        options.stand_ins = witness.beside(&options).map_err(EngineError::from)?;
    }
    Ok((name, options))
}

pub(super) fn ticks() -> Interval {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick
}

/// What somebody wants of a running process.
pub(super) enum Order {
    /// No producer sends any more.
    Finish,
    /// Stop in good order.
    Stop,
    /// End at once.
    EndNow,
}

/// Hears orders: from signals, and from the supervisor where there is one.
pub(super) struct Orders {
    signals: Signals,
    supervisor: Option<Supervisor>,
}

/// SIGINT and SIGTERM.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// When the first came.
    heard: Option<Instant>,
}

impl Signals {
    pub(super) fn new() -> io::Result<Signals> {
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        Ok(Signals { interrupt, terminate, heard: None })
    }

    /// The first asks for good order, the second for the end. Dropping it loses nothing.
    pub(super) async fn next(&mut self) -> Order {
        loop {
            tokio::select! {
                biased;
                Some(()) = self.interrupt.recv() => {}
                Some(()) = self.terminate.recv() => {}
                else => std::future::pending().await,
            }
            match self.heard {
                None => {
                    self.heard = Some(Instant::now());
                    return Order::Stop;
                }
                // Who stops a process and its group, as `timeout` does, signals twice and means it once.
                Some(heard) if heard.elapsed() < ONE_STOP => {}
                Some(_) => return Order::EndNow,
            }
        }
    }
}

impl Orders {
    fn new(child: bool) -> io::Result<Orders> {
        let supervisor = child.then(Supervisor::attach).transpose()?;
        Ok(Orders { signals: Signals::new()?, supervisor })
    }

    async fn next(&mut self) -> Order {
        let Some(supervisor) = &mut self.supervisor else { return self.signals.next().await };
        loop {
            tokio::select! {
                biased;
                order = self.signals.next() => return order,
                line = supervisor.hear() => match line.as_deref() {
                    Some(FINISH) => return Order::Finish,
                    // A word of a later version.
                    Some(_) => {}
                    None => return Order::Stop,
                }
            }
        }
    }

    fn tell(&self, word: &Word) {
        if let Some(supervisor) = &self.supervisor {
            supervisor.tell(word);
        }
    }
}
