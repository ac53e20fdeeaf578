//! A small system to try the world with: `edge` forwards what it is offered over a connection to `hub`, which appends it
//! to its disk, makes it visible and acknowledges it. Idempotent by number; at least once.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use seaworthy_engine::env::{Env, Fut, Open, Stream};
use seaworthy_engine::observe::{Event, What};
use seaworthy_engine::packet::Seq;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, mpsc, oneshot};
use xxhash_rust::xxh3::xxh3_64;

use crate::sim::recorder::Recorder;
use crate::sim::sink::Endpoint;
use crate::system::{Boot, BootError, HostSpec, Offer, Offered, System};

type Handed = (Offer, oneshot::Sender<Offered>);

pub(super) struct Toy(Arc<Shared>);

pub(super) struct Shared {
    recorder: Arc<Recorder>,
    inbox: Mutex<Option<mpsc::UnboundedSender<Handed>>>,
    pending: AtomicU64,
    stop: BTreeMap<&'static str, Notify>,
    /// What the last incarnation of each host held; dead once it crashed.
    roots: Mutex<BTreeMap<String, Weak<()>>>,
    /// Handles kept beyond a crash, when the test wants that.
    leak: Option<Mutex<Vec<Leaked>>>,
    /// Panics once this many records were stored.
    pub panic_at: u64,
}

struct Leaked {
    env: Env,
    incarnation: u64,
    stream: Box<dyn Stream>,
}

impl Toy {
    pub fn new(recorder: &Arc<Recorder>, leak: bool, panic_at: u64) -> Toy {
        Toy(Arc::new(Shared {
            recorder: recorder.clone(),
            inbox: Mutex::new(None),
            pending: 0.into(),
            stop: BTreeMap::from([("edge", Notify::new()), ("hub", Notify::new())]),
            roots: Mutex::default(),
            leak: leak.then(Mutex::default),
            panic_at,
        }))
    }
}

impl System for Toy {
    fn hosts(&self) -> Vec<HostSpec> {
        ["edge", "hub"].map(|name| HostSpec { name: name.into(), disk_bytes: 16 << 20, cores: 1 }).into()
    }

    fn boot(&self, boot: Boot) -> Fut<'static, Result<(), BootError>> {
        let shared = self.0.clone();
        Box::pin(async move {
            let root = Arc::new(());
            let old = shared.roots.lock().unwrap().insert(boot.host.clone(), Arc::downgrade(&root));
            assert!(old.is_none_or(|old| old.upgrade().is_none()), "{}: the last incarnation lives on", boot.host);
            let held = root.clone();
            tokio::spawn(async move {
                let _held = held;
                std::future::pending::<()>().await;
            });
            let host = boot.host.clone();
            let ended = async {
                match &*boot.host {
                    "edge" => edge(&shared, &boot).await,
                    _ => hub(&shared, &boot).await,
                }
            };
            tokio::select! {
                biased;
                () = shared.stop[&*host].notified() => Ok(()),
                error = ended => Err(BootError { host: host.clone(), message: error.unwrap_err().to_string(), exit: 74 }),
            }
        })
    }

    fn stop(&self, host: &str) {
        self.0.stop[host].notify_one();
    }

    fn offer(&self, env: &Env, offer: Offer) -> Fut<'static, Offered> {
        let (answer, answered) = oneshot::channel();
        let sent = self.0.inbox.lock().unwrap().as_ref().is_some_and(|inbox| inbox.send((offer, answer)).is_ok());
        let clock = env.clock.clone();
        Box::pin(async move {
            if !sent {
                clock.sleep(10_000_000).await;
                return Offered::Indeterminate;
            }
            answered.await.unwrap_or(Offered::Indeterminate)
        })
    }

    fn quiet(&self) -> bool {
        self.0.pending.load(Ordering::Relaxed) == 0
    }

    fn gauge(&self, address: &str) -> Option<u64> {
        (address == "edge.pending").then(|| self.0.pending.load(Ordering::Relaxed))
    }
}

