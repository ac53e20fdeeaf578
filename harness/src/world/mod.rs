//! The world: one turmoil simulation around a system, its load and its plan, from the first boot to the last check-out.
//! The only place that builds a simulation, so that seed and epoch are always set.

#[cfg(test)]
mod canary;
#[cfg(test)]
mod net_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tonic_tests;
#[cfg(test)]
mod toy;
mod watchdog;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use crate::check::Violation;
use crate::fault::driver::Driver;
use crate::fault::host::How;
use crate::fault::{Controls, Gauges, LaneFaults, Trigger};
use crate::history::History;
use crate::load::{EPOCH_UNIX_NS, LoadEvent};
use crate::plan::{Kept, Ns, Plan};
use crate::sim::cpu::CpuModel;
use crate::sim::hosts::Hosts;
use crate::sim::machine::{Exit, Machine};
use crate::sim::net::{Network, Route};
use crate::sim::offering::{offer_all, plan};
use crate::sim::panics::{Caught, guard};
use crate::sim::recorder::Recorder;
use crate::sim::trace::{Kind, Trace};
use crate::sim::{TICK_NS, disk::SimDisk};
use crate::still;
use crate::system::{HostSpec, System};
use watchdog::Watchdog;

/// The load's own host.
const LOAD: &str = "load";
/// The load's host needs next to no disk, bytes.
const LOAD_DISK_BYTES: u64 = 1 << 20;
/// Segments of turmoil's that one direction of a connection may hold; our own window is in bytes.
const TCP_SEGMENTS: usize = 1 << 14;
/// How often backlog and used disk space are sampled, ns.
const SAMPLE_NS: Ns = 100_000_000;
/// How long everything must be quiet before the drain is over, ns.
const QUIET_NS: Ns = 100_000_000;
/// How long a graceful stop may take, ns.
const STOP_NS: Ns = 10_000_000_000;
/// How often a host's disk is looked at after it went down.
const LOOKS: u32 = 3;
/// What a world is made of, beside system, plan and workload.
pub struct WorldOptions {
    /// Takes everything down; the same one that the system's endpoints write to. It serves one run.
    pub recorder: Arc<Recorder>,
    /// The step of simulated time, ns: 1 ms or a multiple.
    pub tick_ns: Ns,
    /// What a byte takes from host to host without faults, ns; a tick at least.
    pub latency_ns: Ns,
    /// How long the warm-up lasts, ns.
    pub warmup_ns: Ns,
    /// How long the load lasts, ns; later steps of the plan never begin.
    pub duration_ns: Ns,
    /// How long the drain may take after that, ns.
    pub drain_ns: Ns,
    /// Events without an answer that an entry may have.
    pub load_window: usize,
    /// What computation costs.
    pub cpu: CpuModel,
    /// Addresses whose gauges are written down when a fault begins.
    pub gauges: Vec<String>,
    /// Address of the gauge that is sampled as the backlog.
    pub backlog: String,
    /// What stands between hosts.
    pub routes: Vec<Route>,
    /// Decides the plan's conditions.
    pub trigger: Trigger,
    /// Looks at the world between ticks while the load lasts and the drain goes on.
    pub watch: Box<dyn FnMut(&Gauges<'_>)>,
    /// Who spoils acks, where someone can.
    pub lanes: Option<Arc<dyn LaneFaults>>,
}

impl WorldOptions {
    /// A minute of load after 5 s of warm-up, and up to another minute to drain; conditions never hold.
    #[must_use]
    pub fn new(recorder: Arc<Recorder>) -> WorldOptions {
        WorldOptions {
            recorder,
            tick_ns: TICK_NS,
            latency_ns: TICK_NS,
            warmup_ns: 5_000_000_000,
            duration_ns: 60_000_000_000,
            drain_ns: 60_000_000_000,
            load_window: 1024,
            cpu: CpuModel::default(),
            gauges: Vec::new(),
            backlog: "backlog".to_owned(),
            routes: Vec::new(),
            trigger: Box::new(|_, _| false),
            watch: Box::new(|_| ()),
            lanes: None,
        }
    }
}

/// What one seed left behind.
#[derive(Clone, Default)]
pub struct SeedOutcome {
    /// Everything that its judges need.
    pub history: History,
    /// Hash of all that happened, and the records where they were kept.
    pub trace: Trace,
    /// What the world itself saw go wrong: `engine.panic`, `engine.exit`.
    pub violations: Vec<Violation>,
    /// The hosts' disks as the run left them, for outside readers.
    pub disks: BTreeMap<String, SimDisk>,
}

/// Runs one seed, start to end.
///
/// # Panics
/// When the options make no world: a tick that is not whole milliseconds, two hosts of one name, an entry that is not
/// `host.node`, or a recorder that served before.
#[must_use]
pub fn run_seed(system: Box<dyn System>, plan: &Plan, workload: Vec<LoadEvent>, options: WorldOptions) -> SeedOutcome {
    assert!(options.tick_ns >= TICK_NS && options.tick_ns.is_multiple_of(TICK_NS), "a tick of {} ns", options.tick_ns);
    World::new(system.into(), plan, workload, options).run()
}

/// The phases of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Load,
    Drain,
    Stop,
}

