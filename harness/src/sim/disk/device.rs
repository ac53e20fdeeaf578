//! The state of one simulated disk and what each operation does to it, decided when the operation is issued.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use seaworthy_engine::env::{Open, Seed};
use xxhash_rust::xxh3::xxh3_64;

use super::content::{BLOCK, Content, Fate, Flight, Losses, SECTOR};
use super::fault::{ENOSPC, Faults, errno};
use super::names::{Change, Ino, Names, parent};
use super::{DiskCounts, DiskOptions, Service};
use crate::history::DiskFact;
use crate::plan::DiskOp;

/// `EBADF`: the handle was opened for reading.
const EBADF: i32 = 9;
/// Facts that a disk keeps; the last one says that there were more.
const FACTS_MAX: usize = 10_000;

/// An operation's outcome, and when the caller may know it.
pub(super) struct Reply<T> {
    pub(super) at_ns: u64,
    pub(super) result: io::Result<T>,
}

/// An open file, as its handle knows it.
#[derive(Clone, Copy)]
pub(super) struct Opened {
    pub(super) ino: Ino,
    failures: u64,
    writes: bool,
}

struct Inode {
    content: Content,
    /// What keyed draws know the file by.
    key: u64,
    open: u32,
    /// How many syncs have failed; a handle from before the last failure is dead.
    failures: u64,
    /// When the last issued operation completes.
    busy_until: u64,
}

enum Flying {
    Data { ino: Ino, flight: Flight },
    Names { dir: String, upto: u64 },
}

pub(super) struct Device {
    options: DiskOptions,
    seed: Arc<dyn Seed>,
    host_key: u64,
    names: Names,
    inodes: BTreeMap<Ino, Inode>,
    next_ino: Ino,
    /// Syncs on their way, in the order of their completion.
    flights: VecDeque<(u64, Flying)>,
    write_busy_until: u64,
    read_busy_until: u64,
    locks: BTreeMap<String, u64>,
    next_lock: u64,
    allocated: u64,
    facts: Vec<DiskFact>,
    /// When it forgot what was not synced, ns.
    forgot_ns: Vec<u64>,
    pub(super) faults: Faults,
    pub(super) counts: DiskCounts,
}

impl Device {
    pub(super) fn new(options: DiskOptions, seed: Arc<dyn Seed>) -> Device {
        let host_key = xxh3_64(options.host.as_bytes());
        Device {
            host_key,
            faults: Faults::new(seed.clone(), host_key),
            options,
            seed,
            names: Names::default(),
            inodes: BTreeMap::new(),
            next_ino: 0,
            flights: VecDeque::new(),
            write_busy_until: 0,
            read_busy_until: 0,
            locks: BTreeMap::new(),
            next_lock: 0,
            allocated: 0,
            facts: Vec::new(),
            forgot_ns: Vec::new(),
            counts: DiskCounts::default(),
        }
    }

    /// Makes durable what completed syncing by `now`. Comes before every operation.
    pub(super) fn settle(&mut self, now: u64) {
        while let Some((_, flying)) = self.flights.pop_front_if(|(at, _)| *at <= now) {
            match flying {
                Flying::Data { ino, flight } => {
                    if let Some(inode) = self.inodes.get_mut(&ino) {
                        inode.content.finish_sync(flight);
                    }
                }
                Flying::Names { dir, upto } => {
                    self.names.commit(&dir, upto);
                    self.collect();
                }
            }
        }
    }

    // --- names ---

    pub(super) fn open(&mut self, now: u64, path: &str, how: Open) -> Reply<Opened> {
        let result = match (self.names.file(path), how) {
            (Some(_), Open::Create) => Err(io::ErrorKind::AlreadyExists.into()),
            (Some(ino), _) => self.faults.strike(DiskOp::Read, xxh3_64(path.as_bytes()), 0, now).map(|()| ino),
            (None, Open::Read | Open::Write) if self.names.is_dir(path) => Err(io::ErrorKind::IsADirectory.into()),
            (None, Open::Read | Open::Write) => Err(io::ErrorKind::NotFound.into()),
            (None, Open::Create | Open::CreateOrWrite) => self.create(now, path),
        };
        let result = result.map(|ino| {
            let inode = self.inodes.get_mut(&ino).expect("a name leads to a file");
            inode.open += 1;
            Opened { ino, failures: inode.failures, writes: how != Open::Read }
        });
        self.name_reply(now, path, result)
    }

