//! The supervisor of a process graph: one child a process, started again when it dies, for as long as it takes.
//!
//! ```text
//!            ┌ keeper ── child edge      a keeper starts its child, passes on what it tells, and starts it again;
//!  stop ─────┤                           the end of a child's stdin, also by our death, stops it in good order
//!            └ keeper ── child hub       `finish` goes to a child once all that send to it have ended well
//! ```
#![expect(clippy::disallowed_methods, reason = "the command waits and times its children; the engine asks env.clock")]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use seaworthy_engine::process::{ChannelPlan, PlannedProcess, ProcessPlan};
use seaworthy_reports::result::{Counts, Process};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpSocket;
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::console::Console;
use super::engine::{Order, Signals, in_words, ticks};
use super::report::{self, Ended};
use super::tally;
use super::words::{self, Word};
use super::{Args, data_dir};
use crate::exit::Exit;

/// The first wait before a restart; it doubles while children die young.
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
/// The longest wait before a restart.
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// A child that lived this long is waited for as if it were the first to die.
const OF_AGE: Duration = Duration::from_millis(250);
/// How long the others may take to stop when one child has ended the run.
const GRACE: Duration = Duration::from_secs(10);

/// How far the run is to be ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Stop {
    No,
    InGoodOrder,
    AtOnce,
}

/// Runs all processes of `plan` until their input has ended, or until the run is ended. Their witnesses write in `witness`.
pub(super) fn run(args: &Args, plan: &ProcessPlan, console: &Console, witness: Option<&Path>) -> Ended {
    console.take_logs();
    let began = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime.and_then(|runtime| runtime.block_on(supervise(args, plan, console, witness)));
    let (exit, is_drained, processes) = outcome.unwrap_or_else(|error| {
        console.say(&format!("could not supervise: {}", in_words(&error)));
        (Exit::Environment, false, Vec::new())
    });
    let wall_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ended { exit, wall_ms, is_drained, processes }
}

type Tallies = Arc<Mutex<BTreeMap<String, Counts>>>;

async fn supervise(
    args: &Args,
    plan: &ProcessPlan,
    console: &Console,
    witness: Option<&Path>,
) -> io::Result<(Exit, bool, Vec<Process>)> {
    let mut signals = Signals::new()?;
    let (stop, stopping) = watch::channel(Stop::No);
    let tallies = Tallies::default();
    let ports = Ports::take(plan)?;
    let ended: BTreeMap<&str, _> = plan.processes.iter().map(|one| (one.id.as_str(), watch::channel(false))).collect();
    let mut keepers = JoinSet::new();
    for (index, process) in plan.processes.iter().enumerate() {
        let producers = feeders(plan, &process.id).into_iter().map(|feeder| ended[feeder].1.clone()).collect();
        let keeper = Keeper {
            id: process.id.clone(),
            command: command(args, plan, process, &ports, witness)?,
            console: console.clone(),
            producers,
            ended: ended[process.id.as_str()].0.clone(),
            stopping: stopping.clone(),
            tallies: tallies.clone(),
            report: report::unstarted(&process.id, process.plan.graph_hash),
        };
        keepers.spawn(async move { (index, keeper.keep().await) });
    }
    let mut exit = Exit::Pass;
    let mut reports = BTreeMap::new();
    let mut tick = ticks();
    let mut patience: Option<Instant> = None;
    loop {
        tokio::select! {
            biased;
            kept = keepers.join_next() => match kept {
                None => break,
                Some(kept) => {
                    let (index, (ended, report)) = kept.expect("a keeper doesn't panic, and nobody aborts it");
                    reports.insert(index, report);
                    exit = exit.and(ended);
                    if ended != Exit::Pass && *stop.borrow() == Stop::No {
                        stop.send_replace(Stop::InGoodOrder);
                        patience = Some(Instant::now() + GRACE);
                    }
                }
            },
            order = signals.next() => match order {
                Order::EndNow => {
                    exit = exit.and(Exit::Interrupted);
                    console.say("ending at once, by a second signal; the next start goes on from the journals");
                    stop.send_replace(Stop::AtOnce);
                }
                Order::Stop | Order::Finish => {
                    console.say("stopping: what is in flight is finished first; a second signal ends at once");
                    stop.send_replace(Stop::InGoodOrder);
                }
            },
            _ = tick.tick() => {
                let tallies = tallies.lock().unwrap_or_else(PoisonError::into_inner);
                let lines: Vec<String> = tallies.iter().map(|(id, tally)| tally::line(id, tally)).collect();
                console.progress(&lines.join("; "));
                if patience.is_some_and(|until| Instant::now() > until) {
                    stop.send_replace(Stop::AtOnce);
                }
            }
        }
    }
    let is_drained = exit == Exit::Pass && *stop.borrow() == Stop::No;
    Ok((exit, is_drained, reports.into_values().collect()))
}

