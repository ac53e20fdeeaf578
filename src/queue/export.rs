//! Writes the packets of a journal as lines of JSON, payloads byte for byte.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use seaworthy_engine::journal::Lsn;
use seaworthy_engine::journal::footer::{Footer, Wanted};
use seaworthy_engine::journal::reader::{Finding, Frame, Step};
use seaworthy_engine::journal::record::{Name, Record};
use seaworthy_engine::packet::{ContentType, Identity, Packet, Seq, key_of};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Findings, QueueError, dlq, print, reader};
use crate::exit::Exit;

#[derive(clap::Args)]
pub(super) struct Args {
    /// A process's data directory.
    dir: PathBuf,
    /// Only packets of this channel; `stage/NODE` for what a stateful node made.
    #[arg(long, value_name = "CHANNEL")]
    channel: Option<String>,
    /// The dead letters instead of the packets, each a CloudEvent (docs/schema/dlq.v1.schema.json).
    #[arg(long, conflicts_with = "channel")]
    dead_letters: bool,
    /// From this LSN on.
    #[arg(long, value_name = "LSN", default_value_t = 0)]
    from: u64,
    /// Up to this LSN, without it.
    #[arg(long, value_name = "LSN", default_value_t = u64::MAX, hide_default_value = true)]
    to: u64,
    /// Only what was written at this time or later: RFC 3339, or ns since 1970.
    #[arg(long, value_name = "TIME", value_parser = time_of)]
    since: Option<i64>,
    /// Only what was written before this time.
    #[arg(long, value_name = "TIME", value_parser = time_of)]
    until: Option<i64>,
    /// Only packets of this key.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// The only format so far.
    #[arg(long, default_value = "ndjson", value_parser = ["ndjson"])]
    format: String,
}

pub(super) async fn run(args: &Args) -> Result<Exit, QueueError> {
    let channel: Option<Name> = args.channel.as_deref().map(|channel| input_name(channel).into());
    let reader = reader(&args.dir).await?.only(args.wanted(channel.clone()));
    let mut seen = Seen::default();
    print(&args.dir, reader, args.to, "write the packets", |out, step, findings| match step {
        Step::Footer(footer) => {
            seen.pass(&footer);
            Ok(())
        }
        Step::Frame(frame) => write(out, &frame, args, channel.as_deref(), &mut seen, findings),
        Step::Finding(_) => Ok(()),
    })
    .await
}

impl Args {
    /// What of the journal must be read at all.
    fn wanted(&self, name: Option<Name>) -> Wanted {
        let (key, all) = (self.key.clone(), Wanted::default());
        if self.dead_letters {
            // Where it was written first must be seen, to know that a copy is one.
            return Wanted { key, ..all };
        }
        let (since, until) = (self.since.unwrap_or(all.since), self.until.unwrap_or(all.until));
        Wanted { from: Lsn(self.from), since, until, key, name }
    }

    /// Whether a record that was written then is asked for, if its packet has the right key.
    fn asks_for(&self, lsn: Lsn, time: i64, packet: &[u8]) -> bool {
        (self.from..self.to).contains(&lsn.0)
            && self.since.is_none_or(|since| time >= since)
            && self.until.is_none_or(|until| time < until)
            && self.key.as_deref().is_none_or(|key| key_of(packet) == Some(key))
    }
}

fn time_of(text: &str) -> Result<i64, String> {
    if let Ok(unix_ns) = text.parse() {
        return Ok(unix_ns);
    }
    let time = OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|error| format!("{error}: write it like 2026-11-25T08:30:00Z, or as ns since 1970"))?;
    time.unix_timestamp_nanos().try_into().map_err(|_| "no journal is that old, or that new".to_owned())
}

/// `uplink` is a channel; a name with a `/` is the journal's own.
pub(super) fn input_name(text: &str) -> String {
    if text.contains('/') { text.to_owned() } else { format!("channel/{text}") }
}

/// What stands where it was written first: a copy of it is no news.
#[derive(Default)]
struct Seen {
    /// The first packet of each channel.
    packets: BTreeMap<Name, Seq>,
    /// The copies that were news.
    copies: BTreeSet<(Name, Seq)>,
    /// Each dead letter.
    letters: BTreeSet<(Identity, Name, i64)>,
}

impl Seen {
    /// A part of a segment is passed over.
    fn pass(&mut self, footer: &Footer) {
        let entered = footer.names.iter().filter(|(_, held)| held.entered.0 > Seq(0));
        for (channel, held) in entered {
            self.packets.entry(channel.clone()).or_insert(held.entered.0);
        }
    }
}

