//! The in-memory graph that is measured, and the bare channel that it is compared with. Both build the same packets.

mod memory;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use seaworthy_engine::env::os::{OsClock, OsNet, OsSeed};
use seaworthy_engine::env::{Cpu, Env, Fut, Probe, Work};
use seaworthy_engine::graph::{Phase, Plan};
use seaworthy_engine::journal::JournalOptions;
use seaworthy_engine::load::{Planned, load_any};
use seaworthy_engine::node::{Acks, Draft, Entry, NodeError, Resume, Sink, Source};
use seaworthy_engine::observe::Event;
use seaworthy_engine::packet::{ContentType, Epoch, Identity, Kind, Packet, ProducerId, Seq, SmolStr, ToSmolStr};
use seaworthy_engine::runtime::{Engine, EngineOptions, StandIn};
use tokio::runtime::Runtime;
use tokio::sync::{Notify, mpsc};

use self::memory::MemoryDisk;

/// Packets that are built, sent and handled together.
pub const BATCH: usize = 256;
/// Most trees that are open at a time, as `seaworthy run` has it.
const IN_FLIGHT_MAX: usize = 1024;
/// Batches that the bare channel holds.
const CHANNEL_BATCHES: usize = 4;

/// A reading of 256 bytes; `00000000` becomes its number, `0.00` its magnitude.
const PAYLOAD: &[u8; 256] = br#"{"id":"uw00000000","mag":0.00,"net":"uw","wave":"AAABAAIAAwACAAEAAAD//////v8CAAUABAABAP3//P/+/wEABQAHAAQA/v/5//j//P8DAAkACgAEAPz/9P/z//r/BQAPABAAAAABAAIAAwACAAEAAAD//////v8CAAUABAABAP3//P/+/wEABQAHAAQA/v/5//j//P8DAAkACgAEAPz/9P/z//r/BQAPABAAAAABAAIAAwACA"}"#;
const NUMBER_AT: usize = 9;
const MAGNITUDE_AT: usize = 25;

const GRAPH: &str = r#"
version: 2
nodes:
  - {id: feed, kind: source, plugin: "std:generator", config: {json: {}}}
  - {id: strong, kind: node, plugin: "std:filter", config: {where: "payload.mag >= 1"}}
  - {id: marked, kind: node, plugin: "std:map", config: {set: {alarm: "payload.mag >= 4"}}}
  - {id: out, kind: sink, plugin: "std:ndjson_sink", config: {path: out.ndjson}}
edges:
  - {from: feed, to: strong}
  - {from: strong, to: marked}
  - {from: marked, to: out}
"#;

/// Entry `number`; its payload is built anew. One magnitude in eight is below 1.
fn entry(number: u64) -> Entry {
    let mut payload = PAYLOAD.to_vec();
    let mut left = number;
    for digit in payload[NUMBER_AT..NUMBER_AT + 8].iter_mut().rev() {
        *digit = b'0' + (left % 10) as u8;
        left /= 10;
    }
    payload[MAGNITUDE_AT] = b'0' + (number % 8) as u8;
    payload[MAGNITUDE_AT + 2] = b'1' + (number % 9) as u8;
    payload[MAGNITUDE_AT + 3] = b'1' + (number % 7) as u8;
    Entry {
        seq: Seq(number),
        draft: Draft {
            packet_id: number.to_smolstr(),
            ts: number as i64,
            kind: Kind::Event,
            source_id: SmolStr::new_static("feed"),
            key: None,
            content_type: ContentType::Json,
            payload: payload.into(),
            meta: BTreeMap::new(),
        },
        position: Bytes::new(),
    }
}

/// source → filter → map → sink on one thread, with a journal in memory.
pub struct Graph {
    runtime: Runtime,
    feed: Arc<Feed>,
}

impl Graph {
    /// Starts the graph; it waits for packets to be asked for.
    pub fn start() -> Graph {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("this machine has a runtime");
        let feed = Arc::new(Feed::default());
        let engine = runtime.block_on(Engine::start(options(&feed))).expect("the graph is right and its disk is new");
        runtime.spawn(engine.run());
        Graph { runtime, feed }
    }

    /// Sends `packets` through the graph, and returns once all of them are settled.
    pub fn carry(&self, packets: u64) {
        let until = self.feed.asked.fetch_add(packets, Ordering::Relaxed) + packets;
        self.feed.more.notify_one();
        self.runtime.block_on(async {
            while self.feed.settled.load(Ordering::Relaxed) < until {
                self.feed.done.notified().await;
            }
        });
    }

    /// Packets that the sink took: those that the filter let pass.
    pub fn delivered(&self) -> u64 {
        self.feed.delivered.load(Ordering::Relaxed)
    }
}

