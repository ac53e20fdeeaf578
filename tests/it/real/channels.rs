//! The conformance kit of channels on the real machine: a journal in a directory, its users in process and over loopback.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::join_all;
use seaworthy_engine::env::os::{self, OsOptions};
use seaworthy_engine::env::{Env, Probe};
use seaworthy_engine::observe::Event;
use seaworthy_harness::kit::kinds::{InJournal, Machine};
use seaworthy_harness::kit::{self, CASES, Case, Outcome, RigError};
use tempfile::TempDir;

/// Long enough that a busy machine doesn't matter.
const BEAT_NS: u64 = 200_000_000;
/// One that a busy machine keeps, too.
const LONG_BEAT_NS: u64 = 1_500_000_000;

/// A directory, and a port on loopback that is another with each boot.
struct RealMachine {
    dir: TempDir,
    /// Of its directory: how often the host was killed.
    life: u32,
    guest: Option<Env>,
}

struct Deaf;

impl Probe for Deaf {
    fn on(&self, _: &[Event]) {}
}

impl RealMachine {
    fn new() -> Result<RealMachine, RigError> {
        Ok(RealMachine { dir: tempfile::tempdir()?, life: 0, guest: None })
    }

    fn host_dir(&self) -> PathBuf {
        self.dir.path().join(format!("host.{}", self.life))
    }

    fn options(&self, data_dir: PathBuf) -> OsOptions {
        let probe = Arc::new(Deaf);
        OsOptions { data_dir, listen: None, peers: BTreeMap::new(), keys: None, probe }
    }
}

impl Machine for RealMachine {
    fn boot(&mut self) -> Result<Env, RigError> {
        let listen = Some(([127, 0, 0, 1], 0).into());
        let (host, net) = os::env(OsOptions { listen, ..self.options(self.host_dir()) })?;
        let address = net.bound().expect("it listens");
        let peers = BTreeMap::from([("host".to_owned(), address)]);
        self.guest = Some(os::env(OsOptions { peers, ..self.options(self.dir.path().join("guest")) })?.0);
        Ok(host)
    }

    /// A kill as files show it: the next life begins from what was written up to now. The host itself can't be killed within
    /// the test's process, and goes on in the old directory until it is dropped.
    fn crash(&mut self) -> Result<(), RigError> {
        let old = self.host_dir();
        self.life += 1;
        let new = self.host_dir();
        std::fs::create_dir(&new)?;
        for entry in std::fs::read_dir(old)? {
            let entry = entry?;
            std::fs::copy(entry.path(), new.join(entry.file_name()))?;
        }
        Ok(())
    }

    fn guest(&self) -> Env {
        self.guest.clone().expect("guests come after the host")
    }
}

/// All cases at once, each on a channel of its own: they mostly wait. A disk that stands still for some beats disturbs them as a
/// broken promise would; what failed runs again with beats that are longer than that, and has to pass.
#[track_caller]
fn check(name: &'static str, is_far: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("the machine has a runtime");
    let mut cases: Vec<&Case> = CASES.iter().collect();
    let mut failed = Vec::new();
    for beat_ns in [BEAT_NS, LONG_BEAT_NS] {
        let kind = InJournal::on(name, beat_ns, is_far, || Ok(Box::new(RealMachine::new()?)));
        let run = async |case| (case, kit::run_case(&kind, case).await);
        let outcomes = runtime.block_on(join_all(cases.iter().copied().map(run)));
        failed = outcomes.into_iter().filter(|(_, outcome)| *outcome != Outcome::Passed).collect();
        for (case, outcome) in &failed {
            eprintln!("{name}, beats of {} ms: {}: {outcome:?}", beat_ns / 1_000_000, case.name);
        }
        cases = failed.iter().map(|(case, _)| *case).collect();
    }
    assert!(failed.is_empty(), "{name}: {} cases failed twice", failed.len());
}

#[test]
fn a_journal_in_a_directory() {
    check("journal in a directory", false);
}

#[test]
fn a_journal_behind_a_lane_over_loopback() {
    check("journal behind a lane over loopback", true);
}
