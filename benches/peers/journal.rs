//! Our journal in this process: transactions of some packets each, several of them on their way at a time.

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use seaworthy_engine::env::os::{OsOptions, env};
use seaworthy_engine::env::{Env, Probe};
use seaworthy_engine::journal::record::{Record, Settle};
use seaworthy_engine::journal::{Commit, Intent, Journal, JournalOptions};
use seaworthy_engine::observe::Event;
use seaworthy_engine::packet::Seq;
use tokio::runtime::Runtime;

use super::{Contender, PACKET_BYTES};

const CHANNEL: &str = "channel/bench";
const GROUP: &str = "hub";

pub(super) struct Deaf;

impl Probe for Deaf {
    fn on(&self, _: &[Event]) {}
}

/// A machine of this process's own, without a name for others to connect to.
pub(super) fn machine(options: OsOptions) -> Result<Env, Box<dyn Error>> {
    Ok(env(options)?.0)
}

pub(super) struct Appends {
    runtime: Runtime,
    journal: Journal,
    packet: Bytes,
    batch: usize,
    next: Seq,
    _env: Env,
}

impl Appends {
    /// Each transaction appends `batch` packets, and settles those before it: the journal recycles its segments.
    pub(super) fn open(dir: &Path, batch: usize) -> Result<Appends, Box<dyn Error>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let options = OsOptions {
            data_dir: dir.join("journal"),
            listen: None,
            peers: BTreeMap::new(),
            keys: None,
            probe: Arc::new(Deaf),
        };
        let env = machine(options)?;
        let journal = runtime.block_on(async {
            let (journal, _) = Journal::open(&env, JournalOptions::new("bench")).await?;
            let group = Settle { input: CHANNEL.into(), group: GROUP.into(), seqs: vec![], position: None };
            journal.append(vec![Record::Settle(group)], Intent::Drain).await?.wait().await?;
            Ok::<_, Box<dyn Error>>(journal)
        })?;
        let packet = Bytes::from(vec![7; PACKET_BYTES]);
        Ok(Appends { runtime, journal, packet, batch, next: Seq(1), _env: env })
    }

    fn transaction(&mut self) -> Vec<Record> {
        let first = self.next;
        let settle = |to: Seq| {
            let seqs = vec![(Seq((to.0 + 1).saturating_sub(self.batch as u64).max(1)), to)];
            Record::Settle(Settle { input: CHANNEL.into(), group: GROUP.into(), seqs, position: None })
        };
        let mut records: Vec<Record> = (first.0..first.0 + self.batch as u64)
            .map(|seq| Record::Append { channel: CHANNEL.into(), seq: Seq(seq), packet: self.packet.clone() })
            .collect();
        records.extend((first.0 > 1).then(|| settle(Seq(first.0 - 1))));
        self.next = Seq(first.0 + self.batch as u64);
        records
    }
}

impl Contender for Appends {
    fn carry(&mut self, window: usize, time: Duration) -> Result<u64, Box<dyn Error>> {
        let outstanding_max = window / self.batch;
        let began = Instant::now();
        let mut outstanding: VecDeque<Commit> = VecDeque::new();
        let mut durable = 0;
        let journal = self.journal.clone();
        loop {
            let more = began.elapsed() < time;
            while more && outstanding.len() < outstanding_max {
                let transaction = self.transaction();
                outstanding.push_back(self.runtime.block_on(journal.append(transaction, Intent::Produce))?);
            }
            let Some(oldest) = outstanding.pop_front() else { return Ok(durable) };
            self.runtime.block_on(oldest.wait())?;
            durable += self.batch as u64;
        }
    }
}

impl Drop for Appends {
    fn drop(&mut self) {
        self.runtime.block_on(self.journal.close());
    }
}
