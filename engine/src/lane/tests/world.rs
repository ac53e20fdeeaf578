//! A small world for the lane's tests: a clock that jumps when all is idle, streams in memory that break, a store.

use std::collections::BTreeMap;
use std::future::pending;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::{Notify, mpsc};

use crate::channel::producer::Producers;
use crate::env::{Clock, Cpu, Disk, Env, File, Fut, Io, Listener, Net, Open, Probe, Seed, Stream, Work};
use crate::lane::{Inlet, LaneError, Outbox};
use crate::observe::Event;
use crate::packet::{Epoch, Seq};

pub const MS: u64 = 1_000_000;

/// Virtual time: moves to the next sleeper whenever the runtime has nothing else to do.
#[derive(Default)]
pub struct TestClock {
    now: AtomicU64,
    ids: AtomicU64,
    sleepers: Mutex<BTreeMap<(u64, u64), Waker>>,
}

struct Sleep {
    clock: Arc<TestClock>,
    key: (u64, u64),
}

#[derive(Clone)]
pub struct SharedClock(pub Arc<TestClock>);

impl Clock for SharedClock {
    fn mono(&self) -> u64 {
        self.0.now.load(SeqCst)
    }
    fn unix_ns(&self) -> i64 {
        784_111_777_000_000_000 + self.mono() as i64
    }
    fn sleep_until(&self, mono_ns: u64) -> Fut<'static, ()> {
        Box::pin(Sleep { clock: self.0.clone(), key: (mono_ns, self.0.ids.fetch_add(1, SeqCst)) })
    }
}

impl Future for Sleep {
    type Output = ();
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.clock.now.load(SeqCst) >= self.key.0 {
            return Poll::Ready(());
        }
        self.clock.sleepers.lock().unwrap().insert(self.key, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.clock.sleepers.lock().unwrap().remove(&self.key);
    }
}

impl TestClock {
    fn jump(&self) {
        let mut sleepers = self.sleepers.lock().unwrap();
        let Some((&(at, _), _)) = sleepers.first_key_value() else { return };
        self.now.fetch_max(at, SeqCst);
        let later = sleepers.split_off(&(at + 1, 0));
        for (_, waker) in std::mem::replace(&mut *sleepers, later) {
            waker.wake();
        }
    }
}

/// How connections end.
#[derive(Clone, Copy, PartialEq)]
pub enum Breaks {
    Never,
    /// With an error, after a random number of bytes below this.
    Reset(usize),
    /// Silently: nothing moves any more, after a random number of bytes below this.
    Stall(usize),
}

/// All processes of a test. Connections break by `breaks`; `tap` holds all bytes that crossed, in order.
pub struct TestNet {
    pub breaks: Mutex<Breaks>,
    pub tap: Arc<Mutex<Vec<u8>>>,
    pub connects: AtomicUsize,
    seed: u64,
    listeners: Mutex<BTreeMap<String, mpsc::UnboundedSender<Box<dyn Stream>>>>,
}

impl Net for TestNet {
    fn connect(&self, process: &str) -> Io<Box<dyn Stream>> {
        let nth = self.connects.fetch_add(1, SeqCst) as u64;
        let draw = xxhash_rust::xxh3::xxh3_64_with_seed(&nth.to_le_bytes(), self.seed) as usize;
        let (left, stalls) = match *self.breaks.lock().unwrap() {
            Breaks::Never => (usize::MAX, false),
            Breaks::Reset(max) => (draw % max, false),
            Breaks::Stall(max) => (draw % max, true),
        };
        let (near, far) = tokio::io::duplex(64 << 10);
        let stream = Fragile { inner: near, left, stalls, tap: self.tap.clone() };
        let sent = match self.listeners.lock().unwrap().get(process) {
            Some(listener) => listener.send(Box::new(far)).is_ok(),
            None => false,
        };
        Box::pin(async move {
            if sent { Ok(Box::new(stream) as Box<dyn Stream>) } else { Err(io::ErrorKind::ConnectionRefused.into()) }
        })
    }

