//! What one packet of 1 KiB costs until it is durable: the disk alone, our journal, our journal behind a lane, and the
//! servers that others use for it, all in the same minute and in several rounds. `cargo ci peers` runs it.
#![expect(
    clippy::disallowed_methods,
    reason = "a bench measures wall time; the peers' disks, sockets and processes are outside of the engine's seam"
)]

mod figures;
mod journal;
mod lane;
mod nats;
mod raw;
mod redis;
mod server;
mod sqlite;
#[path = "../stream/mod.rs"]
mod stream;
mod wire;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Parser;

use figures::{Cell, Figures, Round};
use server::Servers;
use stream::{BATCH, Bare, Graph};

/// A packet, bytes.
const PACKET_BYTES: usize = 1024;
/// Most packets that are sent and not acknowledged, one column each.
const WINDOWS: [usize; 3] = [1, 64, 1024];
/// The batch at which the journal is held against the disk.
const LARGE: usize = 256;
/// Time before the count begins, for connections and caches.
const WARM_UP: Duration = Duration::from_millis(100);

/// Measures the journal and the lane beside their peers.
#[derive(Parser)]
struct Options {
    /// The nats-server to measure; without it its rows and ratios are absent.
    #[arg(long)]
    nats: Option<PathBuf>,
    /// The redis-server to measure; without it its rows and ratios are absent.
    #[arg(long)]
    redis: Option<PathBuf>,
    /// How often everything is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// How long each figure is measured, ms.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    time_ms: u64,
    /// Measures only the figures whose name in the JSON file begins so, e.g. `lane`.
    #[arg(long, default_value = "")]
    only: String,
    /// Writes ratios and rounds here, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// What cargo says to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Takes packets and tells when they are durable.
trait Contender {
    /// Sends packets for `time`, never more than `window` of them unacknowledged, and waits for the last; gives how many
    /// were acknowledged.
    fn carry(&mut self, window: usize, time: Duration) -> Result<u64, Box<dyn Error>>;
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    // On the disk that the build is on: a directory for temporary files is often only memory.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let servers = Servers::guarded(dir.path())?;
    let bench = Bench { options: &options, dir: dir.path(), servers: &servers };
    let mut figures = Figures::default();
    for number in 0..options.rounds {
        eprintln!("round {} of {}", number + 1, options.rounds);
        figures.rounds.push(bench.round(number)?);
    }
    print!("{}", figures.text());
    if let Some(path) = &options.json {
        std::fs::write(path, figures.json())?;
    }
    Ok(())
}

struct Bench<'a> {
    options: &'a Options,
    dir: &'a Path,
    servers: &'a Servers,
}

impl Bench<'_> {
    /// Everything once; every other round the other way round, so that a machine that slows down favours nobody.
    fn round(&self, number: u32) -> Result<Round, Box<dyn Error>> {
        let mut cells = Vec::new();
        for window in WINDOWS {
            cells.extend([Cell::Raw(window), Cell::Journal(window), Cell::Lane(window)]);
            if self.options.nats.is_some() {
                cells.push(Cell::Nats(window));
                // A batch of one is a single packet.
                cells.extend((window > 1).then_some(Cell::NatsBatch(window)));
            }
            cells.extend(self.options.redis.is_some().then_some(Cell::Redis(window)));
            cells.push(Cell::Sqlite(window));
        }
        cells.extend([Cell::Raw(LARGE), Cell::JournalBatch(LARGE), Cell::Graph, Cell::Mpsc]);
        cells.retain(|cell| cell.key().starts_with(&self.options.only));
        if number % 2 == 1 {
            cells.reverse();
        }
        let mut round = Round::default();
        for cell in cells {
            let rate = self.rate(cell).map_err(|error| format!("{cell:?}: {error}"))?;
            round.rates.insert(cell, rate);
        }
        Ok(round)
    }

    /// Packets a second. Each figure has servers and files of its own, which are gone afterwards.
    fn rate(&self, cell: Cell) -> Result<f64, Box<dyn Error>> {
        let dir = tempfile::tempdir_in(self.dir)?;
        let missing = "a cell of a server is only made where there is one";
        let (mut contender, window): (Box<dyn Contender>, usize) = match cell {
            Cell::Raw(window) => (Box::new(raw::Raw::create(dir.path())?), window),
            Cell::Journal(window) => (Box::new(journal::Appends::open(dir.path(), 1)?), window),
            Cell::JournalBatch(batch) => (Box::new(journal::Appends::open(dir.path(), batch)?), 2 * batch),
            Cell::Lane(window) => (Box::new(lane::Lane::connect(dir.path())?), window),
            Cell::Nats(window) | Cell::NatsBatch(window) => {
                let program = self.options.nats.as_deref().expect(missing);
                let nats = nats::Nats::start(program, dir.path(), self.servers, matches!(cell, Cell::NatsBatch(_)))?;
                (Box::new(nats), window)
            }
            Cell::Redis(window) => {
                let program = self.options.redis.as_deref().expect(missing);
                (Box::new(redis::Redis::start(program, dir.path(), self.servers)?), window)
            }
            Cell::Sqlite(window) => (Box::new(sqlite::Sqlite::create(dir.path())?), window),
            Cell::Graph => (Box::new(Graph::start()), BATCH),
            Cell::Mpsc => (Box::new(Bare::start()), BATCH),
        };
        contender.carry(window, WARM_UP)?;
        let began = Instant::now();
        let acknowledged = contender.carry(window, Duration::from_millis(self.options.time_ms))?;
        let seconds = began.elapsed().as_secs_f64();
        assert!(acknowledged > 0, "{cell:?} acknowledged nothing");
        Ok(acknowledged as f64 / seconds)
    }
}

/// Packets of the in-memory graph between two looks at the clock.
const GRAPH_PACKETS: u64 = 64 * BATCH as u64;

impl Contender for Graph {
    fn carry(&mut self, _: usize, time: Duration) -> Result<u64, Box<dyn Error>> {
        let packets = until(time, || Graph::carry(self, GRAPH_PACKETS));
        assert!(self.delivered() > 0, "the sink took packets");
        Ok(packets)
    }
}

impl Contender for Bare {
    fn carry(&mut self, _: usize, time: Duration) -> Result<u64, Box<dyn Error>> {
        Ok(until(time, || Bare::carry(self, GRAPH_PACKETS)))
    }
}

fn until(time: Duration, carry: impl Fn()) -> u64 {
    let began = Instant::now();
    let mut packets = 0;
    while began.elapsed() < time {
        carry();
        packets += GRAPH_PACKETS;
    }
    packets
}
