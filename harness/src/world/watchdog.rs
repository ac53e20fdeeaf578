//! Ends the process when a step of the world doesn't: software that spins never gives the simulation its turn back, and no
//! other way out is left.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use crate::plan::Plan;

/// How long a step of a millisecond may take in real time.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the process ends with: the system under test failed.
const EXIT: i32 = 1;

/// Watches one world until it is dropped.
pub(super) struct Watchdog {
    steps: Arc<AtomicU64>,
    /// Closed by the drop.
    _alive: mpsc::Sender<()>,
}

impl Watchdog {
    /// Watches the run of `plan`.
    pub(super) fn watch(plan: &Plan) -> Watchdog {
        let steps = Arc::new(AtomicU64::new(0));
        let (alive, ended) = mpsc::channel();
        let (counted, plan) = (steps.clone(), plan.clone());
        #[expect(
            clippy::disallowed_methods,
            reason = "it watches from outside of the world, and touches nothing in it"
        )]
        std::thread::spawn(move || {
            let mut seen = 0;
            while let Err(mpsc::RecvTimeoutError::Timeout) = ended.recv_timeout(PATIENCE) {
                let now = counted.load(Ordering::Relaxed);
                if now == seen {
                    bark(&plan, now);
                }
                seen = now;
            }
        });
        Watchdog { steps, _alive: alive }
    }

    /// A step has ended.
    pub(super) fn stepped(&self) {
        self.steps.fetch_add(1, Ordering::Relaxed);
    }
}

fn bark(plan: &Plan, steps: u64) -> ! {
    let Plan { scenario, seed, .. } = plan;
    let patience_s = PATIENCE.as_secs();
    let plan = serde_json::to_string(plan).unwrap_or_default();
    // Nothing more can be done where even this fails.
    let _ = writeln!(
        std::io::stderr(),
        "engine.spins: {scenario} seed {seed}: step {steps} has not ended in {patience_s} s: software on some host waits for nothing and \
         goes on for ever.\nIts plan, for `seaworthy sim --plan FILE` under a debugger:\n{plan}"
    );
    std::process::exit(EXIT)
}