    fn listen(&self, process: &str) -> Io<Box<dyn Listener>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.listeners.lock().unwrap().insert(process.to_owned(), sender);
        Box::pin(async move { Ok(Box::new(TestListener(receiver)) as Box<dyn Listener>) })
    }
}

struct TestListener(mpsc::UnboundedReceiver<Box<dyn Stream>>);

impl Listener for TestListener {
    fn accept(&mut self) -> Fut<'_, io::Result<Box<dyn Stream>>> {
        Box::pin(async { Ok(self.0.recv().await.expect("the net outlives its listeners")) })
    }
}

struct Fragile {
    inner: DuplexStream,
    left: usize,
    stalls: bool,
    tap: Arc<Mutex<Vec<u8>>>,
}

impl Fragile {
    fn broken<T>(&self) -> Option<Poll<io::Result<T>>> {
        match (self.left, self.stalls) {
            (0, true) => Some(Poll::Pending),
            (0, false) => Some(Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))),
            _ => None,
        }
    }
}

impl Stream for Fragile {}

impl AsyncRead for Fragile {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(broken) = self.broken() {
            return broken;
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        let read = &buf.filled()[before..];
        self.left = self.left.saturating_sub(read.len());
        self.tap.lock().unwrap().extend_from_slice(read);
        polled
    }
}

impl AsyncWrite for Fragile {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(broken) = self.broken() {
            return broken;
        }
        let part = &buf[..buf.len().min(self.left)];
        let polled = Pin::new(&mut self.inner).poll_write(cx, part);
        if let Poll::Ready(Ok(n)) = polled {
            self.left -= n;
            self.tap.lock().unwrap().extend_from_slice(&part[..n]);
        }
        polled
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

struct Nothing;

impl Disk for Nothing {
    fn open(&self, _: &str, _: Open) -> Io<Arc<dyn File>> {
        unreachable!("a lane has no files")
    }
    fn list(&self, _: &str) -> Io<Vec<String>> {
        unreachable!("a lane has no files")
    }
    fn rename(&self, _: &str, _: &str) -> Io<()> {
        unreachable!("a lane has no files")
    }
    fn remove(&self, _: &str) -> Io<()> {
        unreachable!("a lane has no files")
    }
    fn create_dir(&self, _: &str) -> Io<()> {
        unreachable!("a lane has no files")
    }
    fn sync_dir(&self, _: &str) -> Io<()> {
        unreachable!("a lane has no files")
    }
    fn lock(&self, _: &str) -> Io<Box<dyn Send + Sync>> {
        unreachable!("a lane has no files")
    }
    fn free_bytes(&self) -> Io<u64> {
        unreachable!("a lane has no files")
    }
}

impl Cpu for Nothing {
    fn charge(&self, _: Work<'_>, _: u32, _: u64) -> Option<Fut<'static, ()>> {
        None
    }
}

impl Seed for Nothing {
    fn draw(&self, stream: &'static str, key: &[u64]) -> u64 {
        let bytes: Vec<u8> = key.iter().flat_map(|part| part.to_le_bytes()).collect();
        xxhash_rust::xxh3::xxh3_64_with_seed(&bytes, stream.len() as u64)
    }
}

/// Keeps the reasons of what was refused.
#[derive(Default)]
pub struct Refusals(pub Mutex<BTreeMap<String, usize>>);

impl Refusals {
    pub fn count(&self, reason: &str) -> usize {
        self.0.lock().unwrap().get(reason).copied().unwrap_or(0)
    }
}

impl Probe for Refusals {
    fn on(&self, events: &[Event]) {
        for event in events {
            if let crate::observe::What::Refused { reason } = &event.what {
                *self.0.lock().unwrap().entry(reason.to_string()).or_default() += 1;
            }
        }
    }
}

/// A test's machine.
pub struct World {
    pub env: Env,
    pub net: Arc<TestNet>,
    pub refusals: Arc<Refusals>,
}

impl World {
    pub fn ms(&self) -> u64 {
        self.env.clock.mono() / MS
    }

