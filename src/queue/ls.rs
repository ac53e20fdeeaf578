//! Lists the channels of a journal, the groups that take from them, and the dead letters.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use seaworthy_engine::env::Clock;
use seaworthy_engine::env::os::OsClock;
use seaworthy_engine::journal::image::Image;
use seaworthy_engine::journal::reader::{Finding, ReadError, Reader, Step, frame_at};
use seaworthy_engine::journal::record::Record;
use seaworthy_engine::packet::Seq;
use serde::Serialize;

use super::{Findings, QueueError, disk, reader, unreadable};
use crate::exit::Exit;
use crate::show;

#[derive(Serialize)]
struct Listing {
    process: String,
    /// The LSN that comes next.
    next_lsn: u64,
    inputs: Vec<Input>,
    dead_letters: Vec<DeadLetters>,
    /// What is wrong, in words.
    findings: Vec<String>,
}

/// What a group takes from: `channel/ID`, `source/NODE` or `stage/NODE`.
#[derive(Serialize)]
struct Input {
    input: String,
    /// The last number given; nothing for a source, whose entries the journal doesn't hold.
    last: Option<u64>,
    /// Packets that some group has yet to settle.
    backlog: u64,
    /// Age of the oldest of them, by the clock of this machine.
    oldest_ms: Option<i64>,
    groups: Vec<Group>,
}

#[derive(Serialize)]
struct Group {
    group: String,
    /// All up to it are settled.
    floor: u64,
    /// Packets that it has yet to settle.
    pending: u64,
}

#[derive(Serialize)]
struct DeadLetters {
    node: String,
    class: String,
    count: u64,
}

pub(super) async fn run(dir: &Path, json: bool) -> Result<Exit, QueueError> {
    let mut reader = reader(dir).await?;
    let mut findings = Findings::default();
    let image = image(&mut reader, &mut findings).await.map_err(unreadable(dir))?;
    let inputs = inputs(dir, &image).await?;
    let listing = Listing {
        process: reader.process().to_owned(),
        next_lsn: reader.next_lsn().0,
        inputs,
        dead_letters: dead_letters(&image),
        findings: findings.lines(),
    };
    if json {
        return Ok(show::json(&listing).and(findings.exit()));
    }
    findings.tell();
    Ok(show::report(&text(&listing)).and(findings.exit()))
}

/// What a journal's records add up to, as far as they can be read.
pub(super) async fn image(reader: &mut Reader, findings: &mut Findings) -> Result<Image, ReadError> {
    let mut image = Image::new(0);
    while let Some(step) = reader.next().await? {
        match step {
            Step::Footer(_) => {}
            Step::Finding(finding) => findings.add(finding),
            Step::Frame(frame) => {
                for record in frame.records() {
                    match record {
                        Ok((_, record)) if goes_back(&image, &record) => {
                            let why = "its numbers go back".to_owned();
                            findings.add(Finding::Unreadable { at: frame.at, why });
                        }
                        Ok((_, record)) => drop(image.apply(frame.at, record)),
                        Err(error) => findings.add(Finding::Unreadable { at: frame.at, why: error.to_string() }),
                    }
                }
            }
        }
    }
    // What the writer gave back meanwhile was settled, as it goes on to say behind what was read.
    if !findings.kept.iter().any(|finding| matches!(finding, Finding::Recycled { .. })) {
        gone(&image, findings);
    }
    Ok(image)
}

/// What should be held and is not.
fn gone(image: &Image, findings: &mut Findings) {
    let known = !image.quarantined().is_empty();
    for (input, group, _) in image.groups() {
        for numbers in image.gone(input, group) {
            findings.add(Finding::Gone { input: input.to_string(), group: group.to_string(), numbers, known });
        }
    }
}

/// An image takes such a record for a bug; what is in files is never one.
fn goes_back(image: &Image, record: &Record) -> bool {
    match record {
        Record::Append { channel, seq, .. } => image.channel(channel).is_some_and(|packets| *seq <= packets.last),
        Record::Settle(settle) => settle.seqs.iter().any(|(from, to)| from > to),
        _ => false,
    }
}

async fn inputs(dir: &Path, image: &Image) -> Result<Vec<Input>, QueueError> {
    let (disk, now_ns) = (disk(dir)?, OsClock::new().unix_ns());
    let mut inputs: BTreeMap<&str, Input> = BTreeMap::new();
    for (name, packets) in image.channels() {
        let oldest = match packets.next(Seq(0)) {
            Some((_, at)) => frame_at(&*disk, at).await.map_err(unreadable(dir))?.map(|frame| frame.header.time),
            None => None,
        };
        let (input, last, groups) = (name.to_string(), Some(packets.last.0), Vec::new());
        let oldest_ms = oldest.map(|time| now_ns.saturating_sub(time) / 1_000_000);
        inputs.insert(name, Input { input, last, backlog: packets.backlog(), oldest_ms, groups });
    }
    for (name, group, cursor) in image.groups() {
        let none = || Input { input: name.to_string(), last: None, backlog: 0, oldest_ms: None, groups: Vec::new() };
        let pending = image.pending(name, group);
        let group = Group { group: group.to_string(), floor: cursor.floor.0, pending };
        inputs.entry(name).or_insert_with(none).groups.push(group);
    }
    Ok(inputs.into_values().collect())
}

fn dead_letters(image: &Image) -> Vec<DeadLetters> {
    let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for letter in image.dead_letters() {
        *counts.entry((&letter.node, &letter.class)).or_default() += 1;
    }
    let of =
        |((node, class), count): ((&str, &str), u64)| DeadLetters { node: node.into(), class: class.into(), count };
    counts.into_iter().map(of).collect()
}

fn text(listing: &Listing) -> String {
    let mut text = format!("process {}, next LSN {}\n", listing.process, listing.next_lsn);
    let mut line = |line: String| writeln!(text, "{line}").expect("writing to a String can't fail");
    line(format!("{:<32} {:>10} {:>10} {:>10}  oldest", "input and group", "last", "floor", "waiting"));
    for Input { input, last, backlog, oldest_ms, groups } in &listing.inputs {
        let last = last.map_or_else(|| "-".to_owned(), |last| last.to_string());
        let oldest = oldest_ms.map_or_else(|| "-".to_owned(), |ms| format!("{:.1} s", ms as f64 / 1000.0));
        line(format!("{input:<32} {last:>10} {:>10} {backlog:>10}  {oldest}", "-"));
        for Group { group, floor, pending } in groups {
            line(format!("  {group:<30} {:>10} {floor:>10} {pending:>10}", ""));
        }
    }
    for DeadLetters { node, class, count } in &listing.dead_letters {
        line(format!("dead letters of {node}: {count} {class}"));
    }
    if listing.dead_letters.is_empty() {
        line("no dead letters".to_owned());
    }
    text
}
