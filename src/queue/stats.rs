//! Adds up what the segments of a journal hold.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use seaworthy_engine::journal::frame::HEADER;
use seaworthy_engine::journal::reader::{Finding, Frame, Step};
use seaworthy_engine::journal::record::Record;
use serde::Serialize;

use super::{Findings, QueueError, mib, reader, unreadable};
use crate::exit::Exit;
use crate::show;

#[derive(Default, Serialize)]
struct Stats {
    process: String,
    /// Segments in use.
    segments: u64,
    frames: u64,
    /// Frames that only confirm the ones before them.
    marks: u64,
    /// Frames of small state.
    state_frames: u64,
    /// Bytes of all frames, with the padding to whole sectors.
    frame_bytes: u64,
    /// Bytes of the packets in them.
    payload_bytes: u64,
    /// Bytes written for each byte of a packet, over what the segments still hold; nothing without packets.
    wear: Option<f64>,
    records: BTreeMap<&'static str, Kind>,
    /// When the oldest and the newest frame were built, ns since 1970 UTC.
    first_unix_ns: Option<i64>,
    last_unix_ns: Option<i64>,
    first_lsn: Option<u64>,
    next_lsn: u64,
    /// What is wrong, in words.
    findings: Vec<String>,
}

#[derive(Default, Serialize)]
struct Kind {
    count: u64,
    bytes: u64,
}

pub(super) async fn run(dir: &Path, json: bool) -> Result<Exit, QueueError> {
    let mut reader = reader(dir).await?;
    let (mut stats, mut findings) = (Stats::default(), Findings::default());
    while let Some(step) = reader.next().await.map_err(unreadable(dir))? {
        match step {
            Step::Footer(_) => {}
            Step::Finding(finding) => findings.add(finding),
            Step::Frame(frame) => stats.add(&frame, &mut findings),
        }
    }
    stats.process = reader.process().to_owned();
    (stats.segments, stats.next_lsn) = (reader.segments(), reader.next_lsn().0);
    stats.wear = (stats.payload_bytes > 0).then(|| stats.frame_bytes as f64 / stats.payload_bytes as f64);
    stats.findings = findings.lines();
    if json {
        return Ok(show::json(&stats).and(findings.exit()));
    }
    findings.tell();
    Ok(show::report(&text(&stats)).and(findings.exit()))
}

impl Stats {
    fn add(&mut self, frame: &Frame, findings: &mut Findings) {
        let header = &frame.header;
        self.frames += 1;
        self.marks += u64::from(header.len as usize == HEADER);
        self.state_frames += u64::from(header.is_state);
        self.frame_bytes += header.padded();
        self.first_unix_ns = self.first_unix_ns.or(Some(header.time));
        self.last_unix_ns = Some(header.time);
        self.first_lsn = self.first_lsn.or(Some(header.base.0));
        for record in frame.records() {
            match record {
                Ok((_, record)) => {
                    let kind = self.records.entry(record.kind()).or_default();
                    kind.count += 1;
                    kind.bytes += record.size() as u64;
                    if let Record::Append { packet, .. } = &record {
                        self.payload_bytes += packet.len() as u64;
                    }
                }
                Err(error) => findings.add(Finding::Unreadable { at: frame.at, why: error.to_string() }),
            }
        }
    }
}

fn text(stats: &Stats) -> String {
    let mut text = String::new();
    let mut line = |name: &str, rest: String| {
        writeln!(text, "{name:<14} {rest}").expect("writing to a String can't fail");
    };
    line("process", stats.process.clone());
    line("segments", stats.segments.to_string());
    let (frames, marks, state) = (stats.frames, stats.marks, stats.state_frames);
    line("frames", format!("{frames}, {}; {marks} marks, {state} of small state", mib(stats.frame_bytes)));
    line("packets", mib(stats.payload_bytes));
    line("wear", stats.wear.map_or_else(|| "-".to_owned(), |wear| format!("{wear:.2} bytes a byte of packets")));
    line("LSN", format!("{} to {}", stats.first_lsn.unwrap_or(0), stats.next_lsn));
    if let (Some(first), Some(last)) = (stats.first_unix_ns, stats.last_unix_ns) {
        line("time", format!("{:.1} s from the first frame to the last", (last - first) as f64 / 1e9));
    }
    for (kind, Kind { count, bytes }) in &stats.records {
        line(kind, format!("{count}, about {}", mib(*bytes)));
    }
    text
}