struct World {
    sim: turmoil::Sim<'static>,
    system: Rc<dyn System>,
    recorder: Arc<Recorder>,
    network: Arc<Network>,
    machines: Vec<Rc<Machine>>,
    driver: Driver,
    lanes: Option<Arc<dyn LaneFaults>>,
    watch: Box<dyn FnMut(&Gauges<'_>)>,
    load_done: Rc<Cell<bool>>,
    violations: Vec<Violation>,
    now_ns: Ns,
    options: Timing,
    watchdog: Watchdog,
}

/// The options that matter while it runs.
struct Timing {
    tick_ns: Ns,
    duration_ns: Ns,
    drain_ns: Ns,
    backlog: String,
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that builds a simulation: seed and epoch are set right here"
)]
fn simulation(seed: u64, tick_ns: Ns) -> turmoil::Sim<'static> {
    let tick = Duration::from_nanos(tick_ns);
    turmoil::Builder::new()
        .rng_seed(seed)
        .epoch(UNIX_EPOCH + Duration::from_nanos(EPOCH_UNIX_NS.unsigned_abs()))
        .simulation_duration(Duration::MAX)
        .tick_duration(tick)
        .min_message_latency(tick)
        .max_message_latency(tick)
        .tcp_capacity(TCP_SEGMENTS)
        .build()
}

impl World {
    fn new(system: Rc<dyn System>, seed_plan: &Plan, workload: Vec<LoadEvent>, options: WorldOptions) -> World {
        let WorldOptions { recorder, tick_ns, latency_ns, cpu, .. } = options;
        let mut specs = system.hosts();
        specs.push(HostSpec { name: LOAD.to_owned(), disk_bytes: LOAD_DISK_BYTES, cores: 1 });
        recorder.begin(Hosts::new(specs.iter().map(|spec| spec.name.clone())));
        let network = Network::new(recorder.clone(), latency_ns, tick_ns, options.routes);
        let machine = |(i, spec)| Rc::new(Machine::new(i, spec, &recorder, &network, cpu.clone(), EPOCH_UNIX_NS));
        let machines: Vec<Rc<Machine>> = specs.iter().enumerate().map(machine).collect();
        let load = Rc::new(plan(workload, &recorder));
        recorder.with_history(|history| history.warmup_ns = options.warmup_ns);

        let mut sim = simulation(seed_plan.seed, tick_ns);
        let (load_host, hosts) = machines.split_last().expect("the load's host was pushed above");
        for machine in hosts {
            let (machine, system) = (machine.clone(), system.clone());
            sim.host(machine.name.clone(), move || machine.clone().run(system.clone()));
        }
        let load_done = Rc::new(Cell::new(false));
        let (host, offering, done, recording) =
            (load_host.clone(), system.clone(), load_done.clone(), recorder.clone());
        sim.host(LOAD, move || {
            let (host, system, done, recorder, load) =
                (host.clone(), offering.clone(), done.clone(), recording.clone(), load.clone());
            async move {
                let env = host.boot().env;
                offer_all(system, env, recorder, host.index, load, options.load_window).await;
                done.set(true);
                std::future::pending().await
            }
        });
        World {
            sim,
            system,
            recorder,
            network,
            machines,
            driver: Driver::new(seed_plan, options.trigger, options.gauges),
            lanes: options.lanes,
            watch: options.watch,
            load_done,
            violations: Vec::new(),
            now_ns: 0,
            watchdog: Watchdog::watch(seed_plan),
            options: Timing {
                tick_ns,
                duration_ns: options.duration_ns,
                drain_ns: options.drain_ns,
                backlog: options.backlog,
            },
        }
    }

