//! Appends the packets of an SQLite queue to a channel, each once, however often it is begun.
//!
//! A transaction holds packets and the last row that they came from, so an import that was interrupted, or that is run
//! again because the queue has grown, goes on behind it. The queue itself stays as it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use seaworthy_engine::env::os::{self, OsClock, OsOptions};
use seaworthy_engine::env::{Clock, Probe};
use seaworthy_engine::journal::letter::{DeadLetter, Failed, Origin, Runtime};
use seaworthy_engine::journal::reader::{ReadError, Reader};
use seaworthy_engine::journal::record::{Name, Producer, Record};
use seaworthy_engine::journal::{Commit, Intent, Journal, JournalOptions};
use seaworthy_engine::node::{Class, NodeError};
use seaworthy_engine::observe::Event;
use seaworthy_engine::packet::{Epoch, Fields, Identity, Packet, ProducerId, Seq};
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

use super::export::input_name;
use super::sqlite::{Queue, Queued};
use super::{QueueError, disk, unreadable};
use crate::exit::Exit;
use crate::show;

/// Rows that are read at a time.
const ROWS_MAX: usize = 256;
/// What an import of an earlier release left in place of a mark: nothing can be told by it.
const NO_MARK: Epoch = Epoch(0);
/// Bytes of packets in a transaction.
const BATCH_BYTES_MAX: usize = 256 << 10;

#[derive(clap::Args)]
pub(super) struct Args {
    /// A process's data directory, its process stopped. Made where it is missing.
    dir: PathBuf,
    /// The queue: an SQLite file with a table `packets`.
    #[arg(long, value_name = "sqlite:FILE")]
    from: String,
    /// The channel that its packets go to.
    #[arg(long, value_name = "CHANNEL")]
    channel: String,
    /// Under which name the journal remembers how far this queue was taken [default: the stem of FILE]
    #[arg(long = "as", value_name = "NAME")]
    name: Option<String>,
    /// Whose data directory it is, where there is no journal yet [default: the name of DIR]
    #[arg(long, value_name = "PROCESS")]
    process: Option<String>,
    /// For a program.
    #[arg(long)]
    json: bool,
}

#[derive(Default, Serialize)]
struct Imported {
    channel: String,
    /// The row after which this import began; 0 for the first.
    after_seq: u64,
    /// The last row that is dealt with.
    last_seq: u64,
    packets: u64,
    /// Rows whose idempotency key and payload an earlier row has: left out.
    duplicates: u64,
    /// Rows whose idempotency key an earlier row has with another payload: dead letters.
    conflicts: u64,
    /// Rows that no frame can hold: left out, and named.
    too_large: Vec<u64>,
}

struct Deaf;

impl Probe for Deaf {
    fn on(&self, _events: &[Event]) {}
}

pub(super) async fn run(args: &Args) -> Result<Exit, QueueError> {
    let dir = &args.dir;
    let file = args.from.strip_prefix("sqlite:").filter(|file| !file.is_empty());
    let file = Path::new(file.ok_or_else(|| QueueError::From { text: args.from.clone() })?);
    let sqlite = |source| QueueError::Sqlite { file: file.to_owned(), source };
    let queue = Queue::open(file).map_err(sqlite)?;
    if let Some((rows, least)) = queue.below_first().map_err(sqlite)? {
        return Err(QueueError::BelowFirst { file: file.to_owned(), rows, least });
    }
    let process = process(args).await?;
    let journal = open(dir, &process).await?;
    let channel: Name = input_name(&args.channel).into();
    let stem = || file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let name = args.name.clone().unwrap_or_else(stem);
    let producer: Name = format!("sqlite:{name}").into();
    let (mut last, (mark, after)) = journal.image(|image| {
        let last = image.channel(&channel).map_or(Seq(0), |packets| packets.last);
        (last, image.producer(&channel, &producer).map_or((NO_MARK, 0), |(mark, last)| (mark, last.0)))
    });
    // Rows up to there are left out: those of another queue would be lost.
    let known = queue.last_upto(after).map_err(sqlite)?.map(|row| (row.seq, mark_of(&row)));
    if mark != NO_MARK && known.is_some_and(|known| known != (after, mark)) {
        journal.close().await;
        return Err(QueueError::Other { file: file.to_owned(), name, after });
    }
    let mut imported =
        Imported { channel: args.channel.clone(), after_seq: after, last_seq: after, ..Default::default() };
    let runtime = Runtime::here(process.as_str().into(), 0);
    let room = (journal.frame_bytes_max() - seaworthy_engine::journal::frame::HEADER) / 2;
    let written = |source| QueueError::Write { dir: dir.clone(), source };
    let mut commit: Option<Commit> = None;
    loop {
        let rows = queue.read(imported.last_seq, ROWS_MAX).map_err(sqlite)?;
        if rows.is_empty() {
            break;
        }
        let mut tx = Transaction::new(&channel, &producer, &runtime);
        for row in rows {
            imported.last_seq = row.seq;
            tx.upto = (row.seq, mark_of(&row));
            let size = tx.take(row, &mut last, room, &mut imported);
            if size >= BATCH_BYTES_MAX {
                let full = std::mem::replace(&mut tx, Transaction::new(&channel, &producer, &runtime));
                // The last commit is waited for, which makes all before it durable.
                commit = Some(journal.append(full.end(), Intent::Produce).await.map_err(written)?);
            }
        }
        if tx.upto.0 > 0 {
            commit = Some(journal.append(tx.end(), Intent::Produce).await.map_err(written)?);
        }
    }
    if let Some(commit) = commit {
        commit.wait().await.map_err(written)?;
    }
    journal.close().await;
    let exit = if imported.conflicts > 0 || !imported.too_large.is_empty() { Exit::Failed } else { Exit::Pass };
    let shown = if args.json { show::json(&imported) } else { show::report(&text(&imported)) };
    Ok(shown.and(exit))
}