fn options(feed: &Arc<Feed>) -> EngineOptions {
    let env = Env {
        clock: Arc::new(OsClock::new()),
        disk: Arc::new(MemoryDisk::default()),
        net: Arc::new(OsNet::bind(None, BTreeMap::new()).expect("nothing is bound")),
        seed: Arc::new(OsSeed::new().expect("this machine has entropy")),
        cpu: Arc::new(Machine),
        probe: Arc::new(Machine),
    };
    let stand_ins = [
        ("feed".to_owned(), StandIn::Source(Box::new(Load { feed: feed.clone(), next: 1 }))),
        ("out".to_owned(), StandIn::Sink(Box::new(Count(feed.clone())))),
    ];
    EngineOptions {
        files: env.disk.clone(),
        env,
        plan: plan(),
        channels: Vec::new(),
        registry: seaworthy::std_registry(),
        stand_ins: stand_ins.into(),
        journal: JournalOptions::new("graph"),
        in_flight_max: IN_FLIGHT_MAX,
        park: false,
    }
}

fn plan() -> Plan {
    let loaded = load_any("graph.yaml", &|_| Ok(GRAPH.to_owned()), &seaworthy::std_registry(), Phase::Run);
    match loaded.planned {
        Some(Planned::Graph(plan)) => plan,
        _ => panic!("the graph is wrong: {:?}", loaded.diagnostics),
    }
}

/// What the measuring side and the graph's two ends tell each other.
#[derive(Default)]
struct Feed {
    asked: AtomicU64,
    settled: AtomicU64,
    delivered: AtomicU64,
    more: Notify,
    done: Notify,
}

impl Acks for Feed {
    fn settled(&self, seqs: &[Seq]) {
        let settled = self.settled.fetch_add(seqs.len() as u64, Ordering::Relaxed) + seqs.len() as u64;
        if settled == self.asked.load(Ordering::Relaxed) {
            self.done.notify_one();
        }
    }
}

struct Load {
    feed: Arc<Feed>,
    next: u64,
}

impl Source for Load {
    fn start(&mut self, _: Resume) -> Fut<'_, Result<(), NodeError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn next(&mut self, max: usize) -> Fut<'_, Result<Option<Vec<Entry>>, NodeError>> {
        Box::pin(async move {
            let asked = loop {
                let asked = self.feed.asked.load(Ordering::Relaxed);
                if asked >= self.next {
                    break asked;
                }
                self.feed.more.notified().await;
            };
            let entries: Vec<Entry> = (self.next..=asked).take(max.min(BATCH)).map(entry).collect();
            self.next += entries.len() as u64;
            Ok(Some(entries))
        })
    }

    fn acks(&self) -> Option<Arc<dyn Acks>> {
        Some(self.feed.clone())
    }
}

struct Count(Arc<Feed>);

impl Sink for Count {
    fn write<'a>(&'a mut self, batch: &'a [Packet]) -> Fut<'a, Vec<Result<(), NodeError>>> {
        let bytes: usize = batch.iter().map(|packet| packet.payload.len()).sum();
        self.0.delivered.fetch_add(black_box((batch.len(), bytes)).0 as u64, Ordering::Relaxed);
        Box::pin(std::future::ready(vec![Ok(()); batch.len()]))
    }
}

/// Computation costs time by itself; nobody listens.
struct Machine;

impl Cpu for Machine {
    fn charge(&self, _: Work<'_>, _: u32, _: u64) -> Option<Fut<'static, ()>> {
        None
    }
}

impl Probe for Machine {
    fn on(&self, _: &[Event]) {}

    fn hears(&self) -> bool {
        false
    }
}

/// The same packets, in batches over one hop of tokio's mpsc on one thread; the receiver reads one field of each.
pub struct Bare(Runtime);

impl Bare {
    /// Nothing runs yet.
    pub fn start() -> Bare {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        Bare(runtime.expect("this machine has a runtime"))
    }

    /// Sends `packets` through a channel, and returns once the receiver has read them all.
    pub fn carry(&self, packets: u64) {
        self.0.block_on(async {
            let (sender, mut receiver) = mpsc::channel::<Vec<Packet>>(CHANNEL_BATCHES);
            let receiving = tokio::spawn(async move {
                let mut sum = 0;
                while let Some(batch) = receiver.recv().await {
                    sum += batch.iter().map(|packet| packet.ts).sum::<i64>();
                }
                sum
            });
            let mut numbers = 1..=packets;
            loop {
                let batch: Vec<Packet> = numbers.by_ref().take(BATCH).map(packet).collect();
                if batch.is_empty() {
                    break;
                }
                sender.send(batch).await.expect("the receiver waits for all");
            }
            drop(sender);
            black_box(receiving.await.expect("the receiver only adds"));
        });
    }
}

/// What the graph makes of an entry as it comes in.
fn packet(number: u64) -> Packet {
    let pseq = Seq(number);
    entry(number).draft.into_packet(Identity::Entered { producer: ProducerId(1), epoch: Epoch(1), pseq })
}