    fn run(mut self) -> SeedOutcome {
        let drained = match self.live() {
            Ok(drained) => drained,
            Err(caught) => {
                self.panicked(caught);
                false
            }
        };
        self.finish(drained)
    }

    /// The whole life of the world; whether it was quiet at the end.
    fn live(&mut self) -> Result<bool, Caught> {
        self.phase(Phase::Load);
        while self.now_ns < self.options.duration_ns {
            if !self.border(Phase::Load)? {
                return Ok(false);
            }
            self.step()?;
        }
        self.heal_all();
        self.phase(Phase::Drain);
        let limit_ns = self.now_ns + self.options.drain_ns;
        let mut quiet_since = None;
        let drained = loop {
            if !self.border(Phase::Drain)? {
                return Ok(false);
            }
            let quiet = self.load_done.get() && self.all_settled() && self.system.quiet();
            quiet_since = if quiet { quiet_since.or(Some(self.now_ns)) } else { None };
            if quiet_since.is_some_and(|since| self.now_ns - since >= QUIET_NS) {
                break true;
            }
            if self.now_ns >= limit_ns {
                break false;
            }
            self.step()?;
        };
        self.stop()?;
        Ok(drained)
    }

    /// Asks all software to stop, and waits for it.
    fn stop(&mut self) -> Result<(), Caught> {
        self.phase(Phase::Stop);
        let hosts: Vec<Rc<Machine>> = self.systems().filter(|machine| self.is_up(machine)).cloned().collect();
        hosts.iter().for_each(|machine| self.system.stop(&machine.name));
        let limit_ns = self.now_ns + STOP_NS;
        while self.now_ns < limit_ns && hosts.iter().any(|machine| self.is_up(machine)) {
            self.step()?;
            if !self.border(Phase::Stop)? {
                return Ok(());
            }
        }
        hosts.iter().filter(|machine| self.is_up(machine)).for_each(|machine| self.would_not_stop(machine));
        Ok(())
    }

    /// What happens between two ticks; false when the run can't go on.
    fn border(&mut self, phase: Phase) -> Result<bool, Caught> {
        if !self.take_exits(phase)? {
            return Ok(false);
        }
        if phase == Phase::Load {
            let downs = {
                let World { system, recorder, network, machines, lanes, options, driver, .. } = self;
                let controls = controls(&**system, recorder, network, machines, lanes.as_deref(), options.duration_ns);
                driver.tick(self.now_ns, &controls)
            };
            for down in downs {
                match down.how {
                    How::Stop => self.ask_to_stop(down.host, down.until_ns),
                    how => self.take_down(down.host, how, Some(down.until_ns))?,
                }
            }
        }
        self.kill_what_will_not_stop()?;
        for machine in &self.machines {
            if machine.restart_ns.get().is_some_and(|at| at <= self.now_ns) {
                machine.restart_ns.set(None);
                self.network.host_up(machine.index);
                self.sim.bounce(machine.name.as_str());
            }
        }
        self.network.deliver();
        if phase != Phase::Stop {
            let World { system, recorder, network, machines, lanes, options, driver, watch, .. } = self;
            let controls = controls(&**system, recorder, network, machines, lanes.as_deref(), options.duration_ns);
            watch(&driver.gauges(&controls));
        }
        if self.now_ns.is_multiple_of(SAMPLE_NS) {
            self.sample();
        }
        Ok(true)
    }

