//! What was measured, round by round, and the ratios that come of it.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::{LARGE, WINDOWS};

/// One figure: who takes the packets, and how many may be on their way. Ordered as the table shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cell {
    Raw(usize),
    Journal(usize),
    /// Transactions of so many packets, two on their way.
    JournalBatch(usize),
    Lane(usize),
    Nats(usize),
    /// Atomic batches.
    NatsBatch(usize),
    Redis(usize),
    Sqlite(usize),
    Graph,
    Mpsc,
}

impl Cell {
    /// Its row of the table, and its column; the last two have one figure only.
    fn place(self) -> (&'static str, Option<usize>) {
        match self {
            Cell::Raw(window) => ("raw pwrite + fdatasync", Some(window)),
            Cell::Journal(window) => ("journal, in process", Some(window)),
            Cell::JournalBatch(batch) => ("journal, two transactions", Some(batch)),
            Cell::Lane(window) => ("journal behind the lane", Some(window)),
            Cell::Nats(window) => ("NATS, single publishes", Some(window)),
            Cell::NatsBatch(window) => ("NATS, atomic batches", Some(window)),
            Cell::Redis(window) => ("Redis streams", Some(window)),
            Cell::Sqlite(window) => ("SQLite, a window a commit", Some(window)),
            Cell::Graph => ("graph: filter, map", None),
            Cell::Mpsc => ("tokio mpsc, one hop", None),
        }
    }

    /// The name in the JSON file.
    pub(super) fn key(self) -> String {
        match self {
            Cell::Raw(window) => format!("raw_w{window}"),
            Cell::Journal(window) => format!("journal_w{window}"),
            Cell::JournalBatch(batch) => format!("journal_batch{batch}"),
            Cell::Lane(window) => format!("lane_w{window}"),
            Cell::Nats(window) => format!("nats_w{window}"),
            Cell::NatsBatch(window) => format!("nats_batch_w{window}"),
            Cell::Redis(window) => format!("redis_w{window}"),
            Cell::Sqlite(window) => format!("sqlite_w{window}"),
            Cell::Graph => "graph".to_owned(),
            Cell::Mpsc => "mpsc".to_owned(),
        }
    }
}

/// What must come out, by name: ours, what it is held against (the better of several), and the least that was asked for.
const RATIOS: [(&str, Cell, &[Cell], f64); 8] = [
    ("journal_vs_raw_batch1", Cell::Journal(1), &[Cell::Raw(1)], 0.85),
    ("journal_vs_raw_batch256", Cell::JournalBatch(LARGE), &[Cell::Raw(LARGE)], 0.7),
    ("lane_vs_nats_w1", Cell::Lane(1), &[Cell::Nats(1)], 1.0),
    ("lane_vs_nats_w64", Cell::Lane(64), &[Cell::Nats(64), Cell::NatsBatch(64)], 1.0),
    ("lane_vs_nats_w1024", Cell::Lane(1024), &[Cell::Nats(1024), Cell::NatsBatch(1024)], 1.0),
    ("lane_vs_redis_w64", Cell::Lane(64), &[Cell::Redis(64)], 1.0),
    ("lane_vs_redis_w1024", Cell::Lane(1024), &[Cell::Redis(1024)], 1.0),
    ("graph_vs_mpsc", Cell::Graph, &[Cell::Mpsc], 0.2),
];

/// Packets a second, all measured within the same minute.
#[derive(Default)]
pub(super) struct Round {
    pub(super) rates: BTreeMap<Cell, f64>,
}

impl Round {
    /// Ours over theirs; `None` where either was not measured.
    fn ratio(&self, ours: Cell, theirs: &[Cell]) -> Option<f64> {
        let better = theirs.iter().filter_map(|cell| self.rates.get(cell)).copied().reduce(f64::max)?;
        Some(self.rates.get(&ours)? / better)
    }
}

/// All rounds.
#[derive(Default)]
pub(super) struct Figures {
    pub(super) rounds: Vec<Round>,
}

