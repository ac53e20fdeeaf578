//! A disk in memory, for a graph whose own cost is to be seen: every call is done at once.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use seaworthy_engine::env::{Disk, File, Io, Open};

/// Names and what they hold.
#[derive(Default)]
pub struct MemoryDisk {
    files: Mutex<BTreeMap<String, Arc<MemoryFile>>>,
}

struct MemoryFile(Mutex<Vec<u8>>);

/// A file that somebody has open.
struct Opened(Arc<MemoryFile>);

fn done<T: Send + 'static>(result: io::Result<T>) -> Io<T> {
    Box::pin(std::future::ready(result))
}

impl MemoryDisk {
    fn files(&self) -> MutexGuard<'_, BTreeMap<String, Arc<MemoryFile>>> {
        self.files.lock().expect("nothing panics while it holds the names")
    }

    fn find(&self, path: &str, how: Open) -> io::Result<Arc<MemoryFile>> {
        let mut files = self.files();
        match (files.get(path), how) {
            (Some(_), Open::Create) => Err(io::ErrorKind::AlreadyExists.into()),
            (Some(file), _) => Ok(file.clone()),
            (None, Open::Read | Open::Write) => Err(io::ErrorKind::NotFound.into()),
            (None, Open::Create | Open::CreateOrWrite) => {
                let file = Arc::new(MemoryFile(Mutex::default()));
                files.insert(path.to_owned(), file.clone());
                Ok(file)
            }
        }
    }
}

impl Disk for MemoryDisk {
    fn open(&self, path: &str, how: Open) -> Io<Arc<dyn File>> {
        done(self.find(path, how).map(|file| Arc::new(Opened(file)) as Arc<dyn File>))
    }

    fn list(&self, dir: &str) -> Io<Vec<String>> {
        let within = |path: &String| match dir {
            "" => Some(path.clone()),
            dir => path.strip_prefix(dir)?.strip_prefix('/').map(str::to_owned),
        };
        done(Ok(self.files().keys().filter_map(within).filter(|name| !name.contains('/')).collect()))
    }

    fn rename(&self, from: &str, to: &str) -> Io<()> {
        let mut files = self.files();
        let moved = files.remove(from).ok_or(io::Error::from(io::ErrorKind::NotFound));
        done(moved.map(|file| {
            files.insert(to.to_owned(), file);
        }))
    }

    fn remove(&self, path: &str) -> Io<()> {
        done(self.files().remove(path).map(drop).ok_or(io::ErrorKind::NotFound.into()))
    }

    fn create_dir(&self, _: &str) -> Io<()> {
        done(Ok(()))
    }

    fn sync_dir(&self, _: &str) -> Io<()> {
        done(Ok(()))
    }

    fn lock(&self, _: &str) -> Io<Box<dyn Send + Sync>> {
        // One engine, one disk.
        done(Ok(Box::new(())))
    }

    fn free_bytes(&self) -> Io<u64> {
        done(Ok(u64::MAX))
    }
}

impl Opened {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.0.lock().expect("nothing panics while it holds a file")
    }
}

impl File for Opened {
    fn len(&self) -> Io<u64> {
        done(Ok(self.bytes().len() as u64))
    }

    fn read_at(&self, at: u64, n: usize) -> Io<Bytes> {
        let bytes = self.bytes();
        let at = usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
        done(Ok(Bytes::copy_from_slice(&bytes[at..bytes.len().min(at.saturating_add(n))])))
    }

    fn write_at(&self, at: u64, bufs: Vec<Bytes>) -> Io<()> {
        let mut bytes = self.bytes();
        let mut at = usize::try_from(at).expect("a file fits memory");
        for buf in bufs {
            let end = at + buf.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[at..end].copy_from_slice(&buf);
            at = end;
        }
        done(Ok(()))
    }

    fn write_sync(&self, at: u64, bufs: Vec<Bytes>) -> Io<()> {
        self.write_at(at, bufs)
    }

    fn sync_data(&self) -> Io<()> {
        done(Ok(()))
    }

    fn zero_fill(&self, to: u64) -> Io<()> {
        let mut bytes = self.bytes();
        let to = usize::try_from(to).expect("a file fits memory").max(bytes.len());
        bytes.resize(to, 0);
        done(Ok(()))
    }
}