    /// Writes down what waits inside the system, and what its disks hold.
    fn sample(&self) {
        let backlog = self.system.gauge(&self.options.backlog).map(|backlog| (self.now_ns, backlog));
        let used = |machine: &Rc<Machine>| (machine.name.clone(), self.now_ns, machine.disk.used_bytes());
        self.recorder.with_history(|history| {
            history.backlog.extend(backlog);
            history.disk_used.extend(self.systems().map(used));
        });
    }

    fn step(&mut self) -> Result<(), Caught> {
        self.recorder.time.begin_step(self.now_ns, self.options.tick_ns);
        let result = guard(|| self.sim.step());
        self.watchdog.stepped();
        self.now_ns += self.options.tick_ns;
        self.recorder.time.end_step(self.now_ns);
        result?.expect("no host's software ends by itself, and the simulation has no end");
        Ok(())
    }

    /// Takes down what ended by itself, and starts it again unless it ended for good.
    fn take_exits(&mut self, phase: Phase) -> Result<bool, Caught> {
        for at in 0..self.machines.len() {
            let Some(exit) = self.machines[at].exit.take() else { continue };
            let machine = self.machines[at].clone();
            let asked = machine.stopping.take();
            let how = if let Exit::Done = exit { How::Stop } else { How::Kill };
            let (restart_ns, goes_on) = match exit {
                Exit::Done => {
                    machine.ended.set(asked.is_none());
                    (asked.map(|(_, until_ns)| until_ns), true)
                }
                Exit::Failed(error) => {
                    let final_one = error.exit == 2;
                    self.recorder.exited(machine.index, error.exit, format!("exit {}: {error}", error.exit));
                    if final_one {
                        self.violated("engine.exit", format!("{error}"));
                    }
                    let at = self.now_ns + machine.backoff_ns(self.now_ns);
                    (Some(at).filter(|_| !final_one && phase != Phase::Stop), !final_one)
                }
                Exit::Panicked(message) => {
                    self.recorder.exited(machine.index, 70, format!("panic: {message}"));
                    self.violated("engine.panic", format!("{}: {message}", machine.name));
                    (None, false)
                }
            };
            self.take_down(machine.index, how, restart_ns)?;
            if !goes_on {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Asks a host's software to end; it starts again at `until_ns`, or when it has ended, whichever is later.
    fn ask_to_stop(&mut self, host: usize, until_ns: Ns) {
        let machine = &self.machines[host];
        if self.is_up(machine) {
            machine.stopping.set(Some((self.now_ns + STOP_NS, until_ns)));
            self.system.stop(&machine.name);
        }
    }

    /// Kills what was asked to end and hasn't in [`STOP_NS`], as a supervisor does.
    fn kill_what_will_not_stop(&mut self) -> Result<(), Caught> {
        for host in 0..self.machines.len() {
            let late = self.machines[host].stopping.get().filter(|(deadline_ns, _)| *deadline_ns <= self.now_ns);
            if let Some((_, until_ns)) = late {
                self.would_not_stop(&self.machines[host]);
                self.take_down(host, How::Kill, Some(until_ns))?;
            }
        }
        Ok(())
    }

    fn would_not_stop(&self, machine: &Machine) {
        let message = format!("killed: asked to stop, it had not ended {} s later", STOP_NS / 1_000_000_000);
        self.recorder.exited(machine.index, 137, message);
    }

    /// Ends whatever runs on a host. Every handle is made inert first; then the runtime and its tasks are dropped.
    fn take_down(&mut self, host: usize, how: How, restart_ns: Option<Ns>) -> Result<(), Caught> {
        let machine = self.machines[host].clone();
        let power = matches!(how, How::PowerCut { .. } | How::Wipe);
        let way = match how {
            How::Kill => 0,
            How::PowerCut { .. } | How::Wipe => 1,
            How::Stop => 2,
        };
        self.recorder.end(host);
        self.recorder.trace(host, Kind::Down, way, 0);
        self.network.host_down(host, power);
        match how {
            How::PowerCut { torn } => machine.disk.power_cut(torn),
            How::Wipe => machine.disk.wipe(),
            How::Kill | How::Stop => machine.disk.crash(),
        }
        self.look(&machine);
        machine.exit.take();
        machine.stopping.set(None);
        machine.restart_ns.set(machine.restart_ns.get().max(restart_ns));
        guard(|| self.sim.crash(machine.name.as_str()))
    }

    /// What a reader finds wrong with the journal of a host that has just gone down, the first few times.
    fn look(&self, machine: &Machine) {
        if machine.looked.get() < LOOKS {
            machine.looked.set(machine.looked.get() + 1);
            let (_, unsound) = still::read(&machine.name, machine.disk.snapshot(), self.now_ns, Kept::default());
            self.recorder.with_history(|history| history.unsound.extend(unsound));
        }
    }

    fn heal_all(&mut self) {
        let World { system, recorder, network, machines, lanes, options, driver, .. } = self;
        let controls = controls(&**system, recorder, network, machines, lanes.as_deref(), options.duration_ns);
        driver.heal_all(self.now_ns, &controls);
        for machine in &self.machines {
            machine.restart_ns.set(machine.restart_ns.get().map(|at| at.min(self.now_ns)));
            let sooner = |(deadline_ns, until_ns): (Ns, Ns)| (deadline_ns, until_ns.min(self.now_ns));
            machine.stopping.set(machine.stopping.get().map(sooner));
        }
    }

    /// The machines of the system, without the load's.
    fn systems(&self) -> impl Iterator<Item = &Rc<Machine>> {
        self.machines.iter().take(self.machines.len() - 1)
    }

    fn is_up(&self, machine: &Machine) -> bool {
        self.recorder.hosts().is_up(machine.index)
    }

    /// No software is down that will come up again.
    fn all_settled(&self) -> bool {
        self.systems().all(|machine| self.is_up(machine) || machine.ended.get() && machine.restart_ns.get().is_none())
    }

    fn phase(&self, phase: Phase) {
        self.recorder.trace_world(Kind::Phase, phase as u64, 0);
    }

    fn violated(&mut self, check: &str, message: String) {
        self.violations.push(Violation { check: check.to_owned(), message, at_ns: self.now_ns });
    }

    fn panicked(&mut self, caught: Caught) {
        let machine =
            self.machines.iter().find(|machine| caught.runtime.is_some() && machine.runtime.get() == caught.runtime);
        let (host, name) = machine.map_or((None, "?"), |machine| (Some(machine.index), machine.name.as_str()));
        let message = format!("{name}: {}", caught.message);
        if let Some(host) = host {
            self.recorder.exited(host, 70, format!("panic: {}", caught.message));
        }
        self.violated("engine.panic", message);
    }

    fn finish(mut self, drained: bool) -> SeedOutcome {
        self.heal_all();
        let World { sim, machines, driver, recorder, violations, now_ns, options, .. } = self;
        machines.iter().for_each(|machine| recorder.hosts().end(machine.index));
        // A host that panicked may panic again while it is dropped; that adds nothing.
        let _ = guard(|| drop(sim));
        let applied = driver.finish();
        recorder.with_history(|history| {
            history.applied = applied;
            history.load_end_ns = options.duration_ns;
            history.end_ns = now_ns;
            history.drained = drained;
            for machine in &machines {
                history.disk.extend(machine.disk.facts());
                history.forgot.extend(machine.disk.forgot_ns().into_iter().map(|at_ns| (machine.name.clone(), at_ns)));
            }
        });
        let (history, trace) = recorder.finish();
        let disks = machines.iter().map(|machine| (machine.name.clone(), machine.disk.clone())).collect();
        SeedOutcome { history, trace, violations, disks }
    }
}

fn controls<'a>(
    system: &'a dyn System,
    recorder: &'a Recorder,
    network: &'a Network,
    machines: &'a [Rc<Machine>],
    lanes: Option<&'a dyn LaneFaults>,
    load_end_ns: Ns,
) -> Controls<'a> {
    Controls { system, recorder, network, machines, lanes, load_end_ns }
}