/// A loopback port for each process that others send to. Each stays bound here, without listening, so that it is the
/// child's in each incarnation: no stranger gets it in between, and no connection is made from it.
struct Ports {
    addresses: BTreeMap<String, SocketAddr>,
    _bound: Vec<TcpSocket>,
}

impl Ports {
    fn take(plan: &ProcessPlan) -> io::Result<Ports> {
        let (mut addresses, mut bound) = (BTreeMap::new(), Vec::new());
        for channel in &plan.channels {
            if !addresses.contains_key(&channel.host) {
                let socket = TcpSocket::new_v4()?;
                socket.set_reuseaddr(true)?;
                socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
                addresses.insert(channel.host.clone(), socket.local_addr()?);
                bound.push(socket);
            }
        }
        Ok(Ports { addresses, _bound: bound })
    }
}

/// The processes that `process` gets packets from: the producers of what it keeps, the hosts of what it takes.
fn feeders<'a>(plan: &'a ProcessPlan, process: &str) -> BTreeSet<&'a str> {
    let of = |channel: &'a ChannelPlan| match (channel.host == process, channel.group_of(process)) {
        (true, _) => channel.producers.iter().map(String::as_str).collect(),
        (false, Some(_)) => vec![channel.host.as_str()],
        (false, None) => Vec::new(),
    };
    // A host that puts packets in itself waits for nobody to do so.
    plan.channels.iter().flat_map(of).filter(|feeder| *feeder != process).collect()
}

/// The command line of one child; the same for each of its incarnations.
fn command(
    args: &Args,
    plan: &ProcessPlan,
    process: &PlannedProcess,
    ports: &Ports,
    witness: Option<&Path>,
) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["run", "--child", "--only", &process.id]).args(args.journal.arguments());
    command.arg("--data-dir").arg(data_dir(args));
    if let Some(keys) = &args.keys {
        command.arg("--keys").arg(keys);
    }
    if args.park {
        command.arg("--park");
    }
    if let Some(dir) = witness {
        command.arg("--witness").arg(dir);
    }
    if let Some(address) = ports.addresses.get(&process.id) {
        command.arg("--listen").arg(address.to_string());
    }
    let reached = plan.channels.iter().filter(|channel| channel.is_remote(&process.id));
    let peers: BTreeSet<&str> = reached.map(|channel| channel.host.as_str()).collect();
    for peer in peers {
        command.arg("--peer").arg(format!("{peer}={}", ports.addresses[peer]));
    }
    command.arg("--").arg(&args.file);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    Ok(command)
}

/// Keeps one process running.
struct Keeper {
    id: String,
    command: Command,
    console: Console,
    /// Whether those that send to it have ended well.
    producers: Vec<watch::Receiver<bool>>,
    ended: watch::Sender<bool>,
    stopping: watch::Receiver<Stop>,
    tallies: Tallies,
    report: Process,
}

impl Keeper {
    async fn keep(mut self) -> (Exit, Process) {
        let mut wait = BACKOFF_FIRST;
        let mut was_up = false;
        loop {
            let began = Instant::now();
            let how = match self.command.spawn() {
                Ok(child) => {
                    let (status, up) = self.attend(child).await;
                    was_up |= up;
                    if let Some(exit) = self.verdict(status, was_up) {
                        return (exit, self.report);
                    }
                    in_short(status)
                }
                Err(error) => format!("it could not be started: {error}"),
            };
            if began.elapsed() >= OF_AGE {
                wait = BACKOFF_FIRST;
            }
            let (id, restarts) = (&self.id, self.report.starts);
            self.console.say(&format!("restarting {id} in {} ms: {how} (restart {restarts})", wait.as_millis()));
            tokio::select! {
                biased;
                _ = self.stopping.wait_for(|stop| *stop != Stop::No) => return (Exit::Pass, self.report),
                () = tokio::time::sleep(wait) => wait = (wait * 2).min(BACKOFF_MAX),
            }
        }
    }

