//! The files of a finished run as a disk that can only be read, and what the engine's own reader finds wrong with a journal there.

use std::collections::{BTreeMap, BTreeSet};
use std::future::ready;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use seaworthy_engine::env::{Disk, File, Io, Open};
use seaworthy_engine::journal::frame::Header;
use seaworthy_engine::journal::image::Cursor;
use seaworthy_engine::journal::reader::{Finding, Frame, ReadError, Reader, Step};
use seaworthy_engine::journal::record::Name;
use seaworthy_engine::journal::{Lsn, Record};
use seaworthy_engine::packet::{Packet, Seq};

use crate::history::{Letter, Unless, Unsound};
use crate::plan::{Kept, Ns};

/// Frames are stamped when they are built, and segments given back when frames are durable.
const SLACK_NS: Ns = 1_000_000_000;

/// Most pieces of what a member has done: those that it is told of around its own packets swallow them.
const PIECES_MAX: usize = 400;

/// From when on a journal's frames are there, and how much of it.
#[derive(Default)]
struct Span {
    first: Option<(Lsn, i64)>,
    newest: i64,
    segments: BTreeSet<u64>,
    end: u64,
}

impl Span {
    fn add(&mut self, frame: &Frame) {
        let Header { base, time, .. } = frame.header;
        self.first.get_or_insert((base, time));
        self.newest = self.newest.max(time);
        self.segments.insert(frame.at.segment);
        self.end = frame.at.offset + frame.header.padded();
    }

    /// What is gone of what should be kept: of the active segment only what is written counts.
    fn short(&self, kept: Kept) -> Option<String> {
        let (from, oldest) = self.first.filter(|(from, _)| *from > Lsn(0))?;
        let left_ns = u64::try_from(self.newest.saturating_sub(oldest)).unwrap_or(0);
        let left = (self.segments.len() as u64 - 1) * kept.segment_bytes + self.end;
        let gone = |left: String, of: String| {
            Some(format!("all below {from} is gone: {left} are left, where {of} are kept for replays"))
        };
        if left_ns + SLACK_NS < kept.ns {
            let seconds = |ns: Ns| format!("{:.3} s", ns as f64 / 1e9);
            return gone(seconds(left_ns), seconds(kept.ns));
        }
        if left < kept.bytes { gone(format!("{left} bytes"), format!("{} bytes", kept.bytes)) } else { None }
    }
}

/// How far channels and stages have come, and their groups.
#[derive(Default)]
struct Floors {
    last: BTreeMap<Name, Seq>,
    cursors: BTreeMap<(Name, Name), Cursor>,
}

impl Floors {
    fn add(&mut self, record: Record) {
        let (name, seq) = match record {
            Record::Append { channel, seq, .. } | Record::Moved { channel, seq, .. } => (channel, seq),
            Record::Channel(channel) => (channel.channel, channel.last),
            Record::Settle(settle) => {
                let cursor = self.cursors.entry((settle.input, settle.group)).or_default();
                settle.seqs.iter().for_each(|(from, to)| cursor.settle(*from, *to));
                return;
            }
            Record::Retired(retired) => return drop(self.cursors.remove(&(retired.input, retired.group))),
            _ => return,
        };
        let last = self.last.entry(name).or_default();
        *last = seq.max(*last);
    }

    /// Members whose cursor is in more pieces than they are told of at a time.
    fn pieces(&self) -> Vec<String> {
        let many = |((input, group), cursor): (&(Name, Name), &Cursor)| {
            let pieces = cursor.above().count();
            (input.starts_with("taken/") && pieces > PIECES_MAX)
                .then(|| format!("the cursor of {input} for {group} is in {pieces} pieces"))
        };
        self.cursors.iter().filter_map(many).collect()
    }

    /// Groups whose floor is behind what their input holds.
    fn behind(&self) -> Vec<String> {
        let behind = |((input, group), cursor): (&(Name, Name), &Cursor)| {
            let last = self.last.get(input).copied().filter(|last| cursor.floor < *last)?;
            Some(format!(
                "the floor of {input} for {group} stands at {} below {last}, though all is delivered",
                cursor.floor
            ))
        };
        self.cursors.iter().filter_map(behind).collect()
    }
}

