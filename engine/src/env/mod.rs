//! The seam: everything the engine asks of its machine, as small traits behind one `Env`.
//!
//! The real side is [`os`]; the simulated side lives in the harness. Nothing else in the engine touches a clock, a
//! disk, a socket, entropy or the environment. Shape of every call: dyn-safe, buffers owned by the call, and dropping a
//! future never cancels the I/O behind it.

pub mod os;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::TcpStream;

/// A boxed future that may borrow from its caller.
pub type Fut<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
/// A boxed I/O operation that owns all it needs. Dropping it does not cancel the operation.
pub type Io<T> = Fut<'static, io::Result<T>>;

/// All that an engine may ask of the machine that it runs on. Cheap to clone.
#[derive(Clone)]
pub struct Env {
    /// Time, the only source of it.
    pub clock: Arc<dyn Clock>,
    /// One data directory.
    pub disk: Arc<dyn Disk>,
    /// Connections between processes, by name.
    pub net: Arc<dyn Net>,
    /// Keyed randomness.
    pub seed: Arc<dyn Seed>,
    /// What computation costs; free on the real machine, where it costs by itself.
    pub cpu: Arc<dyn Cpu>,
    /// Where the engine reports what it did.
    pub probe: Arc<dyn Probe>,
}

/// The host's clocks. Skew and drift apply to both, and to sleeping.
pub trait Clock: Send + Sync {
    /// Nanoseconds since an arbitrary start; never goes back within an incarnation.
    fn mono(&self) -> u64;
    /// Nanoseconds since 1970 UTC; may step.
    fn unix_ns(&self) -> i64;
    /// Completes once `mono()` has reached `mono_ns`.
    fn sleep_until(&self, mono_ns: u64) -> Fut<'static, ()>;
}

impl dyn Clock {
    /// Sleeps for `ns` nanoseconds of this clock.
    pub fn sleep(&self, ns: u64) -> Fut<'static, ()> {
        self.sleep_until(self.mono().saturating_add(ns))
    }
}

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// Must exist; reads only.
    Read,
    /// Must exist; reads and writes.
    Write,
    /// Must not exist yet; reads and writes. The new name is durable only after `sync_dir`.
    Create,
    /// Created when missing; reads and writes.
    CreateOrWrite,
}

/// One data directory. Paths are relative to it, with `/` between parts; `..` and absolute paths are `InvalidInput`.
pub trait Disk: Send + Sync {
    /// Opens a file. `NotFound` or `AlreadyExists` as [`Open`] says.
    fn open(&self, path: &str, how: Open) -> Io<Arc<dyn File>>;
    /// Names directly in `dir` (`""` is the root), sorted.
    fn list(&self, dir: &str) -> Io<Vec<String>>;
    /// Renames, replacing `to`. Durable after `sync_dir` of both parents.
    fn rename(&self, from: &str, to: &str) -> Io<()>;
    /// Removes a file. Durable after `sync_dir`.
    fn remove(&self, path: &str) -> Io<()>;
    /// Creates a directory and its parents; fine when it exists.
    fn create_dir(&self, dir: &str) -> Io<()>;
    /// Makes the names in `dir` durable.
    fn sync_dir(&self, dir: &str) -> Io<()>;
    /// Takes an exclusive lock, held until the guard drops; `WouldBlock` when someone else holds it.
    fn lock(&self, path: &str) -> Io<Box<dyn Send + Sync>>;
    /// Bytes that may still be written.
    fn free_bytes(&self) -> Io<u64>;
}

/// Refuses what isn't a plain relative path: `InvalidInput` for an absolute one, for `.` and `..`, for empty parts and
/// NUL. The empty path is the data directory itself.
pub fn check_path(path: &str) -> io::Result<()> {
    let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
    if path.is_empty() || path.split('/').all(plain) {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("`{path}` is not a plain path inside the data directory")))
}

/// An open file. Operations on one file complete in the order they were issued.
#[expect(clippy::len_without_is_empty, reason = "a file's length is an I/O operation; emptiness is not a concept here")]
pub trait File: Send + Sync {
    /// Current length in bytes.
    fn len(&self) -> Io<u64>;
    /// Reads up to `n` bytes at `at`; shorter only at the end of the file.
    fn read_at(&self, at: u64, n: usize) -> Io<Bytes>;
    /// Writes `bufs` one after the other from `at`. After an error any subset of the touched sectors may have changed.
    fn write_at(&self, at: u64, bufs: Vec<Bytes>) -> Io<()>;
    /// `write_at`, then durable at completion; calls take effect in order.
    fn write_sync(&self, at: u64, bufs: Vec<Bytes>) -> Io<()>;
    /// Makes all completed writes durable. After an error the file stays `EIO` until reopened, and its dirty pages are lost.
    fn sync_data(&self) -> Io<()>;
    /// Extends the file to `to` bytes, allocated and zero; where `ENOSPC` normally shows. Fine when already longer; after
    /// an error the file is as long as before.
    fn zero_fill(&self, to: u64) -> Io<()>;
}

/// A connection's byte stream.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {
    /// The process that the other side has proved to be; `None` where the network proves nothing, and at a listener's end
    /// until the first byte was read.
    fn peer(&self) -> Option<&str> {
        None
    }
}

impl Stream for TcpStream {}
impl Stream for DuplexStream {}

/// Accepts connections.
pub trait Listener: Send {
    /// The next connection. Calls are made one at a time.
    fn accept(&mut self) -> Fut<'_, io::Result<Box<dyn Stream>>>;
}

/// The network between processes, which are known by name.
pub trait Net: Send + Sync {
    /// Connects to the process of that name.
    fn connect(&self, process: &str) -> Io<Box<dyn Stream>>;
    /// Listens as the process of that name.
    fn listen(&self, process: &str) -> Io<Box<dyn Listener>>;
    /// The access token that this process shows to those it connects to; empty where nobody asks for one.
    fn token(&self) -> Bytes {
        Bytes::new()
    }
    /// Whether `token` is the access token of `process`; always, where the network asks for none.
    fn knows(&self, _process: &str, _token: &[u8]) -> bool {
        true
    }
}

/// Keyed randomness: a pure function, so one more draw somewhere shifts no other draw.
pub trait Seed: Send + Sync {
    /// The value of the named stream at `key`; equal arguments, equal value.
    fn draw(&self, stream: &'static str, key: &[u64]) -> u64;
}

/// What a piece of computation was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work<'a> {
    /// A node processed packets.
    Node(&'a str),
    /// Packets were encoded or decoded for the journal.
    Journal,
    /// Packets were encoded or decoded for a lane.
    Lane,
}

/// Charges virtual time for computation.
pub trait Cpu: Send + Sync {
    /// Charges `packets` and `bytes` of `work`. The caller awaits what comes back at its next batch border; `None` where
    /// computation costs real time by itself, or where the debt is still below a tick.
    fn charge(&self, work: Work<'_>, packets: u32, bytes: u64) -> Option<Fut<'static, ()>>;
}

/// Receives what the engine did. Write-only, never waits, never answers.
pub trait Probe: Send + Sync {
    /// Takes a batch of events, in order.
    fn on(&self, events: &[crate::observe::Event]);
    /// Whether anybody listens: where nobody does, the events of single packets are not even made.
    fn hears(&self) -> bool {
        true
    }
}
