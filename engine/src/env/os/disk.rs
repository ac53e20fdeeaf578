//! The machine's disk: one data directory, blocking calls on two threads of its own.
#![expect(clippy::disallowed_methods, reason = "the real side of the seam: here files are opened")]

use std::fs;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::fs::{FlockOperation, flock, statvfs};
use rustix::io::{Errno, pread};

use super::queue::{Lane, Queues, Turns};
use crate::env::{Disk, File, Io, Open, check_path};

/// Buffers that one `pwritev` takes (`IOV_MAX`).
const BUFS_MAX: usize = 1024;
/// Zeroes are written in pieces of this size.
const ZEROES: &[u8] = &[0; 1 << 20];
/// `EIO`.
const EIO: i32 = 5;

/// A directory of the machine. Its two threads end once this and every file opened through it are dropped.
pub struct OsDisk {
    root: PathBuf,
    anywhere: bool,
    queues: Arc<Queues>,
}

impl OsDisk {
    /// The data directory `root`, which may not exist yet: `create_dir("")` creates it. Fails only where no thread can
    /// be started.
    pub fn new(root: impl Into<PathBuf>) -> io::Result<OsDisk> {
        Ok(OsDisk { root: root.into(), anywhere: false, queues: Arc::new(Queues::start()?) })
    }

    /// Files beside a graph, by whatever path it names: relative to `base`, with `..` allowed, or absolute.
    pub fn anywhere(base: impl Into<PathBuf>) -> io::Result<OsDisk> {
        Ok(OsDisk { anywhere: true, ..OsDisk::new(base)? })
    }

    /// Queues a job on the path that a name stands for. Names are changed by the writing thread, in order.
    fn on<T: Send + 'static>(&self, path: &str, job: impl FnOnce(&Path) -> io::Result<T> + Send + 'static) -> Io<T> {
        match self.place(path) {
            Ok(place) => self.queues.issue(Lane::Write, move || job(&place)),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    fn place(&self, path: &str) -> io::Result<PathBuf> {
        if !self.anywhere {
            check_path(path)?;
        }
        Ok(self.root.join(path))
    }
}

impl Disk for OsDisk {
    fn open(&self, path: &str, how: Open) -> Io<Arc<dyn File>> {
        let queues = self.queues.clone();
        self.on(path, move |place| {
            // std sets O_CLOEXEC, so no child inherits it.
            let mut options = fs::OpenOptions::new();
            options.read(true).write(how != Open::Read);
            options.create_new(how == Open::Create).create(how == Open::CreateOrWrite);
            let opened = Opened { file: options.open(place)?, failed: AtomicBool::new(false) };
            Ok(Arc::new(OsFile { opened: Arc::new(opened), turns: Arc::default(), queues }) as Arc<dyn File>)
        })
    }

    fn list(&self, dir: &str) -> Io<Vec<String>> {
        self.on(dir, |place| {
            let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
            let mut names: Vec<String> = fs::read_dir(place)?.map(name).collect::<io::Result<_>>()?;
            names.sort();
            Ok(names)
        })
    }

    fn rename(&self, from: &str, to: &str) -> Io<()> {
        match self.place(to) {
            Ok(to) => self.on(from, move |from| fs::rename(from, to)),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    fn remove(&self, path: &str) -> Io<()> {
        self.on(path, |place| fs::remove_file(place))
    }

    fn create_dir(&self, dir: &str) -> Io<()> {
        self.on(dir, |place| fs::create_dir_all(place))
    }

    fn sync_dir(&self, dir: &str) -> Io<()> {
        self.on(dir, |place| fs::File::open(place)?.sync_all())
    }

    fn lock(&self, path: &str) -> Io<Box<dyn Send + Sync>> {
        self.on(path, |place| {
            let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(place)?;
            flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            Ok(Box::new(file) as Box<dyn Send + Sync>)
        })
    }

    fn free_bytes(&self) -> Io<u64> {
        let root = self.root.clone();
        self.queues.issue(Lane::Read, move || {
            let stat = statvfs(&root)?;
            Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
        })
    }
}

struct OsFile {
    opened: Arc<Opened>,
    turns: Arc<Turns>,
    queues: Arc<Queues>,
}

impl OsFile {
    fn on<T: Send + 'static>(&self, lane: Lane, job: impl FnOnce(&Opened) -> io::Result<T> + Send + 'static) -> Io<T> {
        let opened = self.opened.clone();
        self.queues.issue_in_turn(lane, &self.turns, move || {
            if opened.failed.load(Ordering::Acquire) { Err(io::Error::from_raw_os_error(EIO)) } else { job(&opened) }
        })
    }
}

impl File for OsFile {
    fn len(&self) -> Io<u64> {
        self.on(Lane::Read, |opened| Ok(opened.file.metadata()?.len()))
    }

    fn read_at(&self, at: u64, n: usize) -> Io<Bytes> {
        self.on(Lane::Read, move |opened| opened.read(at, n))
    }

    fn write_at(&self, at: u64, bufs: Vec<Bytes>) -> Io<()> {
        self.on(Lane::Write, move |opened| opened.write(at, &bufs))
    }

    fn write_sync(&self, at: u64, bufs: Vec<Bytes>) -> Io<()> {
        self.on(Lane::Write, move |opened| opened.write(at, &bufs).and_then(|()| opened.sync()))
    }

    fn sync_data(&self) -> Io<()> {
        self.on(Lane::Write, Opened::sync)
    }

    fn zero_fill(&self, to: u64) -> Io<()> {
        self.on(Lane::Write, move |opened| opened.zero_fill(to))
    }
}

struct Opened {
    file: fs::File,
    /// A sync failed: what the file holds is unknown until it is read anew through another handle.
    failed: AtomicBool,
}

impl Opened {
    fn read(&self, at: u64, n: usize) -> io::Result<Bytes> {
        let there = self.file.metadata()?.len().saturating_sub(at);
        // Not zeroed first, as `read_at` of std would want it: that costs as much as the reading.
        let mut out = Vec::with_capacity(n.min(usize::try_from(there).unwrap_or(usize::MAX)));
        while out.len() < out.capacity() {
            let from = at + out.len() as u64;
            match pread(&self.file, spare_capacity(&mut out), from) {
                Ok(0) => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        out.truncate(n);
        Ok(out.into())
    }

    fn write(&self, mut at: u64, bufs: &[Bytes]) -> io::Result<()> {
        let mut slices: Vec<IoSlice<'_>> = bufs.iter().map(|buf| IoSlice::new(buf)).collect();
        let mut left = &mut slices[..];
        // Empty buffers at the front go first, or a write of nothing would look like a full disk.
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            match rustix::io::pwritev(&self.file, &left[..left.len().min(BUFS_MAX)], at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    at += written as u64;
                    IoSlice::advance_slices(&mut left, written);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data().inspect_err(|_| self.failed.store(true, Ordering::Release))
    }

    /// Written zeroes, since what a reservation promises some filesystems break at the write.
    fn zero_fill(&self, to: u64) -> io::Result<()> {
        let len = self.file.metadata()?.len();
        let mut at = len;
        while at < to {
            let piece = &ZEROES[..ZEROES.len().min(usize::try_from(to - at).unwrap_or(usize::MAX))];
            if let Err(error) = self.file.write_all_at(piece, at) {
                // Half a reservation is of no use to us, and its room may be to someone else.
                self.file.set_len(len)?;
                return Err(error);
            }
            at += piece.len() as u64;
        }
        Ok(())
    }
}