    pub async fn sleep_ms(&self, ms: u64) {
        self.env.clock.sleep(ms * MS).await;
    }
}

/// Runs `test` on virtual time, an hour of it at most.
#[track_caller]
pub fn run<T, F: Future<Output = T>>(seed: u64, test: impl FnOnce(World) -> F) -> T {
    let clock = Arc::new(TestClock::default());
    let jumper = clock.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .on_thread_park(move || jumper.jump())
        .rng_seed(tokio::runtime::RngSeed::from_bytes(&seed.to_le_bytes()))
        .build()
        .unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SharedClock(clock));
    let net = Arc::new(TestNet {
        breaks: Mutex::new(Breaks::Never),
        tap: Arc::default(),
        connects: AtomicUsize::new(0),
        seed,
        listeners: Mutex::default(),
    });
    let refusals = Arc::new(Refusals::default());
    let env = Env {
        clock: clock.clone(),
        disk: Arc::new(Nothing),
        net: net.clone(),
        seed: Arc::new(Nothing),
        cpu: Arc::new(Nothing),
        probe: refusals.clone(),
    };
    runtime.block_on(async {
        tokio::select! {
            biased;
            value = test(World { env, net, refusals }) => value,
            () = clock.sleep(3_600_000 * MS) => panic!("nothing came of it in an hour"),
        }
    })
}

/// The packet with this number: its bytes tell the number.
pub fn packet(seq: Seq) -> Bytes {
    let mut bytes = seq.0.to_le_bytes().to_vec();
    bytes.resize(8 + (seq.0 % 50) as usize, 7);
    bytes.into()
}

/// A host's channel in memory: appends are durable a while later, a restart loses what is not.
pub struct Store {
    pub clock: Arc<dyn Clock>,
    pub commit_ns: u64,
    pub state: Mutex<Stored>,
}

#[derive(Default)]
pub struct Stored {
    producers: Producers,
    durable_producers: Producers,
    pub packets: Vec<(Epoch, Bytes)>,
    pub durable: u64,
    /// Appends are refused while true, but for their first packet.
    pub full: bool,
    /// Packets that were offered though they were held.
    pub again: u64,
    /// A medium destroyed something, by its own word.
    pub lost: bool,
    incarnation: u64,
}

impl Store {
    pub fn new(world: &World, commit_ns: u64) -> Arc<Store> {
        Arc::new(Store { clock: world.env.clock.clone(), commit_ns, state: Mutex::default() })
    }

    pub fn durable(&self) -> u64 {
        self.state.lock().unwrap().durable
    }

    pub fn set_full(&self, full: bool) {
        self.state.lock().unwrap().full = full;
    }

    /// From now on it says that a medium destroyed something.
    pub fn set_lost(&self) {
        self.state.lock().unwrap().lost = true;
    }

    /// What a crash leaves.
    pub fn crash(&self) {
        let mut state = self.state.lock().unwrap();
        state.incarnation += 1;
        state.producers = state.durable_producers.clone();
        let durable = state.durable as usize;
        state.packets.truncate(durable);
    }

    /// Completes once all that was submitted so far is durable; never, if a crash comes between.
    fn commit(self: &Arc<Self>, last: Seq) -> Fut<'static, Result<Seq, LaneError>> {
        let (producers, held, incarnation) = {
            let state = self.state.lock().unwrap();
            (state.producers.clone(), state.packets.len() as u64, state.incarnation)
        };
        let store = self.clone();
        let due = self.clock.sleep(self.commit_ns);
        Box::pin(async move {
            due.await;
            {
                let mut state = store.state.lock().unwrap();
                if state.incarnation == incarnation {
                    if state.durable <= held {
                        (state.durable, state.durable_producers) = (held, producers);
                    }
                    return Ok(last);
                }
            }
            pending().await
        })
    }
}

pub struct Uplink(pub Arc<Store>);

impl Inlet for Uplink {
    fn channel(&self) -> &str {
        "uplink"
    }

    fn lost(&self) -> bool {
        self.0.state.lock().unwrap().lost
    }