impl Figures {
    /// Each ratio that was measured, the median of the rounds, with the least and the greatest.
    fn ratios(&self) -> Vec<(&'static str, f64, [f64; 3])> {
        let of = |(name, ours, theirs, wanted): (&'static str, Cell, &[Cell], f64)| {
            let ratios = self.rounds.iter().filter_map(|round| round.ratio(ours, theirs));
            Some((name, wanted, spread(ratios.collect())?))
        };
        RATIOS.into_iter().filter_map(of).collect()
    }

    /// Ratios first, then packets a second.
    pub(super) fn text(&self) -> String {
        let mut out =
            format!("ratios, ours ÷ theirs in packets/s: median of {} rounds (least to greatest)\n", self.rounds.len());
        for (name, wanted, [least, median, greatest]) in self.ratios() {
            let verdict = if median >= wanted { "" } else { "  BELOW" };
            let line =
                writeln!(out, "  {name:<24} {median:>6.2}  ({least:.2} to {greatest:.2})  wanted {wanted:.2}{verdict}");
            line.expect("text grows");
        }
        let mut rows: BTreeMap<Cell, [f64; 3]> = BTreeMap::new();
        for cell in self.rounds.iter().flat_map(|round| round.rates.keys()) {
            let rates = self.rounds.iter().filter_map(|round| round.rates.get(cell)).copied().collect();
            rows.extend(spread(rates).map(|rates| (*cell, rates)));
        }
        out += "packets/s, 1 KiB, acknowledged = durable: medians\n";
        let columns: Vec<usize> = {
            let mut columns: Vec<usize> = WINDOWS.into_iter().chain([LARGE]).collect();
            columns.sort_unstable();
            columns
        };
        let heads = columns.iter().map(|window| format!("{window:>10}")).collect::<String>();
        out += &format!("  {:<28}{heads}\n", "window");
        let mut names: Vec<&str> = Vec::new();
        names.extend(rows.keys().map(|cell| cell.place().0));
        names.dedup();
        for name in names {
            let rate = |wanted: Option<usize>| {
                let found = rows.iter().find(|(cell, _)| cell.place() == (name, wanted));
                found.map_or_else(String::new, |(_, [_, median, _])| format!("{median:.0}"))
            };
            let figures: String = match rate(None) {
                alone if alone.is_empty() => {
                    columns.iter().map(|window| format!("{:>10}", rate(Some(*window)))).collect()
                }
                alone => format!("{alone:>10}  (256 B, in memory)"),
            };
            out += format!("  {name:<28}{figures}").trim_end();
            out.push('\n');
        }
        out
    }

    /// `{"ratios": {…}, "rounds": [{"ratios": {…}, "packets_per_s": {…}}, …]}`.
    pub(super) fn json(&self) -> String {
        let ratios: Map<String, Value> =
            self.ratios().into_iter().map(|(name, _, [_, median, _])| (name.to_owned(), json!(median))).collect();
        let round = |round: &Round| {
            let of = |(name, ours, theirs, _): (&str, Cell, &[Cell], f64)| {
                Some((name.to_owned(), json!(round.ratio(ours, theirs)?)))
            };
            let ratios: Map<String, Value> = RATIOS.into_iter().filter_map(of).collect();
            let rates: Map<String, Value> = round.rates.iter().map(|(cell, rate)| (cell.key(), json!(rate))).collect();
            json!({"ratios": ratios, "packets_per_s": rates})
        };
        let rounds: Vec<Value> = self.rounds.iter().map(round).collect();
        format!("{:#}\n", json!({"ratios": ratios, "rounds": rounds}))
    }
}

/// The least, the median and the greatest; `None` of nothing.
fn spread(mut values: Vec<f64>) -> Option<[f64; 3]> {
    values.sort_by(f64::total_cmp);
    let (least, greatest) = (*values.first()?, *values.last()?);
    let middle = values.len() / 2;
    let median = if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
    Some([least, median, greatest])
}
