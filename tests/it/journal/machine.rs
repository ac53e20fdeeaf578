//! A machine for a journal alone: a simulated disk and clock, and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use seaworthy_engine::env::{Cpu, Disk, Env, Fut, Io, Listener, Net, Probe, Stream, Work};
use seaworthy_engine::journal::frame::{self, At, Found, Header, SECTOR};
use seaworthy_engine::journal::letter::{DeadLetter, Failed, Origin, Runtime};
use seaworthy_engine::journal::{Record, segment};
use seaworthy_engine::node::{Class, NodeError};
use seaworthy_engine::observe::Event;
use seaworthy_engine::packet::Seq;
use seaworthy_harness::sim::Now;
use seaworthy_harness::sim::clock::SimClock;
use seaworthy_harness::sim::seed::KeyedSeed;

struct Nothing;
impl Net for Nothing {
    fn connect(&self, _: &str) -> Io<Box<dyn Stream>> {
        Box::pin(async { Err(std::io::ErrorKind::Unsupported.into()) })
    }
    fn listen(&self, _: &str) -> Io<Box<dyn Listener>> {
        Box::pin(async { Err(std::io::ErrorKind::Unsupported.into()) })
    }
}
impl Cpu for Nothing {
    fn charge(&self, _: Work<'_>, _: u32, _: u64) -> Option<Fut<'static, ()>> {
        None
    }
}
impl Probe for Nothing {
    fn on(&self, _: &[Event]) {}
}

/// Virtual time, from 0 on; belongs to the runtime that it is called in.
pub fn now() -> Now {
    let start = tokio::time::Instant::now();
    Arc::new(move || u64::try_from(start.elapsed().as_nanos()).expect("a test is shorter than 500 years"))
}

pub fn env(disk: Arc<dyn Disk>, seed: Arc<KeyedSeed>, now: Now) -> Env {
    let clock = Arc::new(SimClock::new(now, 0));
    Env { clock, disk, net: Arc::new(Nothing), seed, cpu: Arc::new(Nothing), probe: Arc::new(Nothing) }
}

/// Runs `future` in virtual time.
pub fn run(future: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime needs nothing from the machine").block_on(future);
}

/// Every valid frame among `files`, also such as an opening would leave out.
pub fn frames(files: &BTreeMap<String, Bytes>) -> Vec<(At, Header, Vec<Record>)> {
    let mut found = Vec::new();
    for (name, bytes) in files {
        let Some(number) = segment::number(name) else { continue };
        for offset in (SECTOR..bytes.len() as u64).step_by(SECTOR as usize) {
            let at = At { segment: number, offset };
            if let Found::Frame(header, mut body) = frame::parse(at, &bytes.slice(offset as usize..)) {
                let mut records = Vec::new();
                while !body.is_empty() {
                    records.push(Record::decode(&mut body).expect("a valid frame holds valid records"));
                }
                found.push((at, header, records));
            }
        }
    }
    found
}

/// A dead letter of node `strong` about `packet`, given up at `at`.
pub fn letter(packet: Bytes, at: i64) -> DeadLetter {
    let failed = Failed {
        packet,
        source: Some(Origin { input: "channel/c".into(), seq: Seq(1) }),
        node: "strong".into(),
        plugin: ("std:filter".into(), "0.1.0".into()),
        error: NodeError::new(Class::DecodeFailed, "not JSON"),
        attempts: 1,
        tried: (at, at),
    };
    DeadLetter::new(failed, Runtime { version: "0.1.0".into(), graph_hash: 7, process: "edge".into() })
}
