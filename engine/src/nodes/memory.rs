//! An in-memory machine for the tests of these nodes: files with planned failures, a clock that jumps, keyed draws.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;

use super::register;
use crate::env::{Clock, Cpu, Disk, Env, File, Fut, Io, Listener, Net, Open, Probe, Seed, Stream, Work};
use crate::node::{NodeContext, Registry};
use crate::observe::Event;
use crate::packet::{ContentType, Epoch, Fields, Identity, Kind, Packet, ProducerId, Seq};

/// All std plugins.
pub fn registry() -> Registry {
    let mut registry = Registry::new();
    register(&mut registry);
    registry
}

/// A packet with this JSON payload and fixed other fields.
pub fn packet(payload: serde_json::Value) -> Packet {
    Packet::from(Fields {
        identity: Identity::Entered { producer: ProducerId(1), epoch: Epoch(1), pseq: Seq(1) },
        packet_id: "p-1".into(),
        ts: 5,
        kind: Kind::Event,
        source_id: "s".into(),
        key: Some("ci".into()),
        content_type: ContentType::Json,
        payload: payload.to_string().into(),
        meta: BTreeMap::from([("idempotency_key".into(), "i-1".into())]),
    })
}

/// The machine; clones share everything.
#[derive(Clone, Default)]
pub struct Memory(Arc<Inner>);

#[derive(Default)]
struct Inner {
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    fail: Mutex<VecDeque<Option<Fail>>>,
    log: Mutex<Vec<String>>,
    events: Mutex<Vec<Event>>,
    mono: AtomicU64,
    locks: Mutex<BTreeSet<String>>,
}

/// A file that somebody has locked.
struct Locked(Memory, String);

impl Drop for Locked {
    fn drop(&mut self) {
        self.0.0.locks.lock().unwrap().remove(&self.1);
    }
}

/// A write that fails with `errno`. Of the sectors of 8 bytes that it touches, those arrive whose bit is set.
#[derive(Clone, Copy)]
pub struct Fail {
    pub errno: i32,
    pub sectors: u64,
}

impl Memory {
    /// A machine with one file.
    pub fn with(path: &str, content: impl Into<Vec<u8>>) -> Memory {
        let memory = Memory::default();
        memory.0.files.lock().unwrap().insert(path.into(), content.into());
        memory
    }

    /// A file's bytes.
    pub fn file(&self, path: &str) -> Vec<u8> {
        self.0.files.lock().unwrap().get(path).unwrap_or_else(|| panic!("no file {path}")).clone()
    }

    /// Replaces a file's bytes.
    pub fn put(&self, path: &str, content: impl Into<Vec<u8>>) {
        self.0.files.lock().unwrap().insert(path.into(), content.into());
    }

    /// Plans how the next writes go, in place of what was planned before.
    pub fn fail(&self, fails: &[Option<Fail>]) {
        *self.0.fail.lock().unwrap() = fails.to_vec().into();
    }

    /// What was called, in order, since the last time.
    pub fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.0.log.lock().unwrap())
    }

    /// The probe's events so far.
    pub fn events(&self) -> Vec<Event> {
        self.0.events.lock().unwrap().clone()
    }

    /// The clock.
    pub fn mono(&self) -> u64 {
        self.0.mono.load(Ordering::SeqCst)
    }

    /// What a plugin is built from on this machine.
    pub fn context(&self) -> NodeContext {
        let all = Arc::new(self.clone());
        let env = Env {
            clock: all.clone(),
            disk: all.clone(),
            net: all.clone(),
            seed: all.clone(),
            cpu: all.clone(),
            probe: all.clone(),
        };
        NodeContext { env, files: all, process: "edge".into(), node: "feed".into() }
    }

    fn note(&self, what: String) {
        self.0.log.lock().unwrap().push(what);
    }
}

/// Runs a future to its end.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Polls a future once and drops it, as a runtime that stops would.
pub fn poll_once<T>(future: &mut Fut<'_, T>) -> Option<T> {
    match future.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

fn ready<T: Send + 'static>(result: io::Result<T>) -> Io<T> {
    Box::pin(std::future::ready(result))
}

