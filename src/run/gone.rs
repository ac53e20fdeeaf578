//! Processes that the file no longer has, and whose journals still hold something: refused, or parked where they lie.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use seaworthy_engine::env::Probe;
use seaworthy_engine::env::os::{self, OsOptions};
use seaworthy_engine::journal::{JournalError, JournalOptions};
use seaworthy_engine::load::Planned;
use seaworthy_engine::observe::Event;
use seaworthy_engine::process::ProcessPlan;
use seaworthy_engine::runtime::{EngineError, park_all};

use super::refusal::Refusal;
use super::{Args, data_dir};
use crate::held::{Held, held};

/// Nobody counts what is parked here: the journal keeps it.
struct Deaf;

impl Probe for Deaf {
    fn on(&self, _: &[Event]) {}
}

/// Sees to it that no journal is left behind with something in it.
pub(super) fn settle(args: &Args, plan: &ProcessPlan) -> Result<(), Refusal> {
    let dir = data_dir(args);
    if !dir.exists() {
        return Ok(());
    }
    let all = held(&Planned::Processes(plan.clone()), &dir)?;
    let gone: Vec<&Held> = all.iter().filter(|held| !held.known && !held.orphans.is_empty()).collect();
    if gone.is_empty() {
        return Ok(());
    }
    if !args.park {
        let of = |held: &&Held| {
            let orphans: Vec<String> = held.orphans.iter().map(ToString::to_string).collect();
            format!("process `{}`, whose journal holds {}", held.process, orphans.join(", "))
        };
        let what = gone.iter().map(of).collect::<Vec<_>>().join("; ");
        return Err(Refusal::Gone { file: args.file.clone(), what });
    }
    for held in gone {
        park(&held.dir, args.journal.options(&held.process))
            .map_err(|source| Refusal::Park { dir: held.dir.clone(), source })?;
    }
    Ok(())
}

fn park(dir: &Path, journal: JournalOptions) -> Result<(), EngineError> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |source: io::Error| EngineError::Journal(JournalError::Io { what, source: Arc::new(source) })
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(failed("start the runtime"))?;
    runtime.block_on(async {
        let (data_dir, peers, probe) = (dir.to_owned(), BTreeMap::new(), Arc::new(Deaf));
        let options = OsOptions { data_dir, listen: None, peers, keys: None, probe };
        let (env, _) = os::env(options).map_err(failed("use the data directory"))?;
        park_all(&env, journal).await
    })
}