async fn edge(shared: &Shared, boot: &Boot) -> io::Result<()> {
    let (inbox, mut handed) = mpsc::unbounded_channel();
    *shared.inbox.lock().unwrap() = Some(inbox);
    let mut pending: VecDeque<Handed> = VecDeque::new();
    shared.pending.store(0, Ordering::Relaxed);
    haunt(shared, boot).await;
    loop {
        let Ok(mut stream) = boot.env.net.connect("hub").await else {
            boot.env.clock.sleep(20_000_000).await;
            continue;
        };
        let ended = forward(shared, &mut *stream, &mut handed, &mut pending).await;
        assert!(ended.is_err(), "forwarding has no end of its own");
    }
}

/// Uses what an older incarnation left behind, which nothing may come of, and leaves a live connection to the next one.
async fn haunt(shared: &Shared, boot: &Boot) {
    let Some(leak) = &shared.leak else { return };
    let stream = loop {
        match boot.env.net.connect("hub:ghost").await {
            Ok(stream) => break stream,
            Err(_) => boot.env.clock.sleep(10_000_000).await,
        }
    };
    leak.lock().unwrap().push(Leaked { env: boot.env.clone(), incarnation: boot.incarnation, stream });
    let stale: Vec<Leaked> =
        leak.lock().unwrap().extract_if(.., |leaked| leaked.incarnation < boot.incarnation).collect();
    for Leaked { env, mut stream, .. } in stale {
        env.probe.on(&[event("ghost", 1)]);
        let wrote = async {
            if env.disk.open("ghost", Open::Create).await.is_ok() {
                return "a file";
            }
            tokio::select! {
                biased;
                _ = env.net.connect("hub") => "a connection",
                _ = async { (stream.write_all(b"boo").await, stream.read_u8().await) } => "bytes",
            }
        };
        tokio::select! {
            biased;
            what = wrote => panic!("a ghost made {what}"),
            () = boot.env.clock.sleep(50_000_000) => {}
        }
    }
}

fn event(place: &str, seq: u64) -> Event {
    Event { what: What::Committed, place: place.into(), identity: None, seq: Seq(seq), attempt: 0 }
}

fn frame((offer, _): &Handed) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.put_u64(offer.seq.0);
    frame.put_u16(offer.draft.packet_id.len() as u16);
    frame.put_slice(offer.draft.packet_id.as_bytes());
    frame
}

async fn forward(
    shared: &Shared,
    stream: &mut dyn Stream,
    handed: &mut mpsc::UnboundedReceiver<Handed>,
    pending: &mut VecDeque<Handed>,
) -> io::Result<()> {
    let (mut read, mut write) = tokio::io::split(stream);
    for one in pending.iter() {
        write.write_all(&frame(one)).await?;
    }
    let mut acks = BytesMut::new();
    loop {
        tokio::select! {
            biased;
            n = read.read_buf(&mut acks) => {
                if n? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                while acks.len() >= 8 {
                    let acked = acks.get_u64();
                    while pending.front().is_some_and(|(offer, _)| offer.seq.0 <= acked) {
                        let (_, answer) = pending.pop_front().unwrap();
                        let _ = answer.send(Offered::Accepted);
                    }
                    shared.pending.store(pending.len() as u64, Ordering::Relaxed);
                }
            }
            Some(one) = handed.recv() => {
                let frame = frame(&one);
                pending.push_back(one);
                shared.pending.store(pending.len() as u64, Ordering::Relaxed);
                write.write_all(&frame).await?;
            }
        }
    }
}

/// Number, name and a checksum of both, one after the other.
struct Store {
    file: Arc<dyn seaworthy_engine::env::File>,
    end: u64,
    last: u64,
    last_id: String,
}