fn write(
    out: &mut dyn Write,
    frame: &Frame,
    args: &Args,
    wanted: Option<&str>,
    seen: &mut Seen,
    findings: &mut Findings,
) -> io::Result<()> {
    for record in frame.records() {
        match record {
            Ok((Some(lsn), Record::DeadLetter(letter) | Record::MovedLetter(letter))) if args.dead_letters => {
                let failure = &letter.failure;
                let is_news = seen.letters.insert((letter.identity, failure.node.clone(), failure.last));
                if is_news && args.asks_for(lsn, frame.header.time, &letter.packet) {
                    writeln!(out, "{}", dlq::event(&letter))?;
                }
            }
            Ok((Some(lsn), record @ (Record::Append { .. } | Record::Moved { .. }))) if !args.dead_letters => {
                let is_copy = matches!(record, Record::Moved { .. });
                let (Record::Append { channel, seq, packet } | Record::Moved { channel, seq, packet }) = record else {
                    continue;
                };
                // A copy counts only where the packet's own segment is gone.
                let first = seen.packets.get(&channel).copied();
                if !is_copy && first.is_none() {
                    seen.packets.insert(channel.clone(), seq);
                }
                let is_news =
                    !is_copy || first.is_none_or(|first| seq < first) && seen.copies.insert((channel.clone(), seq));
                let is_wanted = is_news && wanted.is_none_or(|wanted| *channel == *wanted);
                if is_wanted && args.asks_for(lsn, frame.header.time, &packet) {
                    let place = json!({"lsn": lsn.0, "unix_ns": frame.header.time, "channel": *channel, "seq": seq.0});
                    writeln!(out, "{}", line(place, &packet))?;
                }
            }
            Ok(_) => {}
            Err(error) => findings.add(Finding::Unreadable { at: frame.at, why: error.to_string() }),
        }
    }
    Ok(())
}

/// One packet. Its payload stands as it is where it is JSON on one line, and as base64 otherwise.
fn line(mut place: serde_json::Value, bytes: &[u8]) -> String {
    let base64 = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
    let Ok(packet) = Packet::decode(bytes) else {
        place["packet_base64"] = base64(bytes).into();
        return place.to_string();
    };
    place["identity"] = packet.identity.to_string().into();
    place["packet_id"] = packet.packet_id.as_str().into();
    place["ts"] = packet.ts.into();
    place["kind"] = json!(packet.kind);
    place["source_id"] = packet.source_id.as_str().into();
    place["key"] = json!(packet.key);
    place["meta"] = json!(packet.meta);
    place["content_type"] = json!(packet.content_type);
    let is_json = packet.content_type == ContentType::Json && packet.json().is_some();
    match std::str::from_utf8(&packet.payload) {
        Ok(payload) if is_json && !payload.contains(['\n', '\r']) => {
            let mut line = place.to_string();
            line.truncate(line.len() - 1);
            format!("{line},\"payload\":{payload}}}")
        }
        _ => {
            place["payload_base64"] = base64(&packet.payload).into();
            place.to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use seaworthy_engine::packet::{Fields, Identity, Kind};

    use super::*;

    #[track_caller]
    fn check(content_type: ContentType, payload: &'static [u8], expected: &str) {
        let fields = Fields {
            identity: Identity::Derived(1),
            packet_id: "p".into(),
            ts: 5,
            kind: Kind::Event,
            source_id: "s".into(),
            key: None,
            content_type,
            payload: Bytes::from_static(payload),
            meta: Default::default(),
        };
        let line = line(json!({"lsn": 7}), &Packet::from(fields).encode());
        assert!(line.contains(expected), "{line}");
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&read["lsn"], &read["packet_id"]), (&7.into(), &"p".into()));
    }

    #[test]
    fn payloads_stay_what_they_are_byte_for_byte() {
        check(ContentType::Json, b"{\"b\": 1.10,  \"a\":\"\xc3\xa9\"}", ",\"payload\":{\"b\": 1.10,  \"a\":\"é\"}}");
        check(ContentType::Json, b"{\n}", "\"payload_base64\":\"ewp9\"");
        check(ContentType::Json, b"{", "\"payload_base64\":\"ew==\"");
        check(ContentType::Bytes, b"{}", "\"payload_base64\":\"e30=\"");
        assert_eq!(line(json!({}), b"\xff"), "{\"packet_base64\":\"/w==\"}");
    }
}
