//! Our journal behind the lane, over loopback: an engine that hosts the channel, on a thread of its own as the peers are
//! processes of their own, and the lane's client here, with an outbox that makes packets as the window allows.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use seaworthy_engine::env::Fut;
use seaworthy_engine::env::os::{OsOptions, env};
use seaworthy_engine::graph::Phase;
use seaworthy_engine::journal::JournalOptions;
use seaworthy_engine::lane::{self, LaneError, Outbox, Unsent};
use seaworthy_engine::load::{Planned, load_any};
use seaworthy_engine::node::{NodeError, Sink};
use seaworthy_engine::packet::{ContentType, Epoch, Fields, Identity, Kind, Packet, ProducerId, Seq, SmolStr};
use seaworthy_engine::process::{ChannelPlan, ProcessPlan};
use seaworthy_engine::runtime::{Engine, EngineOptions, StandIn};
use tokio::runtime::Runtime;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle as Task;

use super::journal::Deaf;
use super::{Contender, PACKET_BYTES};

const CHANNEL: &str = "uplink";
const PROCESSES: &str = r#"
version: 1
processes: [{id: edge, graph: edge.yaml}, {id: hub, graph: hub.yaml}]
channels:  [{id: uplink, kind: journal, require_ack: true}]
links:     [{producer: edge, consumer: hub, channel: uplink}]
"#;
const EDGE: &str = r#"
version: 2
nodes:
  - {id: feed, kind: source, plugin: "std:generator", config: {json: {}}}
  - {id: up, kind: sink, plugin: "std:channel", config: {channel: uplink}}
edges: [{from: feed, to: up}]
"#;
const HUB: &str = r#"
version: 2
nodes:
  - {id: in, kind: source, plugin: "std:channel", config: {channel: uplink}}
  - {id: out, kind: sink, plugin: "std:ndjson_sink", config: {path: out.ndjson}}
edges: [{from: in, to: out}]
"#;
/// Trees that the hub begins; its sink ends none of them, as nobody consumes from the peers either.
const IN_FLIGHT_MAX: usize = 1;
/// How long an ack may take before the hub counts as lost.
const SILENCE: Duration = Duration::from_secs(20);

pub(super) struct Lane {
    runtime: Runtime,
    packets: Arc<Packets>,
    client: Task<()>,
    _hub: Hub,
}

impl Lane {
    /// Starts the host and the client.
    pub(super) fn connect(dir: &Path) -> Result<Lane, Box<dyn Error>> {
        let hub = Hub::start(dir.join("hub"))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let peers = BTreeMap::from([("hub".to_owned(), hub.address)]);
        let (env, _) =
            env(OsOptions { data_dir: dir.join("edge"), listen: None, peers, keys: None, probe: Arc::new(Deaf) })?;
        let packets = Arc::new(Packets::new());
        let outbox: Arc<dyn Outbox> = Arc::new(Window(packets.clone()));
        let client = runtime.spawn(async move {
            match lane::client::run(env, "hub".to_owned(), "edge".to_owned(), vec![outbox]).await {}
        });
        Ok(Lane { runtime, packets, client, _hub: hub })
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.client.abort();
    }
}

impl Contender for Lane {
    fn carry(&mut self, window: usize, time: Duration) -> Result<u64, Box<dyn Error>> {
        let before = self.packets.lock().settled;
        let began = Instant::now();
        self.packets.open(window as u64);
        let carried = async {
            while began.elapsed() < time {
                self.packets.settled.notified().await;
            }
            self.packets.open(0);
            while !self.packets.is_settled() {
                self.packets.settled.notified().await;
            }
        };
        self.runtime.block_on(async { tokio::time::timeout(time + SILENCE, carried).await })?;
        Ok(self.packets.lock().settled - before)
    }
}

/// What may be sent, what was, and what is durable at the host.
struct Packets {
    state: Mutex<State>,
    /// More may be sent.
    more: Notify,
    /// More is durable.
    settled: Notify,
    packet: Bytes,
}

struct State {
    window: u64,
    sent: u64,
    settled: u64,
}

impl Packets {
    fn new() -> Packets {
        let fields = Fields {
            identity: Identity::Entered { producer: ProducerId(1), epoch: Epoch(1), pseq: Seq(1) },
            packet_id: SmolStr::default(),
            ts: 0,
            kind: Kind::Event,
            source_id: SmolStr::default(),
            key: None,
            content_type: ContentType::Bytes,
            payload: Bytes::new(),
            meta: BTreeMap::new(),
        };
        // All of it together is as large as what the others carry.
        let bare = Packet::from(fields.clone()).encode().len();
        let payload = vec![b'x'; PACKET_BYTES - bare - 1].into();
        let packet = Packet::from(Fields { payload, ..fields }).encode();
        assert_eq!(
            packet.len(),
            PACKET_BYTES,
            "the length of a payload of 1 KiB takes one byte more than that of none"
        );
        let state = Mutex::new(State { window: 0, sent: 0, settled: 0 });
        Packets { state, more: Notify::new(), settled: Notify::new(), packet }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the window")
    }

