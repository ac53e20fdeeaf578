//! Lists the records of a journal, a line each, in the order in which they were written.

use std::io::{self, Write};
use std::path::PathBuf;

use seaworthy_engine::journal::reader::{Finding, Frame, Step};
use seaworthy_engine::journal::record::{Record, Settle};
use seaworthy_engine::packet::Packet;
use serde_json::json;

use super::export::input_name;
use super::{Findings, QueueError, print, reader};
use crate::exit::Exit;

/// Bytes of a key or value that are shown.
const SHOWN: usize = 40;

#[derive(clap::Args)]
pub(super) struct Args {
    /// A process's data directory.
    dir: PathBuf,
    /// From this LSN on; the small state that an opening or a segment begins with has none, and goes with what follows it.
    #[arg(long, value_name = "LSN", default_value_t = 0)]
    from: u64,
    /// Up to this LSN, without it.
    #[arg(long, value_name = "LSN", default_value_t = u64::MAX, hide_default_value = true)]
    to: u64,
    /// Only what is about this channel; `source/NODE`, `stage/NODE` for what the journal keeps for nodes.
    #[arg(long, value_name = "CHANNEL")]
    channel: Option<String>,
    /// For a program: a document a line.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &Args) -> Result<Exit, QueueError> {
    let input = args.channel.as_deref().map(input_name);
    let reader = reader(&args.dir).await?;
    print(&args.dir, reader, args.to, "write the records", |out, step, findings| match step {
        Step::Frame(frame) => write(out, &frame, args, input.as_deref(), findings),
        Step::Footer(_) | Step::Finding(_) => Ok(()),
    })
    .await
}

fn write(
    out: &mut dyn Write,
    frame: &Frame,
    args: &Args,
    input: Option<&str>,
    findings: &mut Findings,
) -> io::Result<()> {
    let header = &frame.header;
    for record in frame.records() {
        let (lsn, record) = match record {
            Ok(read) => read,
            Err(error) => {
                findings.add(Finding::Unreadable { at: frame.at, why: error.to_string() });
                continue;
            }
        };
        let within = (args.from..args.to).contains(&lsn.unwrap_or(header.base).0);
        if !within || input.is_some_and(|input| input_of(&record) != Some(input)) {
            continue;
        }
        let (kind, words) = (record.kind(), words(&record));
        if args.json {
            let line = json!({
                "lsn": lsn.map(|lsn| lsn.0), "segment": frame.at.segment, "offset": frame.at.offset, "epoch": header.epoch,
                "unix_ns": header.time, "kind": kind, "words": words,
            });
            writeln!(out, "{line}")?;
        } else {
            let lsn = lsn.map_or_else(|| "state".to_owned(), |lsn| lsn.0.to_string());
            let at = format!("{}:{}", frame.at.segment, frame.at.offset);
            writeln!(out, "{lsn:>10}  {at:<14} {kind:<13} {words}")?;
        }
    }
    Ok(())
}

/// The channel, source or stage that a record is about.
fn input_of(record: &Record) -> Option<&str> {
    match record {
        Record::Append { channel, .. } | Record::Moved { channel, .. } => Some(channel),
        Record::Settle(Settle { input, .. }) => Some(input),
        Record::Applied(applied) => Some(&applied.input),
        Record::Producer(producer) => Some(&producer.channel),
        Record::Channel(channel) => Some(&channel.channel),
        Record::Retired(retired) => Some(&retired.input),
        _ => None,
    }
}

fn words(record: &Record) -> String {
    match record {
        Record::Append { channel, seq, packet } | Record::Moved { channel, seq, packet } => {
            format!("{channel} #{seq} {}", packet_words(packet))
        }
        Record::Settle(Settle { input, group, seqs, .. }) => {
            let range = |(from, to): &(_, _)| if from == to { format!("#{from}") } else { format!("#{from}..={to}") };
            let ranges: Vec<String> = seqs.iter().map(range).collect();
            let ranges = if ranges.is_empty() { "nothing yet".to_owned() } else { ranges.join(" ") };
            format!("{input} by {group}: {ranges}")
        }
        Record::Applied(applied) => {
            format!("{} has {} of {} #{}", applied.stage, applied.packet, applied.input, applied.root)
        }
        Record::Put(put) => {
            let value = put.value.as_ref().map_or_else(|| "removed".to_owned(), |value| shown(value));
            format!("{} {} = {value}", put.node, shown(&put.key))
        }
        Record::DeadLetter(letter) | Record::MovedLetter(letter) => {
            let failure = &letter.failure;
            format!("{} {}: {} at {}", letter.identity, failure.class, shown(failure.message.as_bytes()), failure.node)
        }
        Record::Producer(producer) => {
            format!(
                "{} of {}: epoch {}, up to #{}",
                producer.channel, producer.producer, producer.epoch.0, producer.last
            )
        }
        Record::Channel(channel) => format!("{}: up to #{}", channel.channel, channel.last),
        Record::Opened(opened) => format!("epoch {} by {}", opened.epoch, opened.version),
        Record::Quarantined(lost) => format!("{}..{} could not be read", lost.from, lost.to),
        Record::Durable(durability) => durability.to_string(),
        Record::Snapshot(snapshot) => format!("in {} frames", snapshot.frames),
        Record::Retired(retired) => format!("{} by {}", retired.input, retired.group),
        Record::Closed => String::new(),
        // Few, and their fields have names.
        Record::Generation(generation) => format!("{generation:?}"),
        Record::Delivered(delivered) => format!("{delivered:?}"),
        Record::Parked(parked) => format!("{parked:?}"),
        Record::BusinessKeys(keys) => format!("{keys:?}"),
    }
}

fn packet_words(bytes: &[u8]) -> String {
    let Ok(packet) = Packet::decode(bytes) else { return format!("{} bytes that are no packet", bytes.len()) };
    let key = packet.key.as_ref().map_or_else(String::new, |key| format!(" key {}", shown(key.as_bytes())));
    format!("{}{key} {} {} bytes", shown(packet.packet_id.as_bytes()), packet.identity, packet.payload.len())
}

/// Bytes as text where they are text, on one line, and not all of them where they are many.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]).replace(char::is_control, "\u{fffd}");
    if bytes.len() > SHOWN { format!("{text}… ({} bytes)", bytes.len()) } else { text }
}
