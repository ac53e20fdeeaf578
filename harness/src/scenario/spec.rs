//! The keys of a scenario file, as text: its shape, without its meaning. `docs/schema/scenario.v1.schema.json` and the
//! reader both come from the lists below.

use serde_spanned::Spanned;
use toml::de::DeValue;

use super::error::{ScenarioError, span};
use super::shape::{Apart, Count, Field, Named, Place, Reader, Scalar, Section, Share, Text, Wanted, section};
use super::sources::Sources;

section! {
    /// A scenario: a graph, a load, faults, and what is expected of them.
    File {
        /// Why this scenario exists, in one sentence: what a failure of it would mean.
        "why" => why: Wanted<Text>,
        /// Another scenario, which this one changes: tables are merged key by key, anything else here replaces what is there, `false` takes it out. Relative to this file.
        "extends" => extends: Option<Apart<Text>>,
        /// A scenario for each combination: keys such as `"faults.cut.for"`, each with a list of values.
        "matrix" => matrix: Option<Apart<serde_json::Map<String, serde_json::Value>>>,
        /// The process graph (`version: 1`) or graph (`version: 2`) to run. Relative to this file.
        "graph" => graph: Wanted<Text>,
        /// What enters: one load in place, or `[load.NAME]` tables.
        "load" => load: Wanted<Loads>,
        /// What the system under test promises; what is not written has the strict default.
        "promise" => promise: Option<Wanted<PromiseText>>,
        /// Virtual time.
        "sim" => sim: Option<Wanted<SimText>>,
        /// What nodes cost: a file that `seaworthy calibrate` wrote. Relative to this file. Default: a guess at a small edge machine.
        "cpu" => cpu: Option<Text>,
        /// Nodes whose plugins this binary doesn't hold, by address (`"edge.camera"`): what each costs, and what comes out of it.
        "stand_in" => stand_in: Named<StandInText>,
        /// How the engine runs: small sizes meet in seconds what large ones meet in days.
        "engine" => engine: Option<Wanted<EngineText>>,
        /// Which seeds each tier runs.
        "seeds" => seeds: Option<Wanted<SeedsText>>,
        /// What goes wrong, by name.
        "faults" => faults: Named<FaultText>,
        /// What must hold, each as `"what" = "limit"`, such as `"latency.p99 @steady" = "<= 400ms"`.
        "expect" => expect: Named<Text>,
        /// What must be reached at least once over a set of seeds; else the set proved nothing.
        "sometimes" => sometimes: Vec<SometimesText>,
    }
}

section! {
    /// What enters by one source, and when.
    LoadText {
        /// The source that takes the load, as `host.node`.
        "into" => into: Text,
        /// Evenly spaced events, such as `200/s`; short for `arrival = "constant(200/s)"`.
        "rate" => rate: Option<Text>,
        /// When events come: `constant(200/s)`, `poisson(200/s)`, `stages(100/s for 10s, 400/s for 5s)` or `trace(speed = 600)`.
        "arrival" => arrival: Option<Text>,
        /// A file of JSON lines, each with `id` and (in ms since 1970) `time`. Relative to this file.
        "rows" => rows: Option<Text>,
        /// Begin the rows again when they end: ids become `<id>#<lap>`, times move on by the file's span. Default `false`: the load ends with its rows.
        "repeat" => repeat: Option<bool>,
        /// The field whose value is the packet's key, for order by key. Default: packets have no key.
        "key" => key: Option<Text>,
        /// The field of the template whose value is the packet's business key. Default: packets have none.
        "business_key" => business_key: Option<Text>,
        /// A template instead of rows: constants, `key(N)` (one of N names), `uniform(A, B)` (a number).
        "json" => json: Option<Named<Scalar>>,
        /// Opaque payloads instead of rows: a size such as `512`, or `uniform(200, 2000)`.
        "bytes" => bytes: Option<Text>,
    }
}