impl Store {
    async fn open(env: &Env) -> io::Result<Store> {
        let file = env.disk.open("log", Open::CreateOrWrite).await?;
        env.disk.sync_dir("").await?;
        let mut bytes = file.read_at(0, file.len().await? as usize).await?;
        let (whole, mut store) = (bytes.len(), Store { file, end: 0, last: 0, last_id: String::new() });
        while bytes.len() >= 10 {
            let body_len = 10 + u16::from_be_bytes([bytes[8], bytes[9]]) as usize;
            if bytes.len() < body_len + 8 {
                break;
            }
            let body = bytes.split_to(body_len);
            if xxh3_64(&body) != bytes.get_u64() || (&body[..8]).get_u64() != store.last + 1 {
                break;
            }
            store.last += 1;
            store.last_id = String::from_utf8(body[10..].to_vec()).unwrap();
            store.end = (whole - bytes.len()) as u64;
        }
        Ok(store)
    }

    async fn append(&mut self, seq: u64, id: &str, body: Bytes) -> io::Result<()> {
        let sum = xxh3_64(&body).to_be_bytes().to_vec().into();
        let len = body.len() as u64 + 8;
        self.file.write_sync(self.end, vec![body, sum]).await?;
        (self.end, self.last, self.last_id) = (self.end + len, seq, id.to_owned());
        Ok(())
    }
}

fn show(sink: &Endpoint, seq: u64, id: &str) {
    sink.effect(id, Some("one"), seq.to_string().into());
}

/// Makes visible how each connection to a ghost ended, and how many bytes came before.
async fn listen_to_ghosts(env: Env, sink: Endpoint) {
    let mut listener = env.net.listen("hub:ghost").await.unwrap();
    loop {
        let mut stream = listener.accept().await.unwrap();
        let sink = sink.clone();
        tokio::spawn(async move {
            let mut bytes = Vec::new();
            let ended = stream.read_to_end(&mut bytes).await;
            let how = ended.map_or_else(|error| error.to_string(), |n| format!("end after {n}"));
            sink.effect("ghost", None, how.into());
        });
    }
}

async fn hub(shared: &Shared, boot: &Boot) -> io::Result<()> {
    let env = &boot.env;
    let mut store = Store::open(env).await?;
    let sink = shared.recorder.endpoint("hub.out", "hub", boot.incarnation);
    if store.last > 0 {
        // The crash may have come between the write and this.
        show(&sink, store.last, &store.last_id);
    }
    if shared.leak.is_some() {
        tokio::spawn(listen_to_ghosts(env.clone(), shared.recorder.endpoint("hub.ghost", "hub", boot.incarnation)));
    }
    let mut listener = env.net.listen("hub").await?;
    let mut stream = listener.accept().await?;
    let mut buf = BytesMut::new();
    loop {
        let n = tokio::select! {
            biased;
            next = listener.accept() => {
                (stream, buf) = (next?, BytesMut::new());
                continue;
            }
            n = stream.read_buf(&mut buf) => n,
        };
        if n.is_err() || n.is_ok_and(|n| n == 0) {
            (stream, buf) = (listener.accept().await?, BytesMut::new());
            continue;
        }
        while buf.len() >= 10 && buf.len() >= 10 + u16::from_be_bytes([buf[8], buf[9]]) as usize {
            let body = buf.split_to(10 + u16::from_be_bytes([buf[8], buf[9]]) as usize).freeze();
            let (seq, id) = ((&body[..8]).get_u64(), String::from_utf8(body[10..].to_vec()).unwrap());
            assert!(seq <= store.last + 1, "{seq} after {}", store.last);
            if seq > store.last {
                store.append(seq, &id, body).await?;
                sink.hold(&env.clock).await;
                show(&sink, seq, &id);
                env.probe.on(&[event("log", seq)]);
                assert_ne!(seq, shared.panic_at, "the toy was told to break");
            }
            if stream.write_all(&seq.to_be_bytes()).await.is_err() {
                break;
            }
        }
    }
}
