//! What is in a data directory: the segments of a journal, and what is none of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::window::Window;
use super::{Current, Finding, PARTIAL, QUARANTINE, ReadError, Reader, salvage};
use crate::env::Open;
use crate::journal::frame::{Found, Header, SECTOR};
use crate::journal::segment::{self, Sector, SegmentHeader};
use crate::journal::{Lsn, SPARES, checkpoint, stub};

/// Files of a data directory that are no segments.
const KNOWN: [&str; 2] = ["LOCK", "lost+found"];

/// A segment in use, as far as its start tells.
#[derive(Clone, Debug)]
pub(super) struct Start {
    pub(super) journal: Option<u128>,
    pub(super) process: String,
    pub(super) epoch: u64,
    pub(super) base: Lsn,
    /// Its start is destroyed: what is missing shows at the first frame.
    pub(super) beheaded: bool,
    /// Its header; `None` where that is damaged.
    pub(super) header: Option<SegmentHeader>,
}

impl Start {
    fn of(header: SegmentHeader) -> Start {
        let SegmentHeader { journal, epoch, base, .. } = header;
        let process = header.process.clone();
        Start { journal: Some(journal), process, epoch, base, beheaded: false, header: Some(header) }
    }

    /// Of a segment whose header can't be read.
    pub(super) fn headless() -> Start {
        Start { journal: None, process: String::new(), epoch: 0, base: Lsn(0), beheaded: false, header: None }
    }
}

impl Reader {
    /// The segments in use, and what else is there. `wholly` also finds those whose start is destroyed, and reads unused files
    /// to their end.
    pub(super) async fn inventory(&mut self, wholly: bool) -> Result<BTreeMap<u64, Start>, ReadError> {
        let names = self.disk.list("").await.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ReadError::Missing,
            _ => ReadError::io("list the data directory")(error),
        })?;
        let (mut used, mut unused) = (BTreeMap::new(), BTreeSet::new());
        for name in names {
            if let Some(moved) = name.strip_prefix(QUARANTINE) {
                self.quarantined.extend(quarantined_at(moved));
                continue;
            }
            let Some(number) = segment::number(&name) else {
                if !KNOWN.contains(&name.as_str()) && !checkpoint::SLOTS.contains(&name.as_str()) {
                    let why = "no journal writes a file of that name".to_owned();
                    self.findings.push_back(Finding::Foreign { name, why, is_segment: false });
                }
                continue;
            };
            match self.start(number, &name, wholly).await? {
                Some(start) => drop(used.insert(number, start)),
                None => drop(unused.insert(number)),
            }
        }
        self.sort_out(&mut used);
        // A crash may have left one beside its place. There is nothing to read in it.
        let newest = used.last_key_value().map_or(0, |(number, _)| *number);
        if unused.remove(&stub::NEXT) {
            let beside = stub::beside(&*self.disk, used.keys().copied()).await;
            let beside = beside.map_err(ReadError::io(format!("read {}", segment::name(stub::NEXT))))?;
            used.extend(beside.map(|stub| (stub.number, Start::of(stub))));
        }
        let spares = newest + 1..=newest + SPARES;
        for number in unused.into_iter().filter(|number| !spares.contains(number) && !used.is_empty()) {
            self.findings.push_back(Finding::Leftover { name: segment::name(number) });
        }
        Ok(used)
    }

    async fn start(&self, number: u64, name: &str, wholly: bool) -> Result<Option<Start>, ReadError> {
        let file = match self.disk.open(name, Open::Read).await {
            Ok(file) => file,
            // Its writer has just given it back.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(ReadError::io(format!("open {name}"))(error)),
        };
        let sectors =
            salvage::read_at(&*file, 0, 2 * SECTOR as usize).await.map_err(ReadError::io(format!("read {name}")))?;
        match segment::decode(number, &sectors) {
            Sector::Header(header) => Ok(Some(Start::of(header))),
            Sector::Version(found) => {
                Err(ReadError::Version { name: name.to_owned(), found, supported: segment::VERSION })
            }
            // A segment whose header rotted still counts: its first frame says what the header said.
            Sector::Unused => {
                let window = Window::open(file).await.map_err(ReadError::io(format!("read {name}")))?;
                let start = Start::headless();
                let mut current = Current { number, start: start.clone(), window, offset: SECTOR };
                let Some(frame) = current.first(wholly).await? else { return Ok(None) };
                let beheaded = current.offset > SECTOR;
                let base = frame.segment_base(number, current.offset);
                // Perhaps its writer has just begun it, and the header was not there yet.
                current.window.forget();
                let what = format!("read {name}");
                let sector = current.window.read(0, SECTOR).await.map_err(ReadError::io(what))?;
                Ok(Some(match segment::decode(number, &sector) {
                    Sector::Header(header) => Start::of(header),
                    Sector::Version(_) | Sector::Unused => Start { epoch: frame.epoch, base, beheaded, ..start },
                }))
            }
        }
    }

    /// Whose journal it is: that of most segments. The others are foreign.
    fn sort_out(&mut self, used: &mut BTreeMap<u64, Start>) {
        let mut counts: BTreeMap<u128, (usize, u64)> = BTreeMap::new();
        for (number, start) in used.iter() {
            if let Some(journal) = start.journal {
                let (count, newest) = counts.entry(journal).or_default();
                (*count, *newest) = (*count + 1, *number);
            }
        }
        let most = counts.iter().max_by_key(|(_, count)| **count).map(|(journal, _)| *journal);
        self.journal = self.journal.or(most);
        used.retain(|number, start| {
            let ours = start.journal.is_none() || start.journal == self.journal;
            if ours && self.process.is_empty() {
                self.process.clone_from(&start.process);
            }
            if !ours {
                let why = format!("it is a segment of another journal, of process `{}`", start.process);
                self.findings.push_back(Finding::Foreign { name: segment::name(*number), why, is_segment: true });
            }
            ours
        });
    }
}

impl Current {
    /// The frame that a segment without a header begins with, as [`frame::first_of`](crate::journal::frame::first_of) finds it;
    /// the start alone is looked at unless `wholly`.
    async fn first(&mut self, wholly: bool) -> Result<Option<Header>, ReadError> {
        while self.offset < self.window.size {
            match self.look().await? {
                Found::Frame(frame, _) if frame.begins(self.offset) => return Ok(Some(frame)),
                _ if wholly => self.offset += SECTOR,
                _ => break,
            }
        }
        Ok(None)
    }
}

/// Segment and offset in the name of a quarantine file.
fn quarantined_at(moved: &str) -> Option<(u64, u64)> {
    if moved.ends_with(PARTIAL) {
        return None;
    }
    let (segment, rest) = moved.split_once('-')?;
    let (offset, _) = rest.split_once('-')?;
    Some((segment.parse().ok()?, offset.parse().ok()?))
}