    /// What the end of a child means for the run; `None` is a restart.
    fn verdict(&self, status: ExitStatus, was_up: bool) -> Option<Exit> {
        let stopping = *self.stopping.borrow();
        match status.code() {
            Some(0) => {
                self.ended.send_replace(stopping == Stop::No);
                Some(Exit::Pass)
            }
            Some(2) => Some(Exit::Usage),
            // What keeps it from starting at all is for a person to mend: another run's lock, a foreign file, no room.
            Some(74) if !was_up => Some(Exit::Environment),
            _ if stopping == Stop::AtOnce => Some(Exit::Pass),
            Some(70) if stopping != Stop::No => Some(Exit::Internal),
            _ if stopping != Stop::No => {
                self.console.say(&format!("{} ended while stopping: {}", self.id, in_short(status)));
                Some(Exit::Environment)
            }
            _ => None,
        }
    }

    /// Serves a child until it has ended and said all it had to; tells whether it was up.
    async fn attend(&mut self, mut child: Child) -> (ExitStatus, bool) {
        self.report.starts += 1;
        let pid = child.id().unwrap_or_default();
        self.console.say(&format!("started {} (pid {pid})", self.id));
        let mut stdin = child.stdin.take();
        let mut words = Words(child.stdout.take().map(|out| BufReader::new(out).lines()));
        let mut up = false;
        let before = self.report.counts.clone();
        let mut fed = !self.producers.is_empty();
        let mut heeded = Stop::No;
        let status = loop {
            let mut stopping = self.stopping.clone();
            tokio::select! {
                biased;
                status = child.wait() => break status,
                word = words.next() => up |= self.take(&before, word),
                Ok(stop) = async { stopping.wait_for(|stop| *stop > heeded).await.map(|stop| *stop) } => {
                    heeded = stop;
                    // The end of its stdin tells a child to stop.
                    stdin = None;
                    if stop == Stop::AtOnce {
                        // It may have ended by itself just now.
                        let _ = child.start_kill();
                    }
                }
                () = all(&self.producers), if fed => {
                    fed = false;
                    if let Some(stdin) = &mut stdin {
                        // A child that is just dying hears it in its next incarnation.
                        let _ = stdin.write_all(&words::finish()).await;
                    }
                }
            }
        };
        while let Some(word) = words.rest().await {
            up |= self.take(&before, word);
        }
        // Only a kernel that lost the child could refuse; then nobody knows how it ended.
        let status = status.unwrap_or(ExitStatus::from_raw(0xff << 8));
        report::ended(&mut self.report, in_short(status));
        self.report.counts_complete &= status.code().is_some();
        (status, up)
    }

    /// Takes in a child's word; true when it says that the child is up. `before` is what earlier incarnations counted.
    fn take(&mut self, before: &Counts, word: Word) -> bool {
        match word {
            Word::Up { recovery } => {
                recovery.into_iter().for_each(|finding| report::found(&mut self.report, finding));
                true
            }
            Word::Counted(counts) => {
                self.report.counts = before.clone();
                tally::add_all(&mut self.report.counts, &counts);
                let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
                tallies.insert(self.id.clone(), self.report.counts.clone());
                false
            }
        }
    }
}

/// What a child says.
struct Words(Option<Lines<BufReader<ChildStdout>>>);

impl Words {
    /// The next word; waits for ever once the child has closed its stdout. Dropping it loses nothing.
    async fn next(&mut self) -> Word {
        match self.rest().await {
            Some(word) => word,
            None => std::future::pending().await,
        }
    }

    /// The next word, or `None` at the end. Lines that are no words are passed over.
    async fn rest(&mut self) -> Option<Word> {
        while let Some(lines) = &mut self.0 {
            match lines.next_line().await {
                Ok(Some(line)) => match words::read(&line) {
                    Some(word) => return Some(word),
                    None => continue,
                },
                Ok(None) | Err(_) => self.0 = None,
            }
        }
        None
    }
}

/// Completes once all have ended well.
async fn all(producers: &[watch::Receiver<bool>]) {
    for producer in producers {
        if producer.clone().wait_for(|ended| *ended).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

fn in_short(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended in a way unknown".to_owned(),
    }
}