    fn create(&mut self, now: u64, path: &str) -> io::Result<Ino> {
        if self.names.is_dir(path) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        self.may_add_name(now, path)?;
        let ino = self.next_ino;
        self.next_ino += 1;
        let key = xxh3_64(path.as_bytes());
        self.inodes.insert(ino, Inode { content: Content::default(), key, open: 0, failures: 0, busy_until: 0 });
        self.names.change(Change::Create { path: path.to_owned(), ino });
        Ok(ino)
    }

    /// A new entry needs its directory, and room for it.
    fn may_add_name(&mut self, now: u64, path: &str) -> io::Result<()> {
        if !self.names.is_dir(parent(path)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.faults.strike(DiskOp::Write, xxh3_64(path.as_bytes()), 0, now)?;
        self.has_room(1)
    }

    pub(super) fn list(&mut self, now: u64, dir: &str) -> Reply<Vec<String>> {
        let result = if self.names.file(dir).is_some() {
            Err(io::ErrorKind::NotADirectory.into())
        } else if !self.names.is_dir(dir) {
            Err(io::ErrorKind::NotFound.into())
        } else {
            self.faults.strike(DiskOp::Read, xxh3_64(dir.as_bytes()), 0, now).map(|()| self.names.list(dir))
        };
        self.name_reply(now, dir, result)
    }

    pub(super) fn rename(&mut self, now: u64, from: &str, to: &str) -> Reply<()> {
        let result = if self.names.file(from).is_none() || !self.names.is_dir(parent(to)) {
            Err(io::ErrorKind::NotFound.into())
        } else if self.names.is_dir(to) {
            Err(io::ErrorKind::IsADirectory.into())
        } else {
            self.faults.strike(DiskOp::Write, xxh3_64(from.as_bytes()), 0, now)
        };
        if result.is_ok() && from != to {
            self.names.change(Change::Rename { from: from.to_owned(), to: to.to_owned() });
        }
        self.name_reply(now, from, result)
    }

    pub(super) fn remove(&mut self, now: u64, path: &str) -> Reply<()> {
        let result = match self.names.file(path) {
            Some(_) => self.faults.strike(DiskOp::Write, xxh3_64(path.as_bytes()), 0, now),
            None if self.names.is_dir(path) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        if result.is_ok() {
            self.names.change(Change::Remove { path: path.to_owned() });
        }
        self.name_reply(now, path, result)
    }

    pub(super) fn create_dir(&mut self, now: u64, dir: &str) -> Reply<()> {
        let ends = dir.match_indices('/').map(|(at, _)| at).chain([dir.len()]);
        let result = ends.map(|end| &dir[..end]).try_for_each(|dir| {
            if self.names.is_dir(dir) {
                return Ok(());
            }
            if self.names.file(dir).is_some() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            self.may_add_name(now, dir)?;
            self.names.change(Change::Mkdir { dir: dir.to_owned() });
            Ok(())
        });
        self.name_reply(now, dir, result)
    }

    pub(super) fn sync_dir(&mut self, now: u64, dir: &str) -> Reply<()> {
        self.counts.syncs += 1;
        let key = xxh3_64(dir.as_bytes());
        let at_ns = self.queue_write(now, self.options.sync, 0, key, 0);
        let result = if !self.names.is_dir(dir) {
            Err(io::ErrorKind::NotFound.into())
        } else if self.faults.strike_lying() {
            Ok(())
        } else {
            self.faults.strike(DiskOp::Sync, key, 0, now)
        };
        if result.is_ok() && !self.faults.lying {
            self.flights.push_back((at_ns, Flying::Names { dir: dir.to_owned(), upto: self.names.next() }));
        }
        Reply { at_ns, result }
    }

    /// The lock's number, which `unlock` wants; its file is created where it is missing.
    pub(super) fn lock(&mut self, now: u64, path: &str) -> Reply<u64> {
        let result = match self.names.file(path) {
            Some(_) if self.locks.contains_key(path) => Err(io::ErrorKind::WouldBlock.into()),
            Some(_) => Ok(()),
            None => self.create(now, path).map(drop),
        };
        let result = result.map(|()| {
            self.next_lock += 1;
            self.locks.insert(path.to_owned(), self.next_lock);
            self.next_lock
        });
        self.name_reply(now, path, result)
    }

    pub(super) fn unlock(&mut self, path: &str, number: u64) {
        if self.locks.get(path) == Some(&number) {
            self.locks.remove(path);
        }
    }

    fn name_reply<T>(&mut self, now: u64, path: &str, result: io::Result<T>) -> Reply<T> {
        let at_ns = self.queue_write(now, self.options.write, 0, xxh3_64(path.as_bytes()), 0);
        Reply { at_ns: soon(now, at_ns, 0), result }
    }

    // --- one file ---

    pub(super) fn close(&mut self, file: Opened) {
        let Some(inode) = self.inodes.get_mut(&file.ino) else { return };
        inode.open -= 1;
        if inode.open == 0 {
            self.collect();
        }
    }

    pub(super) fn len(&mut self, now: u64, file: Opened) -> Reply<u64> {
        let result = self.usable(file).map(|inode| inode.content.len());
        self.read_reply(now, file, 0, 0, result)
    }

    pub(super) fn read_at(&mut self, now: u64, file: Opened, at: u64, n: usize) -> Reply<Bytes> {
        let key = self.inode(file).key;
        let result = self.usable(file).map(|inode| inode.content.read(at, n));
        let result = result.and_then(|read| self.faults.strike(DiskOp::Read, key, at, now).map(|()| read));
        let bytes = result.as_ref().map_or(0, |read| read.len() as u64);
        self.counts.read_bytes += bytes;
        self.read_reply(now, file, bytes, at, result)
    }

    pub(super) fn write_at(&mut self, now: u64, file: Opened, at: u64, bufs: &[Bytes]) -> Reply<()> {
        let bytes: u64 = bufs.iter().map(|buf| buf.len() as u64).sum();
        let result = self.write(now, file, at, bufs);
        self.write_reply(now, file, bytes, at, result)
    }

    pub(super) fn write_sync(&mut self, now: u64, file: Opened, at: u64, bufs: &[Bytes]) -> Reply<()> {
        let written = self.write_at(now, file, at, bufs);
        if written.result.is_err() { written } else { self.sync_data(now, file) }
    }

    pub(super) fn sync_data(&mut self, now: u64, file: Opened) -> Reply<()> {
        self.counts.syncs += 1;
        if let Err(error) = self.usable(file).map(drop) {
            return self.write_reply(now, file, 0, 0, Err(error));
        }
        let inode = self.inodes.get_mut(&file.ino).expect("an open file exists");
        let (key, len) = (inode.key, inode.content.len());
        let unplaced = u64::from(inode.content.has_unplaced());
        if self.faults.strike_lying() {
            let at_ns = self.queue_write(now, self.options.sync, 0, key, len);
            return self.sync_reply(file, at_ns, Ok(()));
        }
        // A block that was promised to the cache may still find no place on the device.
        let fate = self.faults.strike(DiskOp::Sync, key, len, now).and_then(|()| self.faults.strike_full(unplaced));
        let inode = self.inodes.get_mut(&file.ino).expect("an open file exists");
        match fate {
            Ok(()) => {
                let flight = inode.content.begin_sync();
                let at_ns = self.queue_write(now, self.options.sync, flight.bytes(), key, len);
                self.flights.push_back((at_ns, Flying::Data { ino: file.ino, flight }));
                self.sync_reply(file, at_ns, Ok(()))
            }
            Err(error) => {
                inode.failures += 1;
                let evicted = self.seed.draw("disk.eio.evicted", &[self.host_key, key, now]).is_multiple_of(2);
                let lost = inode.content.lose_dirty(evicted);
                self.forgot_ns.push(now);
                self.note(now, format!("a sync failed ({error}) and lost {lost} dirty sectors"));
                let at_ns = self.queue_write(now, self.options.sync, 0, key, len);
                self.sync_reply(file, at_ns, Err(error))
            }
        }
    }

    pub(super) fn zero_fill(&mut self, now: u64, file: Opened, to: u64) -> Reply<()> {
        let key = self.inode(file).key;
        let (len, missing) = (self.inode(file).content.len(), self.inode(file).content.missing_until(to));
        let result = self
            .writable(file)
            .and_then(|()| if to > len { self.faults.strike(DiskOp::Write, key, len, now) } else { Ok(()) })
            .and_then(|()| self.has_room(missing));
        let bytes = if result.is_ok() { to.saturating_sub(len) } else { 0 };
        if bytes > 0 {
            self.allocated += self.inodes.get_mut(&file.ino).expect("an open file exists").content.zero_fill(to);
            self.counts.written_bytes += bytes;
        }
        self.write_reply(now, file, bytes, len, result)
    }

    fn write(&mut self, now: u64, file: Opened, at: u64, bufs: &[Bytes]) -> io::Result<()> {
        self.writable(file)?;
        let n: usize = bufs.iter().map(Bytes::len).sum();
        let key = self.inode(file).key;
        let mut done = self.inode(file).content.fitting(at, n, if self.faults.full { 0 } else { self.free_blocks() });
        if done < n && self.faults.strike_full(1).is_ok() {
            let room = self.reclaim();
            done = self.inode(file).content.fitting(at, n, room);
        }
        let mut outcome = if done < n { Err(self.no_room()) } else { Ok(()) };
        if let Err(error) = self.faults.strike(DiskOp::Write, key, at, now) {
            // Some of it may have been written: up to any sector.
            let reached = self.seed.draw("disk.eio.reach", &[self.host_key, key, at, now]) as usize % (n / SECTOR + 1);
            (done, outcome) = (done.min(reached * SECTOR), Err(error));
        }
        let content = &mut self.inodes.get_mut(&file.ino).expect("an open file exists").content;
        let (mut at, mut left) = (at, done);
        for buf in bufs {
            let part = &buf[..buf.len().min(left)];
            if !part.is_empty() {
                self.allocated += content.write(at, part);
            }
            (at, left) = (at + part.len() as u64, left - part.len());
        }
        self.counts.written_bytes += done as u64;
        outcome
    }

    fn inode(&self, file: Opened) -> &Inode {
        self.inodes.get(&file.ino).expect("an open file exists")
    }

    fn usable(&self, file: Opened) -> io::Result<&Inode> {
        let inode = self.inode(file);
        if inode.failures == file.failures { Ok(inode) } else { Err(errno(super::fault::EIO)) }
    }

    fn writable(&self, file: Opened) -> io::Result<()> {
        if file.writes { self.usable(file).map(drop) } else { Err(errno(EBADF)) }
    }

    // --- time ---

    fn queue_write(&mut self, now: u64, service: Service, bytes: u64, key: u64, at: u64) -> u64 {
        self.counts.operations += 1;
        let begins = now.max(self.write_busy_until);
        self.write_busy_until = self.faults.done_ns(begins, service.ns(bytes), bytes, (key, at, now));
        self.write_busy_until
    }

    fn write_reply<T>(&mut self, now: u64, file: Opened, bytes: u64, at: u64, result: io::Result<T>) -> Reply<T> {
        let key = self.inode(file).key;
        let done = self.queue_write(now, self.options.write, bytes, key, at);
        self.file_reply(now, file, done, result)
    }

    fn read_reply<T>(&mut self, now: u64, file: Opened, bytes: u64, at: u64, result: io::Result<T>) -> Reply<T> {
        self.counts.operations += 1;
        let (key, begins) = (self.inode(file).key, now.max(self.read_busy_until));
        self.read_busy_until = self.faults.done_ns(begins, self.options.read.ns(bytes), bytes, (key, at, now));
        self.file_reply(now, file, self.read_busy_until, result)
    }

    fn file_reply<T>(&mut self, now: u64, file: Opened, done: u64, result: io::Result<T>) -> Reply<T> {
        let inode = self.inodes.get_mut(&file.ino).expect("an open file exists");
        let at_ns = soon(now, done, inode.busy_until);
        if at_ns > now {
            inode.busy_until = at_ns;
        }
        Reply { at_ns, result }
    }

    /// A sync may be known only once it is durable.
    fn sync_reply(&mut self, file: Opened, at_ns: u64, result: io::Result<()>) -> Reply<()> {
        let inode = self.inodes.get_mut(&file.ino).expect("an open file exists");
        inode.busy_until = inode.busy_until.max(at_ns);
        Reply { at_ns: inode.busy_until, result }
    }

    // --- space ---

    fn free_blocks(&self) -> u64 {
        (self.capacity_bytes() / BLOCK as u64).saturating_sub(self.allocated)
    }

    fn capacity_bytes(&self) -> u64 {
        self.options.capacity_bytes.min(self.faults.quota_bytes.unwrap_or(u64::MAX))
    }

    /// `ENOSPC`, counted where a quota is to blame.
    fn no_room(&mut self) -> io::Error {
        self.faults.hits.quota += u64::from(self.faults.quota_bytes.is_some());
        errno(ENOSPC)
    }

    /// Blocks that are free once removed files are gone for good, which a disk sees to when it needs room.
    fn reclaim(&mut self) -> u64 {
        self.names.commit_all();
        self.collect();
        self.free_blocks()
    }

    fn has_room(&mut self, blocks: u64) -> io::Result<()> {
        self.faults.strike_full(blocks)?;
        if self.free_blocks() >= blocks || self.reclaim() >= blocks { Ok(()) } else { Err(self.no_room()) }
    }

    pub(super) fn free_bytes(&self) -> u64 {
        let capacity = self.capacity_bytes() / BLOCK as u64 * BLOCK as u64;
        if self.faults.full { 0 } else { capacity.saturating_sub(self.used_bytes()) }
    }

    pub(super) fn free(&mut self, now: u64) -> Reply<u64> {
        self.counts.operations += 1;
        // Who asks for room and hears of less than the device has feels the quota.
        let felt = self.faults.quota_bytes.is_some_and(|quota| quota < self.options.capacity_bytes);
        self.faults.hits.quota += u64::from(felt);
        Reply { at_ns: now, result: Ok(self.free_bytes()) }
    }

    /// Bytes in allocated blocks of files that have a name or are open.
    pub(super) fn used_bytes(&self) -> u64 {
        let named = self.names.named();
        let used = self.inodes.iter().filter(|(ino, inode)| inode.open > 0 || named.contains(ino));
        used.map(|(_, inode)| inode.content.allocated() * BLOCK as u64).sum()
    }

    /// Forgets files that nobody can reach any more.
    fn collect(&mut self) {
        let reachable = self.names.reachable();
        self.inodes.retain(|ino, inode| inode.open > 0 || reachable.contains(ino));
        self.allocated = self.inodes.values().map(|inode| inode.content.allocated()).sum();
    }

    // --- the end of an incarnation ---

    /// The programs are gone: their handles and locks with them. The cache stays.
    pub(super) fn crash(&mut self) {
        self.locks.clear();
        for inode in self.inodes.values_mut() {
            (inode.open, inode.busy_until) = (0, 0);
        }
        self.collect();
    }

    /// The power is gone: the cache too, but for what chance has written.
    pub(super) fn power_cut(&mut self, now: u64, torn: bool) {
        self.forgot_ns.push(now);
        self.crash();
        (self.write_busy_until, self.read_busy_until) = (now, now);
        let mut flights: BTreeMap<Ino, Vec<Flight>> = BTreeMap::new();
        for (_, flying) in self.flights.drain(..) {
            if let Flying::Data { ino, flight } = flying {
                flights.entry(ino).or_default().push(flight);
            }
        }
        let draw = |stream, key: u64, a, b| self.seed.draw(stream, &[self.host_key, key, a, b, now]);
        let undone = self.names.power_cut(|number| draw("disk.power_cut.name", number, 0, 0).is_multiple_of(2));
        let mut total = Losses::default();
        for (ino, inode) in &mut self.inodes {
            let key = inode.key;
            let fate = |sector, version| fate(draw("disk.power_cut", key, sector, version), torn);
            let end = draw("disk.power_cut.end", key, 0, 0);
            let losses = inode.content.power_cut(flights.remove(ino).unwrap_or_default(), fate, end);
            total.kept += losses.kept;
            total.dropped += losses.dropped;
            total.torn += losses.torn;
        }
        self.collect();
        let Losses { kept, dropped, torn } = total;
        // A name is safe once its directory was synced.
        let undone = match &undone[..] {
            [] => "undid no name".to_owned(),
            changes => format!("undid, as no directory sync followed: {}", changes.join(", ")),
        };
        self.note(now, format!("a power cut kept {kept}, lost {dropped} and tore {torn} unsynced sectors, {undone}"));
    }

    /// Another disk, with nothing on it.
    pub(super) fn wipe(&mut self, now: u64) {
        self.crash();
        self.flights.clear();
        (self.write_busy_until, self.read_busy_until) = (now, now);
        (self.names, self.inodes, self.allocated) = (Names::default(), BTreeMap::new(), 0);
        self.note(now, "the disk was replaced by an empty one".to_owned());
    }

    pub(super) fn rot(&mut self, now: u64, path: &str, at: u64) -> bool {
        let Some(ino) = self.names.file(path) else { return false };
        let rotted = self.inodes.get_mut(&ino).expect("a name leads to a file").content.rot(at);
        if rotted {
            self.faults.hits.rot += 1;
            self.note(now, format!("byte {at} of {path} rotted"));
        }
        rotted
    }

    pub(super) fn note(&mut self, at_ns: u64, what: String) {
        let what = match self.facts.len() {
            FACTS_MAX.. => return,
            n if n == FACTS_MAX - 1 => "more facts than are kept".to_owned(),
            _ => what,
        };
        self.facts.push(DiskFact { host: self.options.host.clone(), at_ns, what });
    }

    pub(super) fn facts(&self) -> &[DiskFact] {
        &self.facts
    }

    pub(super) fn forgot_ns(&self) -> &[u64] {
        &self.forgot_ns
    }

    pub(super) fn snapshot(&self) -> BTreeMap<String, Bytes> {
        let content = |ino| &self.inodes[&ino].content;
        let whole = |ino| content(ino).read(0, usize::try_from(content(ino).len()).expect("it is in memory"));
        self.names.files().map(|(path, ino)| (path.clone(), whole(ino))).collect()
    }
}

/// When a caller may go on: at once where that is less than a tick away (the debt stays in the queue) and nothing
/// earlier on the file is still waiting, else at completion.
fn soon(now: u64, done: u64, file_busy_until: u64) -> u64 {
    let done = done.max(file_busy_until);
    if done < now + crate::sim::TICK_NS && file_busy_until <= now { now } else { done }
}

/// What becomes of an unsynced sector, from a draw.
fn fate(draw: u64, torn: bool) -> Fate {
    match draw % if torn { 4 } else { 2 } {
        0 => Fate::Keep,
        1 => Fate::Drop,
        2 => Fate::Tear((draw >> 32) as usize % SECTOR),
        _ => Fate::Garble(draw),
    }
}
