//! The witness of a real run: it stands between an engine and its own sources and sinks, and writes down what each brings and takes.
//!
//! ```text
//! source ──► Witness ──► engine ──► sink ──► Witness     Each record is in its file before whoever it tells of can
//!               ▲           │ probe            │         go on. So a process that is killed takes nothing with it
//!               └───────────┴──────────────────┘         that anybody had seen.
//! ```
//!
//! A process writes a file of its own in each of its lives. [`books::read`] puts them together when the run is over.
#![expect(clippy::disallowed_methods, reason = "it writes beside the engine, on the machine that is measured")]

pub mod books;
mod endpoints;
mod record;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use seaworthy_engine::env::Probe;
use seaworthy_engine::graph::Role;
use seaworthy_engine::node::{Entry, NodeContext, RegistryError};
use seaworthy_engine::observe::{Event, What};
use seaworthy_engine::packet::{Identity, Packet, Seq};
use seaworthy_engine::runtime::{EngineOptions, StandIn};

use crate::real::cpu_ns;
use endpoints::{SeenSink, SeenSource};
use record::{Record, Taken};

/// Events that the sources of one process bring in before its witness has seen enough.
pub const EVENTS_MAX: u64 = 100_000;
/// Packets that its sinks take.
const TAKEN_MAX: u64 = 4 * EVENTS_MAX;
/// Bytes of its file.
const BYTES_MAX: u64 = 256 << 20;

/// What one life of a process writes down.
pub struct Witness {
    /// It has seen enough, or can't write.
    is_done: AtomicBool,
    book: Mutex<Book>,
}

struct Book {
    file: File,
    path: PathBuf,
    brought: u64,
    taken: u64,
    bytes: u64,
}

impl Witness {
    /// Begins a life of `process`, in a file of its own in `dir`.
    ///
    /// # Errors
    /// When the file can't be made.
    pub fn begin(dir: &Path, process: &str) -> io::Result<Arc<Witness>> {
        let at_ns = now_ns();
        let path = dir.join(format!("{process}.{at_ns}"));
        let file = File::create_new(&path)?;
        let witness = Witness {
            is_done: AtomicBool::new(false),
            book: Mutex::new(Book { file, path, brought: 0, taken: 0, bytes: 0 }),
        };
        witness.write(|at_ns| vec![Record::Began { at_ns, process: process.into() }]);
        Ok(Arc::new(witness))
    }

    /// The sources and sinks of an engine, each as it is, with this witness beside it.
    ///
    /// # Errors
    /// When one can't be built.
    pub fn beside(self: &Arc<Self>, options: &EngineOptions) -> Result<BTreeMap<String, StandIn>, RegistryError> {
        let mut seen = BTreeMap::new();
        for node in &options.plan.nodes {
            let context = NodeContext {
                env: options.env.clone(),
                files: options.files.clone(),
                process: options.plan.process.clone(),
                node: node.id.to_string(),
            };
            let (name, witness, config) = (node.id.clone(), self.clone(), node.config.clone());
            let stand_in = match node.role {
                Role::Source => {
                    let inner = options.registry.build_source(&node.plugin, &context, config)?;
                    StandIn::Source(Box::new(SeenSource { inner, node: name, witness }))
                }
                Role::Sink => {
                    let inner = options.registry.build_sink(&node.plugin, &context, config)?;
                    StandIn::Sink(Box::new(SeenSink { inner, node: name, witness }))
                }
                _ => continue,
            };
            seen.insert(node.id.to_string(), stand_in);
        }
        Ok(seen)
    }

    /// This life ends by itself.
    pub fn end(&self) {
        self.write(|at_ns| vec![Record::Ended { at_ns, cpu_ns: cpu_ns() }]);
    }

    fn brought(&self, node: &Arc<str>, entries: &[Entry]) {
        let entry = |entry: &Entry| {
            // The engine gives it another one; the event goes by entry and number.
            let packet = entry.draft.clone().into_packet(Identity::Derived(0));
            (entry.seq, packet.encode())
        };
        self.write(|at_ns| {
            let entries = entries.iter().map(entry).collect();
            vec![Record::Brought { at_ns, node: node.clone(), entries }]
        });
    }

