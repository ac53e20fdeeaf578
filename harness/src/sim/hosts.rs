//! What every part of a world shares: who the hosts are, which incarnation of each lives, and what time it is.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use seaworthy_engine::env::Clock;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use super::Now;
use super::clock::wait_until;

/// A host by its place in the world's table; the load's own host is the last one.
pub(crate) type HostIndex = usize;

/// The table of hosts. An incarnation that is not the living one is inert everywhere.
#[derive(Debug)]
pub(crate) struct Hosts {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    name: Arc<str>,
    key: u64,
    boots: AtomicU64,
    /// The incarnation that lives, 0 while the host is down.
    live: AtomicU64,
    /// Its software stands still until then, ns.
    resumes_ns: Arc<AtomicU64>,
    /// The world's start on the clock of the runtime that the host's software is in; `None` before its first boot.
    origin: Mutex<Option<Instant>>,
}

impl Hosts {
    /// A table of hosts that are all down.
    pub fn new(names: impl IntoIterator<Item = String>) -> Hosts {
        let row = |name: String| Row {
            key: xxh3_64(name.as_bytes()),
            name: name.into(),
            boots: 0.into(),
            live: 0.into(),
            resumes_ns: Arc::default(),
            origin: None.into(),
        };
        let rows: Vec<Row> = names.into_iter().map(row).collect();
        assert!(rows.len() < usize::from(u16::MAX), "traces number hosts with 16 bits, {} are too many", rows.len());
        Hosts { rows }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Where the host of that name is.
    pub fn index(&self, name: &str) -> Option<HostIndex> {
        self.rows.iter().position(|row| &*row.name == name)
    }

    /// The host's name.
    pub fn name(&self, host: HostIndex) -> &Arc<str> {
        &self.rows[host].name
    }

    /// A number for keyed draws that depends on the name only.
    pub fn key(&self, host: HostIndex) -> u64 {
        self.rows[host].key
    }

    /// Starts the next incarnation and returns it.
    pub fn boot(&self, host: HostIndex) -> u64 {
        let row = &self.rows[host];
        let incarnation = row.boots.fetch_add(1, Ordering::Relaxed) + 1;
        row.live.store(incarnation, Ordering::Relaxed);
        incarnation
    }

    /// The incarnation that lives; 0 while none does.
    pub fn live(&self, host: HostIndex) -> u64 {
        self.rows[host].live.load(Ordering::Relaxed)
    }

    /// Says where the world's start lies on the clock of the host's runtime. Each boot has a runtime of its own.
    pub fn set_origin(&self, host: HostIndex, origin: Instant) {
        *self.rows[host].origin.lock().unwrap_or_else(PoisonError::into_inner) = Some(origin);
    }

    fn origin(&self, host: HostIndex) -> Option<Instant> {
        *self.rows[host].origin.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its software stands still until then; 0 when it goes on.
    pub fn pause(&self, host: HostIndex, until_ns: u64) {
        self.rows[host].resumes_ns.store(until_ns, Ordering::Relaxed);
    }

    /// Until when its software stands still, ns.
    pub fn resumes_ns(&self, host: HostIndex) -> u64 {
        self.rows[host].resumes_ns.load(Ordering::Relaxed)
    }

    /// The same, for what belongs to the host alone.
    pub fn pause_of(&self, host: HostIndex) -> Pause {
        Pause(self.rows[host].resumes_ns.clone())
    }

    /// Makes every handle of the living incarnation inert.
    pub fn end(&self, host: HostIndex) {
        self.pause(host, 0);
        self.rows[host].live.store(0, Ordering::Relaxed);
    }

    /// Whether some incarnation lives.
    pub fn is_up(&self, host: HostIndex) -> bool {
        self.live(host) != 0
    }

    /// Whether this very incarnation lives.
    pub fn is_live(&self, host: HostIndex, incarnation: u64) -> bool {
        self.live(host) == incarnation
    }
}

/// Until when a host's software stands still. The default never does.
#[derive(Clone, Debug, Default)]
pub struct Pause(Arc<AtomicU64>);

impl Pause {
    /// Completes once the world's time has reached `at_ns` and the host's software goes on; at once where both hold.
    pub async fn wait_until(&self, now: Now, at_ns: u64) {
        loop {
            let at_ns = at_ns.max(self.0.load(Ordering::Relaxed));
            if at_ns <= now() {
                return;
            }
            wait_until(now.clone(), at_ns).await;
        }
    }
}

/// The world's time: nanoseconds since its start, the same for all hosts.
#[derive(Default)]
pub(crate) struct WorldTime {
    /// The clock of a real machine and what it showed at the start; unset in a simulation.
    real: OnceLock<(Arc<dyn Clock>, u64)>,
    step_ns: AtomicU64,
    tick_ns: AtomicU64,
    stepping: AtomicBool,
}

impl WorldTime {
    /// From now on time is what that clock says, beginning with 0.
    pub fn run_by(&self, clock: Arc<dyn Clock>) {
        let start_ns = clock.mono();
        assert!(self.real.set((clock, start_ns)).is_ok(), "time runs by one clock");
    }

    fn real_ns(&self) -> Option<u64> {
        self.real.get().map(|(clock, start_ns)| clock.mono() - start_ns)
    }

    /// Begins the step that starts at `step_ns` and lasts `tick_ns`.
    pub fn begin_step(&self, step_ns: u64, tick_ns: u64) {
        self.step_ns.store(step_ns, Ordering::Relaxed);
        self.tick_ns.store(tick_ns, Ordering::Relaxed);
        self.stepping.store(true, Ordering::Relaxed);
    }

    /// Ends the step; until the next one the time is `now_ns`.
    pub fn end_step(&self, now_ns: u64) {
        self.stepping.store(false, Ordering::Relaxed);
        self.step_ns.store(now_ns, Ordering::Relaxed);
    }

    /// Now. Between steps (also while a crash drops a host's tasks, where tokio's paused clock is out of reach) it is the
    /// time of the border between them.
    pub fn now_ns(&self) -> u64 {
        if let Some(now_ns) = self.real_ns() {
            return now_ns;
        }
        let step_ns = self.step_ns.load(Ordering::Relaxed);
        if !self.stepping.load(Ordering::Relaxed) {
            return step_ns;
        }
        let inside = turmoil::sim_elapsed().map_or(step_ns, |elapsed| elapsed.as_nanos() as u64);
        self.within_step(step_ns, inside)
    }

    /// [`WorldTime::now_ns`] for who runs in the runtime of `host`, or between steps: the same, without turmoil's way
    /// through its table of hosts, which is most of its price.
    pub fn now_on_ns(&self, hosts: &Hosts, host: HostIndex) -> u64 {
        if let Some(now_ns) = self.real_ns() {
            return now_ns;
        }
        let step_ns = self.step_ns.load(Ordering::Relaxed);
        match hosts.origin(host) {
            Some(origin) if self.stepping.load(Ordering::Relaxed) => {
                self.within_step(step_ns, origin.elapsed().as_nanos() as u64)
            }
            _ => step_ns,
        }
    }

    fn within_step(&self, step_ns: u64, ns: u64) -> u64 {
        ns.clamp(step_ns, step_ns + self.tick_ns.load(Ordering::Relaxed))
    }
}