/// Whose journal it is or will be.
async fn process(args: &Args) -> Result<String, QueueError> {
    match Reader::open(disk(&args.dir)?).await {
        Ok(reader) => Ok(args.process.clone().unwrap_or_else(|| reader.process().to_owned())),
        Err(ReadError::Missing | ReadError::NoJournal) => {
            let name = || args.dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            Ok(args.process.clone().unwrap_or_else(name))
        }
        Err(error) => Err(unreadable(&args.dir)(error)),
    }
}

async fn open(dir: &Path, process: &str) -> Result<Journal, QueueError> {
    let data_dir = dir.to_owned();
    let options = OsOptions { data_dir, listen: None, peers: BTreeMap::new(), keys: None, probe: Arc::new(Deaf) };
    let machine = |source| QueueError::Machine { what: "use the data directory", source };
    let (env, _) = os::env(options).map_err(machine)?;
    let opened = Journal::open(&env, JournalOptions::new(process)).await;
    let (journal, recovery) = opened.map_err(|source| QueueError::Write { dir: dir.to_owned(), source })?;
    show::notes(&recovery.lines());
    Ok(journal)
}

/// Who imports has no epochs: in their place the journal remembers the row that it stands at.
fn mark_of(row: &Queued) -> Epoch {
    Epoch(row.fingerprint())
}

/// What goes into the journal in one piece.
struct Transaction {
    channel: Name,
    producer: Name,
    /// What its dead letters say of us.
    runtime: Runtime,
    records: Vec<Record>,
    bytes: usize,
    /// The last row that it deals with, and what tells it from another's; 0 for none.
    upto: (u64, Epoch),
}

impl Transaction {
    fn new(channel: &Name, producer: &Name, runtime: &Runtime) -> Transaction {
        let (channel, producer, runtime) = (channel.clone(), producer.clone(), runtime.clone());
        Transaction { channel, producer, runtime, records: Vec::new(), bytes: 0, upto: (0, NO_MARK) }
    }

    /// Takes a row for what it is; gives the bytes that are together by now.
    fn take(&mut self, row: Queued, last: &mut Seq, room: usize, imported: &mut Imported) -> usize {
        let (seq, repeats) = (row.seq, row.repeats);
        if matches!(repeats, Some((_, true))) {
            imported.duplicates += 1;
            return self.bytes;
        }
        let packet = self.packet(row);
        let bytes = packet.encode();
        if bytes.len() > room {
            imported.too_large.push(seq);
            return self.bytes;
        }
        self.bytes += bytes.len();
        match repeats {
            Some((first, _)) => {
                imported.conflicts += 1;
                let now = OsClock::new().unix_ns();
                let message = format!("row {seq} has the idempotency key of row {first}, and another payload");
                let failed = Failed {
                    packet: bytes,
                    source: Some(Origin { input: self.producer.clone(), seq: Seq(seq) }),
                    node: self.producer.clone(),
                    plugin: Default::default(),
                    error: NodeError::new(Class::Conflict, message),
                    attempts: 1,
                    tried: (now, now),
                };
                self.records.push(Record::DeadLetter(DeadLetter::new(failed, self.runtime.clone())));
            }
            None => {
                *last = last.next();
                imported.packets += 1;
                self.records.push(Record::Append { channel: self.channel.clone(), seq: *last, packet: bytes });
            }
        }
        self.bytes
    }

    fn packet(&self, row: Queued) -> Packet {
        let producer = ProducerId(xxh3_64(format!("{} {}", self.producer, self.channel).as_bytes()));
        Packet::from(Fields {
            identity: Identity::Entered { producer, epoch: Epoch(0), pseq: Seq(row.seq) },
            packet_id: row.packet_id.into(),
            ts: row.ts,
            kind: row.kind,
            source_id: row.source_id.into(),
            key: None,
            content_type: row.content_type,
            payload: row.payload,
            meta: row.meta,
        })
    }

    /// All of it, with how far the queue was taken.
    fn end(mut self) -> Vec<Record> {
        let (channel, producer, (seq, mark)) = (self.channel, self.producer, self.upto);
        self.records.push(Record::Producer(Producer { channel, producer, epoch: mark, last: Seq(seq) }));
        self.records
    }
}

fn text(imported: &Imported) -> String {
    let Imported { channel, after_seq, last_seq, packets, duplicates, conflicts, too_large } = imported;
    let mut text = format!("{packets} packets into {channel}: rows behind {after_seq}, up to {last_seq}\n");
    if *duplicates > 0 {
        text.push_str(&format!("{duplicates} rows repeat an earlier one and were left out\n"));
    }
    if *conflicts > 0 {
        text.push_str(&format!("{conflicts} rows have the key of an earlier one with another payload: dead letters\n"));
    }
    if !too_large.is_empty() {
        text.push_str(&format!("LEFT OUT, too large for a frame: rows {too_large:?}\n"));
    }
    text
}