    fn settled(&self, node: &Arc<str>, seqs: &[Seq]) {
        self.write(|at_ns| vec![Record::Settled { at_ns, node: node.clone(), seqs: seqs.to_vec() }]);
    }

    fn took<'a>(&self, node: &Arc<str>, packets: impl Iterator<Item = &'a Packet>) {
        let taken = |packet: &Packet| Taken {
            packet_id: packet.packet_id.to_string(),
            key: packet.key.as_ref().map(ToString::to_string),
            content: packet.payload.clone(),
        };
        self.write(|at_ns| vec![Record::Took { at_ns, node: node.clone(), packets: packets.map(taken).collect() }]);
    }

    /// Writes at once what `records` tells of, in order of time.
    fn write(&self, records: impl FnOnce(u64) -> Vec<Record>) {
        if self.is_done.load(Ordering::Acquire) {
            return;
        }
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = Vec::new();
        for record in records(now_ns()) {
            match &record {
                Record::Brought { entries, .. } => book.brought += entries.len() as u64,
                Record::Took { packets, .. } => book.taken += packets.len() as u64,
                _ => {}
            }
            record.encode(&mut bytes);
        }
        book.bytes += bytes.len() as u64;
        let enough = book.brought > EVENTS_MAX || book.taken > TAKEN_MAX || book.bytes > BYTES_MAX;
        if enough {
            bytes.clear();
            Record::Full { at_ns: now_ns() }.encode(&mut bytes);
        }
        let written = book.file.write_all(&bytes);
        if let Err(error) = &written {
            // What it would tell is not the whole: an empty file says that nothing is known of this life.
            let _ = book.file.set_len(0);
            tracing::warn!(path = %book.path.display(), "could not write down what happens, so the report will have no ledger: {error}");
        }
        if enough || written.is_err() {
            self.is_done.store(true, Ordering::Release);
        }
    }
}

impl Probe for Witness {
    fn on(&self, events: &[Event]) {
        if self.is_done.load(Ordering::Acquire) {
            return;
        }
        self.write(|at_ns| {
            let mut told = Vec::with_capacity(events.len());
            let mut records = Vec::new();
            for event in events {
                match event.what {
                    What::Asserted { id, held } => {
                        records.push(Record::Looked { at_ns, place: event.place.clone(), id: id.to_owned(), held });
                    }
                    _ => told.push(event.clone()),
                }
            }
            records.extend((!told.is_empty()).then_some(Record::Said { at_ns, events: told }));
            records
        });
    }
}

