//! The files of a finished run as a disk that can only be read, and what the engine's own reader finds wrong with a journal there.

use std::collections::BTreeMap;
use std::future::ready;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use seaworthy_engine::env::{Disk, File, Io, Open};
use seaworthy_engine::journal::Record;
use seaworthy_engine::journal::reader::{Finding, ReadError, Reader, Step};
use seaworthy_engine::packet::Packet;

use crate::history::{Letter, Unsound};
use crate::plan::Ns;

/// The dead letters in the journal of `host` among its `files`, and what is wrong with it, of which a cut end is no part.
pub(crate) fn read(host: &str, files: BTreeMap<String, Bytes>, at_ns: Ns) -> (Vec<Letter>, Vec<Unsound>) {
    let found = |what: String, torn: bool| Unsound { host: host.to_owned(), at_ns, what, torn };
    let read = async {
        let (mut letters, mut all) = (Vec::new(), Vec::new());
        let mut reader = Reader::open(Arc::new(Still(files))).await?.verifying();
        while let Some(step) = reader.next().await? {
            match step {
                // One that cannot be read is found, too.
                Step::Frame(frame) => {
                    letters.extend(frame.records().flatten().filter_map(|(_, record)| letter(host, &record)))
                }
                Step::Finding(finding) if finding.is_damage() || matches!(finding, Finding::Footer { .. }) => {
                    all.push(found(finding.to_string(), !finding.is_damage()));
                }
                Step::Finding(_) | Step::Footer(_) => {}
            }
        }
        Ok((letters, all))
    };
    match read.now_or_never().expect("what lies in memory is there at once") {
        Ok(all) => all,
        Err(ReadError::NoJournal | ReadError::Missing) => (Vec::new(), Vec::new()),
        Err(error) => (Vec::new(), vec![found(error.to_string(), false)]),
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