section! {
    /// What runs in place of a node whose plugin this binary doesn't hold. Empty for a source, which its load replaces, and for a sink.
    StandInText {
        /// How long it works on each packet, on a core: `8ms`, `lognormal(p50 = 8ms, p99 = 40ms)`. Default: what any node costs.
        "service" => service: Option<Text>,
        /// Packets out for each packet in, on average: from 0 to 100. Default `1`.
        "output" => output: Option<Scalar>,
        /// What comes out, as the template of a load. Default: what went in.
        "json" => json: Option<Named<Scalar>>,
        /// What comes out, as bytes of a size: `512`, or `uniform(200, 2000)`. Default: what went in.
        "bytes" => bytes: Option<Text>,
    }
}

section! {
    /// What the system under test promises.
    PromiseText {
        /// `at-least-once`, the default.
        "delivery" => delivery: Option<Text>,
        /// `per-key` (the default) or `none`.
        "ordering" => ordering: Option<Text>,
        /// Sinks, as `host.node`, whose outside system takes equal ids for one effect.
        "idempotent" => idempotent: Vec<Text>,
        /// Named rules that may drop, each with its limit, such as `"inbox.drop_new" = "<= 0.1%"`.
        "drops" => drops: Named<Text>,
        /// Most packets that may wait inside the system at once. Default 50000.
        "backlog" => backlog: Option<Count>,
        /// Most bytes that a host's disk may hold, such as `8MiB`. Default `60MiB`.
        "disk" => disk: Option<Text>,
    }
}

section! {
    /// Virtual time.
    SimText {
        /// How long the load lasts; then everything heals and the system must drain. Default `60s`.
        "duration" => duration: Option<Text>,
        /// How long latency is not judged. Default `5s`.
        "warmup" => warmup: Option<Text>,
        /// The simulated network's step: whole milliseconds. Default `1ms`.
        "tick" => tick: Option<Text>,
    }
}

section! {
    /// How the engine runs, where not as in every simulation.
    EngineText {
        /// A segment of a journal: at least four frames. Default `1MiB`, or what the largest payloads need.
        "segment" => segment: Option<Text>,
        /// The largest frame of a journal, from `4KiB`; what twice the largest payload needs is taken where that is more. Default `256KiB`.
        "frame" => frame: Option<Text>,
        /// Packets that a process may have in its nodes. Default 4096.
        "in_flight" => in_flight: Option<Count>,
        /// When a commit counts: `sync`; `interval:MS`, which a power cut may cost what was confirmed in its last milliseconds; or `os`, what was confirmed since the last sync. That is judged as `lost.window`. Default `sync`.
        "durability" => durability: Option<Text>,
        /// Its sources end with the load, as a file does: what has no other input then ends by itself once all is delivered. Default false.
        "ends" => ends: Option<bool>,
        /// So long segments are kept for replays, as `run --retain` does; what is missing breaks `journal.sound`. Default none.
        "retain" => retain: Option<Text>,
        /// So many bytes of segments are kept for replays, as `run --retain-bytes` does. Default none.
        "retain_bytes" => retain_bytes: Option<Text>,
    }
}

section! {
    /// Which seeds each tier runs; both ends are included.
    SeedsText {
        /// Of a pull request. Default `1..8`.
        "pr" => pr: Option<Text>,
        /// Of a release. Default `1..64`.
        "release" => release: Option<Text>,
    }
}