    fn open(&self, producer: &str, epoch: Epoch) -> Fut<'static, Result<Seq, LaneError>> {
        let opened = self.0.state.lock().unwrap().producers.open("uplink", producer, epoch);
        match opened {
            Ok(last) => self.0.commit(last),
            Err(rejection) => Box::pin(async move { Err(LaneError::rejected("uplink", rejection)) }),
        }
    }

    fn append(
        &self,
        producer: &str,
        epoch: Epoch,
        (first, lost): (Seq, u64),
        packets: Vec<(Epoch, Bytes)>,
    ) -> Fut<'static, Result<Seq, LaneError>> {
        let offered = {
            let mut state = self.0.state.lock().unwrap();
            match state.producers.offer("uplink", producer, epoch, (first, lost), packets.len() as u64) {
                Ok(accept) if state.full => {
                    // One more finds room.
                    let held = Seq(first.0 + accept.skip);
                    state.again += accept.skip;
                    state.packets.push(packets[accept.skip as usize].clone());
                    state.producers.accept("uplink", producer, held);
                    Err(LaneError::Full { channel: "uplink".into(), held })
                }
                Ok(accept) => {
                    state.again += accept.skip;
                    state.packets.extend(packets.into_iter().skip(accept.skip as usize));
                    state.producers.accept("uplink", producer, accept.last);
                    Ok(accept.last)
                }
                Err(rejection) => Err(LaneError::rejected("uplink", rejection)),
            }
        };
        match offered {
            Ok(last) => self.0.commit(last),
            Err(error) => Box::pin(async move { Err(error) }),
        }
    }
}

/// A producer's outbox in memory: packets up to `end`, those above `second_epoch_from` entered in epoch 2.
pub struct Source {
    pub epoch: Epoch,
    pub second_epoch_from: u64,
    pub end: AtomicU64,
    pub floor: Arc<AtomicU64>,
    pub grew: Notify,
    pub store: Arc<Store>,
}

impl Source {
    pub fn new(store: &Arc<Store>, epoch: u64, end: u64) -> Arc<Source> {
        Arc::new(Source {
            epoch: Epoch(epoch),
            second_epoch_from: if epoch > 1 { end / 3 } else { u64::MAX },
            end: AtomicU64::new(end),
            floor: Arc::default(),
            grew: Notify::new(),
            store: store.clone(),
        })
    }

    pub fn entered(&self, seq: Seq) -> Epoch {
        Epoch(if seq.0 >= self.second_epoch_from { 2 } else { 1 })
    }

    pub fn settled(&self) -> u64 {
        self.floor.load(SeqCst)
    }
}

pub struct Tap(pub Arc<Source>);

impl Outbox for Tap {
    fn channel(&self) -> &str {
        "uplink"
    }
    fn epoch(&self) -> Epoch {
        self.0.epoch
    }
    fn journal(&self) -> Option<u128> {
        None
    }
    fn floor(&self) -> Seq {
        Seq(self.0.settled())
    }
    fn read(
        &self,
        from: Seq,
        max_packets: usize,
        max_bytes: usize,
    ) -> Fut<'static, Result<Vec<(Seq, Epoch, Bytes)>, LaneError>> {
        let source = self.0.clone();
        Box::pin(async move {
            while from.0 > source.end.load(SeqCst) {
                source.grew.notified().await;
            }
            let (mut packets, mut bytes) = (Vec::new(), 0);
            for seq in (from.0..=source.end.load(SeqCst)).take(max_packets).map(Seq) {
                bytes += packet(seq).len();
                if bytes > max_bytes {
                    break;
                }
                packets.push((seq, source.entered(seq), packet(seq)));
            }
            Ok(packets)
        })
    }
    fn settle(&self, upto: Seq) -> Fut<'static, Result<(), LaneError>> {
        let end = self.0.end.load(SeqCst);
        if upto.0 > end {
            let error = LaneError::Ahead { channel: "uplink".into(), upto, end: Seq(end) };
            return Box::pin(async move { Err(error) });
        }
        assert!(upto.0 <= self.0.store.durable(), "{upto} was acked, but {} are durable", self.0.store.durable());
        let (floor, done) = (self.0.floor.clone(), self.0.store.clock.sleep(MS));
        Box::pin(async move {
            done.await;
            floor.fetch_max(upto.0, SeqCst);
            Ok(())
        })
    }
}
