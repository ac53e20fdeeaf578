//! Journals for the tests of `queue`: made by the engine, a few small segments, in directories of their own.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests of real files read and write them; a failure is the test\'s"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use seaworthy_engine::env::os::{self, OsDisk, OsOptions};
use seaworthy_engine::env::{Disk, Env, Probe};
use seaworthy_engine::journal::reader::{Finding, ReadError, Reader, Step};
use seaworthy_engine::journal::record::{Record, Settle};
use seaworthy_engine::journal::{Intent, Journal, JournalOptions, Lsn, Recovery};
use seaworthy_engine::observe::Event;
use seaworthy_engine::packet::{ContentType, Fields, Identity, Kind, Packet, Seq};
use tempfile::TempDir;

struct Deaf;

impl Probe for Deaf {
    fn on(&self, _events: &[Event]) {}
}

pub(crate) fn env(dir: &Path) -> Env {
    let data_dir = dir.to_owned();
    os::env(OsOptions { data_dir, listen: None, peers: BTreeMap::new(), keys: None, probe: Arc::new(Deaf) }).unwrap().0
}

pub(crate) fn disk(dir: &Path) -> Arc<dyn Disk> {
    Arc::new(OsDisk::new(dir).unwrap())
}

pub(crate) async fn open(dir: &Path) -> (Journal, Recovery) {
    let options = JournalOptions { segment_bytes: 64 << 10, frame_bytes_max: 16 << 10, ..JournalOptions::new("hub") };
    Journal::open(&env(dir), options).await.unwrap()
}

pub(crate) fn packet(seq: u64) -> Bytes {
    let payload = format!("{{\"n\": {seq}, \"fill\": \"{}\"}}", "x".repeat(seq as usize * 37 % 900));
    let fields = Fields {
        identity: Identity::Derived(u128::from(seq)),
        packet_id: format!("p{seq}").into(),
        ts: seq as i64,
        kind: Kind::Event,
        source_id: "test".into(),
        key: Some(format!("k{}", seq / 40).into()),
        content_type: ContentType::Json,
        payload: payload.into(),
        meta: BTreeMap::new(),
    };
    Packet::from(fields).encode()
}

pub(crate) fn append(seq: u64) -> Record {
    Record::Append { channel: "channel/up".into(), seq: Seq(seq), packet: packet(seq) }
}

pub(crate) fn settle(from: u64, to: u64) -> Record {
    let seqs = if from <= to { vec![(Seq(from), Seq(to))] } else { Vec::new() };
    Record::Settle(Settle { input: "channel/up".into(), group: "hub".into(), seqs, position: None })
}

/// A journal of the process `hub` with packets 1 to `packets` in `channel/up`, of which 1 to 5 are settled.
pub(crate) async fn make(dir: &Path, packets: u64) {
    let (journal, _) = open(dir).await;
    let mut commits = vec![journal.append(vec![settle(1, 0)], Intent::Drain).await.unwrap()];
    for seq in 1..=packets {
        commits.push(journal.append(vec![append(seq)], Intent::Produce).await.unwrap());
        if seq % 7 == 0 {
            commits.pop().unwrap().wait().await.unwrap();
        }
    }
    commits.push(journal.append(vec![settle(1, 5)], Intent::Drain).await.unwrap());
    commits.pop().unwrap().wait().await.unwrap();
    journal.close().await;
}

/// All that a reader gives of a directory.
#[derive(Default, Debug)]
pub(crate) struct Read {
    pub(crate) records: BTreeMap<Lsn, Record>,
    pub(crate) findings: Vec<Finding>,
    /// Segment, offset and length of each frame.
    pub(crate) frames: Vec<(u64, u64, u32)>,
    pub(crate) first: Option<Lsn>,
    pub(crate) next: Lsn,
}

pub(crate) async fn read(dir: &Path) -> Result<Read, ReadError> {
    let mut reader = Reader::open(disk(dir)).await?;
    let mut read = Read { first: Some(reader.next_lsn()), ..Read::default() };
    while let Some(step) = reader.next().await? {
        match step {
            Step::Footer(_) => {}
            Step::Finding(finding) => read.findings.push(finding),
            Step::Frame(frame) => {
                read.frames.push((frame.at.segment, frame.at.offset, frame.header.len));
                for record in frame.records() {
                    if let (Some(lsn), record) = record.expect("what has the right checksum can be read") {
                        assert!(read.records.insert(lsn, record).is_none(), "LSN {lsn} came twice");
                    }
                }
            }
        }
    }
    read.next = reader.next_lsn();
    Ok(read)
}

/// A directory with a journal that ended well.
pub(crate) struct Sample(TempDir);

impl Sample {
    pub(crate) async fn new(packets: u64) -> Sample {
        let sample = Sample(tempfile::tempdir().unwrap());
        make(&sample.dir(), packets).await;
        sample
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.0.path().join("hub")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    pub(crate) fn copy(&self) -> Sample {
        let copy = Sample(tempfile::tempdir().unwrap());
        fs::create_dir(copy.dir()).unwrap();
        for name in self.names() {
            fs::copy(self.path(&name), copy.path(&name)).unwrap();
        }
        copy
    }

    /// All files, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.dir()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    pub(crate) fn flip(&self, name: &str, byte: u64, bit: u8) {
        let mut bytes = fs::read(self.path(name)).unwrap();
        bytes[byte as usize] ^= 1 << bit;
        fs::write(self.path(name), bytes).unwrap();
    }
}

pub(crate) fn segment(number: u64) -> String {
    format!("seg-{number:012}.swj")
}