section! {
    /// Something that goes wrong. Which of the keys below `repeat` a kind takes is in docs/scenario.md.
    FaultText {
        /// What goes wrong, such as `net.cut`.
        "kind" => kind: Text,
        /// Where, such as `edge<->hub`, `edge->hub`, `hub`, `hub.raw`, `edge.uplink`.
        "on" => on: Text,
        /// It begins at this virtual time.
        "at" => at_time: Option<Text>,
        /// It begins and ends somewhere in this window, by the seed: `10s..50s`.
        "within" => within: Option<Text>,
        /// It begins when this first holds: `edge.uplink.backlog > 200`.
        "when" => when: Option<Text>,
        /// How likely a seed has it at all. Default `1`.
        "chance" => chance: Option<Share>,
        /// How many times: with `at`, `every` apart; with `within`, once in each equal part of the window. Default `1`.
        "repeat" => repeat: Option<Count>,
        /// With `at` and `repeat`: from one beginning to the next.
        "every" => every: Option<Text>,
        /// How long it lasts: `8s`, `uniform(1s, 5s)`. Default: to the end of the load.
        "for" => lasts: Option<Text>,
        /// How much later: a distribution of durations.
        "add" => add: Option<Text>,
        /// Which share of acks, operations, segments, packets, batches or events.
        "ratio" => ratio: Option<Share>,
        /// How fast bytes move: `2Mbit/s`, `250KiB/s`.
        "rate" => rate: Option<Text>,
        /// How many bytes: `8MiB`.
        "bytes" => bytes: Option<Text>,
        /// By how much a clock is off: `90s`, `-90s`; how much too fast it runs: `200ppm`, `-5%`.
        "by" => by: Option<Text>,
        /// After so many operations of the disk since the boot, instead of `up`.
        "operation" => operation: Option<Count>,
        /// Which disk operations fail: `read`, `write`, `sync`.
        "op" => op: Option<Text>,
        /// How long it is up: a distribution of durations.
        "up" => up: Option<Text>,
        /// How long it is down: a distribution of durations.
        "down" => down: Option<Text>,
        /// How long a host stays down before it starts again. Default `1s`.
        "restart" => restart: Option<Text>,
        /// Power cuts instead of SIGKILLs. Default `false`.
        "power" => power: Option<bool>,
        /// The newest frame that may rot, instead of one near the middle. Default `false`.
        "newest" => newest: Option<bool>,
    }
}

section! {
    /// Something that must be reached at least once.
    SometimesText {
        /// The condition, such as `at(crash).backlog > 200`.
        "that" => that: Text,
    }
}

/// Top-level keys that the format has and this version refuses.
const LATER: [&str; 1] = ["policies"];

/// One load in place, or several by name.
#[derive(Clone, Debug, schemars::JsonSchema)]
#[schemars(untagged)]
pub enum Loads {
    /// `load = { into = …, rate = … }`.
    One(Box<LoadText>),
    /// `[load.NAME]`.
    Many(Named<LoadText>),
}

impl Loads {
    /// Each load with its name; the one in place is called `load`.
    #[must_use]
    pub fn named(self) -> Vec<(String, LoadText)> {
        match self {
            Loads::One(load) => vec![("load".to_owned(), *load)],
            Loads::Many(Named(loads)) => {
                loads.into_iter().filter_map(|(name, load)| Some((name.value, load?))).collect()
            }
        }
    }
}

impl Field for Loads {
    fn read(reader: &mut Reader, found: Option<&Spanned<DeValue<'_>>>, place: Place<'_>) -> Option<Self> {
        let Some(found) = found else {
            reader.missing(
                place,
                "add `load = { into = \"edge.feed\", rate = \"200/s\", rows = \"data/quakes.ndjson\" }`".to_owned(),
            );
            return None;
        };
        let many = found.get_ref().as_table().is_some_and(|table| {
            !table.is_empty() && table.iter().all(|(key, value)| value.get_ref().is_table() && key.get_ref() != "json")
        });
        if many {
            return Named::read(reader, Some(found), place).map(Loads::Many);
        }
        LoadText::read(reader, Some(found), place).map(|load| Loads::One(Box::new(load)))
    }
}

/// Reads a scenario's shape. With errors there may still be a `File`, without what was wrong.
pub(super) fn read(sources: &Sources) -> (Option<File>, Vec<ScenarioError>) {
    let mut table = match sources.tree() {
        Ok(table) => table,
        Err(errors) => return (None, errors),
    };
    let mut reader = Reader::default();
    for later in LATER {
        if let Some((key, _)) = table.remove_entry(later) {
            let help = format!("take `{later}` out; the rest of the file can run without it");
            reader.errors.push(ScenarioError::NotInThisVersion {
                what: format!("`{later}`"),
                at: span(&key.span()),
                help,
            });
        }
    }
    let file = File::read_table(&mut reader, &table, "the scenario", &(0..0));
    (file, reader.errors)
}