impl Disk for Memory {
    fn open(&self, path: &str, how: Open) -> Io<Arc<dyn File>> {
        self.note(format!("open {path}"));
        let mut files = self.0.files.lock().unwrap();
        if !files.contains_key(path) {
            if matches!(how, Open::Read | Open::Write) {
                return ready(Err(io::ErrorKind::NotFound.into()));
            }
            files.insert(path.into(), Vec::new());
        }
        ready(Ok(Arc::new(MemoryFile { memory: self.clone(), path: path.into() })))
    }
    fn list(&self, _: &str) -> Io<Vec<String>> {
        panic!("not used by these nodes")
    }
    fn rename(&self, _: &str, _: &str) -> Io<()> {
        panic!("not used by these nodes")
    }
    fn remove(&self, _: &str) -> Io<()> {
        panic!("not used by these nodes")
    }
    fn create_dir(&self, _: &str) -> Io<()> {
        panic!("not used by these nodes")
    }
    fn sync_dir(&self, dir: &str) -> Io<()> {
        self.note(format!("sync_dir {dir:?}"));
        ready(Ok(()))
    }
    fn lock(&self, path: &str) -> Io<Box<dyn Send + Sync>> {
        if !self.0.locks.lock().unwrap().insert(path.into()) {
            return ready(Err(io::ErrorKind::WouldBlock.into()));
        }
        ready(Ok(Box::new(Locked(self.clone(), path.into()))))
    }
    fn free_bytes(&self) -> Io<u64> {
        panic!("not used by these nodes")
    }
}

struct MemoryFile {
    memory: Memory,
    path: String,
}

impl File for MemoryFile {
    fn len(&self) -> Io<u64> {
        ready(Ok(self.memory.file(&self.path).len() as u64))
    }
    fn read_at(&self, at: u64, n: usize) -> Io<Bytes> {
        let content = self.memory.file(&self.path);
        let from = content.len().min(at as usize);
        let to = content.len().min(from + n);
        ready(Ok(Bytes::copy_from_slice(&content[from..to])))
    }
    fn write_at(&self, _: u64, _: Vec<Bytes>) -> Io<()> {
        panic!("not used by these nodes")
    }
    fn write_sync(&self, at: u64, bufs: Vec<Bytes>) -> Io<()> {
        let bytes = bufs.concat();
        self.memory.note(format!("write_sync {at}+{}", bytes.len()));
        let fail = self.memory.0.fail.lock().unwrap().pop_front().flatten();
        let mut files = self.memory.0.files.lock().unwrap();
        let content = files.get_mut(&self.path).unwrap();
        for (at, byte) in (at as usize..).zip(bytes) {
            if fail.is_none_or(|fail| fail.sectors >> (at / 8 % 64) & 1 == 1) {
                content.resize(content.len().max(at + 1), 0);
                content[at] = byte;
            }
        }
        ready(fail.map_or(Ok(()), |fail| Err(io::Error::from_raw_os_error(fail.errno))))
    }
    fn sync_data(&self) -> Io<()> {
        panic!("not used by these nodes")
    }
    fn zero_fill(&self, _: u64) -> Io<()> {
        panic!("not used by these nodes")
    }
}

impl Clock for Memory {
    fn mono(&self) -> u64 {
        Memory::mono(self)
    }
    fn unix_ns(&self) -> i64 {
        panic!("the content of a packet must not depend on the clock")
    }
    fn sleep_until(&self, mono_ns: u64) -> Fut<'static, ()> {
        Box::pin(Sleep { memory: self.clone(), mono_ns })
    }
}

/// Pending once; then the clock has jumped to the wanted time.
struct Sleep {
    memory: Memory,
    mono_ns: u64,
}

impl Future for Sleep {
    type Output = ();
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.memory.0.mono.fetch_max(self.mono_ns, Ordering::SeqCst) >= self.mono_ns {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Net for Memory {
    fn connect(&self, _: &str) -> Io<Box<dyn Stream>> {
        panic!("these nodes have no network")
    }
    fn listen(&self, _: &str) -> Io<Box<dyn Listener>> {
        panic!("these nodes have no network")
    }
}

impl Seed for Memory {
    fn draw(&self, stream: &'static str, key: &[u64]) -> u64 {
        let bytes: Vec<u8> = key.iter().flat_map(|part| part.to_le_bytes()).collect();
        xxhash_rust::xxh3::xxh3_64_with_seed(&bytes, xxhash_rust::xxh3::xxh3_64(stream.as_bytes()))
    }
}

impl Cpu for Memory {
    fn charge(&self, _: Work<'_>, _: u32, _: u64) -> Option<Fut<'static, ()>> {
        None
    }
}

impl Probe for Memory {
    fn on(&self, events: &[Event]) {
        self.0.events.lock().unwrap().extend_from_slice(events);
    }
}