/// Nanoseconds of a clock that all processes of the machine share, and that never goes back.
fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec * 1_000_000_000 + now.tv_nsec).expect("the clock counts from the machine's start")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use seaworthy_engine::node::{Draft, Registry};
    use seaworthy_engine::packet::{ContentType, Kind};
    use seaworthy_reports::run::Fate;

    use super::*;
    use crate::run::{Prepared, Witnessed};

    const GRAPH: &str = "version: 2\nnodes:\n  \
        - {id: feed, kind: source, plugin: \"std:ndjson_source\", config: {path: in}}\n  \
        - {id: odd, kind: node, plugin: \"std:filter\", config: {where: \"payload.n % 2 == 1\"}}\n  \
        - {id: out, kind: sink, plugin: \"std:ndjson_sink\", config: {path: out}}\n\
        edges: [{from: feed, to: odd}, {from: odd, to: out}]\n";
    const SCENARIO: &str = "why = \"a load that nobody asks for\"\ngraph = \"g.yaml\"\nsim = { duration = \"20s\" }\n\
        load = { into = \"g.feed\", rate = \"1/s\", json = { n = 1 } }\n";

    fn prepared() -> Prepared {
        let mut registry = Registry::new();
        seaworthy_engine::nodes::register(&mut registry);
        let read = |path: &str| match path {
            "g.toml" => Ok(SCENARIO.to_owned()),
            "g.yaml" => Ok(GRAPH.to_owned()),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        Prepared::read("g.toml", &read, &registry).expect("the files are well")
    }

    fn entry(n: u64) -> Entry {
        let draft = Draft {
            packet_id: format!("p{n}").into(),
            ts: 0,
            kind: Kind::Event,
            source_id: "s".into(),
            key: Some("k".into()),
            content_type: ContentType::Json,
            payload: format!("{{\"n\":{n}}}").into(),
            meta: BTreeMap::new(),
        };
        Entry { seq: Seq(n), draft, position: Bytes::new() }
    }

    /// What is told of a run in which `take` says what the sink took of five events.
    fn told(is_drained: bool, take: impl Fn(&Witness, &Arc<str>, &[Packet])) -> Witnessed {
        told_of((1..=5).map(entry).collect(), is_drained, take)
    }

    fn told_of(entries: Vec<Entry>, is_drained: bool, take: impl Fn(&Witness, &Arc<str>, &[Packet])) -> Witnessed {
        let dir = tempfile::tempdir().expect("there is room for a folder");
        let witness = Witness::begin(dir.path(), "g").expect("there is room for a file");
        let (feed, out) = (Arc::from("feed"), Arc::from("out"));
        witness.brought(&feed, &entries);
        let packets: Vec<Packet> =
            entries.into_iter().map(|entry| entry.draft.into_packet(Identity::Derived(entry.seq.0.into()))).collect();
        take(&witness, &out, &packets);
        witness.settled(&feed, &(1..=5).map(Seq).collect::<Vec<_>>());
        witness.end();
        prepared().judge_witnessed(dir.path(), is_drained, |_| Ok(Vec::new())).expect("the books balance")
    }

    fn fates(witnessed: &Witnessed) -> Vec<Fate> {
        witnessed.run.events.iter().map(|event| event.fate()).collect()
    }

    fn broken(witnessed: &Witnessed) -> Vec<&str> {
        witnessed.run.violations.iter().map(|broken| broken.check.as_str()).collect()
    }

    #[test]
    fn what_the_sink_did_not_take_is_lost_once_all_is_delivered() {
        let all = told(true, |witness, out, packets| witness.took(out, packets.iter().step_by(2)));
        assert_eq!(fates(&all), [Fate::Visible, Fate::Absorbed, Fate::Visible, Fate::Absorbed, Fate::Visible]);
        assert_eq!(broken(&all), [""; 0]);
        assert!(all.run.cpu_ns.is_some() && !all.is_cut);

        let but_one = |witness: &Witness, out: &Arc<str>, packets: &[Packet]| witness.took(out, packets[..1].iter());
        let lost = told(true, but_one);
        assert_eq!(fates(&lost), [Fate::Visible, Fate::Absorbed, Fate::Lost, Fate::Absorbed, Fate::Lost]);
        assert_eq!(broken(&lost), ["lost", "lost"]);
        // Before that it may only be late.
        assert_eq!(fates(&told(false, but_one))[2], Fate::Unresolved);
    }

    #[test]
    fn what_the_sink_took_beside_or_twice_is_seen() {
        let more = told(true, |witness, out, packets| {
            witness.took(out, packets.iter().step_by(2).chain([&packets[0], &packets[1]]));
        });
        assert_eq!(more.run.events[0].at[0].raw_copies, 2);
        assert_eq!(more.run.unexpected_ns.len(), 1, "the filter lets no even number through");
        assert_eq!(broken(&more), ["unexpected"]);
    }

    #[test]
    fn the_order_within_a_key_is_judged_where_names_tell_events_apart() {
        let turned = |witness: &Witness, out: &Arc<str>, packets: &[Packet]| {
            witness.took(out, packets.iter().step_by(2).rev());
        };
        let all = told(true, turned);
        assert_eq!((broken(&all), all.by_key), (vec!["order.key", "order.key"], true));
        let mut entries: Vec<Entry> = (1..=5).map(entry).collect();
        entries.iter_mut().for_each(|entry| entry.draft.packet_id = "p".into());
        let alike = told_of(entries, true, turned);
        assert_eq!((broken(&alike), alike.by_key), (vec![], false));
        assert_eq!(fates(&alike), fates(&all), "and none is lost");
    }

    #[test]
    fn of_a_life_that_could_not_be_written_down_nothing_is_told() {
        let dir = tempfile::tempdir().expect("there is room for a folder");
        File::create(dir.path().join("g.7")).expect("there is room for a file");
        let told = prepared().judge_witnessed(dir.path(), true, |_| Ok(Vec::new()));
        assert!(told.is_err_and(|error| error.to_string().contains("could not be written down")));
    }
}