    /// From now on up to `window` packets fly at a time.
    fn open(&self, window: u64) {
        self.lock().window = window;
        self.more.notify_one();
    }

    fn is_settled(&self) -> bool {
        let state = self.lock();
        state.sent == state.settled
    }

    /// How many may be sent from `from` on.
    fn room(&self, from: Seq, max: usize) -> usize {
        let mut state = self.lock();
        let room = (state.settled + state.window).saturating_sub(from.0 - 1);
        let count = usize::try_from(room).map_or(max, |room| room.min(max));
        if count > 0 {
            state.sent = from.0 - 1 + count as u64;
        }
        count
    }
}

struct Window(Arc<Packets>);

impl Outbox for Window {
    fn channel(&self) -> &str {
        CHANNEL
    }

    fn epoch(&self) -> Epoch {
        Epoch(1)
    }

    fn journal(&self) -> Option<u128> {
        None
    }

    fn floor(&self) -> Seq {
        Seq(self.0.lock().settled)
    }

    fn read(&self, from: Seq, max_packets: usize, max_bytes: usize) -> Fut<'static, Result<Unsent, LaneError>> {
        let packets = self.0.clone();
        let max = max_packets.min(max_bytes / PACKET_BYTES).max(1);
        Box::pin(async move {
            loop {
                let count = packets.room(from, max) as u64;
                if count > 0 {
                    let made = from.0..from.0 + count;
                    return Ok(made.map(|seq| (Seq(seq), Epoch(1), packets.packet.clone())).collect());
                }
                packets.more.notified().await;
            }
        })
    }

    fn settle(&self, upto: Seq) -> Fut<'static, Result<(), LaneError>> {
        let mut state = self.0.lock();
        state.settled = state.settled.max(upto.0);
        self.0.more.notify_one();
        self.0.settled.notify_one();
        Box::pin(std::future::ready(Ok(())))
    }
}

/// The channel's host, on its own thread and runtime.
struct Hub {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Hub {
    fn start(data_dir: PathBuf) -> Result<Hub, Box<dyn Error>> {
        let (stop, stopped) = oneshot::channel();
        let (up, waiting) = mpsc::channel();
        let thread = thread::Builder::new().name("hub".to_owned()).spawn(move || host(data_dir, &up, stopped))?;
        let address = waiting.recv().map_err(|_| "the hub ended before it listened")??;
        Ok(Hub { address, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A hub that failed has said so, and the client has waited in vain.
            let _ = thread.join();
        }
    }
}

fn host(data_dir: PathBuf, up: &mpsc::Sender<Result<SocketAddr, String>>, stopped: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("this machine has a second runtime");
    runtime.block_on(async {
        let listen = Some((Ipv4Addr::LOCALHOST, 0).into());
        let machine = OsOptions { data_dir, listen, peers: BTreeMap::new(), keys: None, probe: Arc::new(Deaf) };
        let (env, net) = match env(machine) {
            Ok(made) => made,
            Err(error) => return drop(up.send(Err(error.to_string()))),
        };
        let ProcessPlan { processes, channels } = plan();
        let hub = processes.into_iter().find(|process| process.id == "hub").expect("the process graph has a hub");
        let options = EngineOptions {
            files: env.disk.clone(),
            env,
            plan: hub.plan,
            channels: ChannelPlan::of("hub", &channels),
            registry: seaworthy::std_registry(),
            stand_ins: BTreeMap::from([("out".to_owned(), StandIn::Sink(Box::new(Shut)))]),
            journal: JournalOptions::new("hub"),
            in_flight_max: IN_FLIGHT_MAX,
            park: false,
        };
        let engine = match Engine::start(options).await {
            Ok(engine) => engine,
            Err(error) => return drop(up.send(Err(error.to_string()))),
        };
        let address = net.bound().expect("it was told to listen");
        if up.send(Ok(address)).is_err() {
            return;
        }
        tokio::select! {
            biased;
            _ = stopped => {}
            ended = engine.run() => panic!("the hub ended by itself: {ended:?}"),
        }
    });
}

fn plan() -> ProcessPlan {
    let read = |path: &str| match path {
        "edge.yaml" => Ok(EDGE.to_owned()),
        "hub.yaml" => Ok(HUB.to_owned()),
        _ => Ok(PROCESSES.to_owned()),
    };
    let loaded = load_any("lane.yaml", &read, &seaworthy::std_registry(), Phase::Run);
    match loaded.planned {
        Some(Planned::Processes(plan)) => plan,
        _ => panic!("the process graph is wrong: {:?}", loaded.diagnostics),
    }
}

/// Takes what it is given, and answers nothing.
struct Shut;

impl Sink for Shut {
    fn write<'a>(&'a mut self, _: &'a [Packet]) -> Fut<'a, Vec<Result<(), NodeError>>> {
        Box::pin(std::future::pending())
    }
}