/// The dead letters in the journal of `host` among its `files`, and what is wrong with it, of which a cut end is no part.
pub(crate) fn read(host: &str, files: BTreeMap<String, Bytes>, at_ns: Ns, kept: Kept) -> (Vec<Letter>, Vec<Unsound>) {
    let found = |what: String, unless: Option<Unless>| Unsound { host: host.to_owned(), at_ns, what, unless };
    let read = async {
        let (mut letters, mut all) = (Vec::new(), Vec::new());
        let (mut span, mut floors) = (Span::default(), Floors::default());
        let mut reader = Reader::open(Arc::new(Still(files))).await?.verifying();
        while let Some(step) = reader.next().await? {
            match step {
                // One that cannot be read is found, too.
                Step::Frame(frame) => {
                    span.add(&frame);
                    for (_, record) in frame.records().flatten() {
                        letters.extend(letter(host, &record));
                        floors.add(record);
                    }
                }
                Step::Finding(finding) if finding.is_damage() || matches!(finding, Finding::Footer { .. }) => {
                    all.push(found(finding.to_string(), (!finding.is_damage()).then_some(Unless::Fell)));
                }
                Step::Finding(_) | Step::Footer(_) => {}
            }
        }
        all.extend(floors.pieces().into_iter().map(|what| found(what, None)));
        all.extend(floors.behind().into_iter().map(|what| found(what, Some(Unless::Busy))));
        all.extend(span.short(kept).map(|what| found(what, Some(Unless::Full))));
        Ok((letters, all))
    };
    match read.now_or_never().expect("what lies in memory is there at once") {
        Ok(all) => all,
        Err(ReadError::NoJournal | ReadError::Missing) => (Vec::new(), Vec::new()),
        Err(error) => (Vec::new(), vec![found(error.to_string(), None)]),
    }
}

/// What a record says of a packet that is given up here; one that was copied forward stands elsewhere, too.
fn letter(host: &str, record: &Record) -> Option<Letter> {
    let Record::DeadLetter(letter) = record else { return None };
    let packet = Packet::decode(&letter.packet).ok()?;
    Some(Letter {
        host: host.to_owned(),
        identity: letter.identity,
        packet_id: packet.packet_id.to_string(),
        key: packet.key.as_ref().map(ToString::to_string),
        content: packet.payload.clone(),
        seq: letter.source.as_ref().map(|source| source.seq),
        class: letter.failure.class.clone(),
        node: letter.failure.node.to_string(),
        attempts: letter.failure.attempts,
    })
}

struct Still(BTreeMap<String, Bytes>);

struct StillFile(Bytes);

fn denied<T: Send + 'static>() -> Io<T> {
    Box::pin(ready(Err(io::Error::from(ErrorKind::ReadOnlyFilesystem))))
}

impl Disk for Still {
    fn open(&self, path: &str, how: Open) -> Io<Arc<dyn File>> {
        match (self.0.get(path), how) {
            (Some(bytes), Open::Read) => {
                let file: Arc<dyn File> = Arc::new(StillFile(bytes.clone()));
                Box::pin(ready(Ok(file)))
            }
            (None, Open::Read) => Box::pin(ready(Err(ErrorKind::NotFound.into()))),
            _ => denied(),
        }
    }

    fn list(&self, dir: &str) -> Io<Vec<String>> {
        let here = |path: &&String| dir.is_empty() && !path.contains('/');
        let names = self.0.keys().filter(here).cloned().collect();
        Box::pin(ready(Ok(names)))
    }

    fn rename(&self, _from: &str, _to: &str) -> Io<()> {
        denied()
    }

    fn remove(&self, _path: &str) -> Io<()> {
        denied()
    }

    fn create_dir(&self, _dir: &str) -> Io<()> {
        denied()
    }

    fn sync_dir(&self, _dir: &str) -> Io<()> {
        denied()
    }

    fn lock(&self, _path: &str) -> Io<Box<dyn Send + Sync>> {
        denied()
    }

    fn free_bytes(&self) -> Io<u64> {
        Box::pin(ready(Ok(0)))
    }
}

impl File for StillFile {
    fn len(&self) -> Io<u64> {
        Box::pin(ready(Ok(self.0.len() as u64)))
    }

    fn read_at(&self, at: u64, n: usize) -> Io<Bytes> {
        let from = usize::try_from(at).map_or(self.0.len(), |at| at.min(self.0.len()));
        let to = from.saturating_add(n).min(self.0.len());
        Box::pin(ready(Ok(self.0.slice(from..to))))
    }

    fn write_at(&self, _at: u64, _bufs: Vec<Bytes>) -> Io<()> {
        denied()
    }

    fn write_sync(&self, _at: u64, _bufs: Vec<Bytes>) -> Io<()> {
        denied()
    }

    fn sync_data(&self) -> Io<()> {
        denied()
    }

    fn zero_fill(&self, _to: u64) -> Io<()> {
        denied()
    }
}
