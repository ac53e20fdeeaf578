//! The `queue` commands on journals that are well, damaged, foreign, being written, or no journals at all.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests of real files read and write them; a failure is the test\'s"
)]

use std::fs;
use std::path::Path;
use std::process::Output;

use rusqlite::Connection;
use seaworthy_engine::journal::Intent;
use seaworthy_engine::journal::reader::{Finding, Reader, Step};
use serde_json::Value;

use super::frames::crc32c;
use super::peer::block_on;
use super::queue_journal::{Sample, append, disk, open, packet, read, segment, settle};
use super::run::{Running, seaworthy};
use super::story::Story;

fn queue(arguments: &[&str]) -> Output {
    seaworthy().arg("queue").args(arguments).output().unwrap()
}

fn on(command: &str, dir: &Path, more: &[&str]) -> Output {
    let dir = dir.to_str().unwrap();
    queue(&[&[command, dir], more].concat())
}

fn words(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&text).replace('│', " ").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn check(output: &Output, code: i32, said: &str) {
    let words = words(output);
    assert_eq!(output.status.code(), Some(code), "{words}");
    assert!(words.contains(said), "no `{said}` in\n{words}");
}

#[track_caller]
fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", words(output)))
}

#[test]
fn a_journal_that_is_well_is_listed_counted_exported_and_clean() {
    let sample = block_on(Sample::new(200));
    let before = sample.names();
    let list = json(&on("ls", &sample.dir(), &["--json"]));
    let input = &list["inputs"][0];
    assert_eq!((&list["process"], &input["input"]), (&"hub".into(), &"channel/up".into()), "{list}");
    assert_eq!(
        (&input["last"], &input["backlog"], &input["groups"][0]["floor"]),
        (&200.into(), &195.into(), &5.into())
    );
    assert_eq!(input["groups"][0]["pending"], 195);
    assert!(input["oldest_ms"].as_i64().is_some_and(|ms| (0..600_000).contains(&ms)), "{list}");
    check(&on("ls", &sample.dir(), &[]), 0, "no dead letters");
    let stats = json(&on("stats", &sample.dir(), &["--json"]));
    assert_eq!(
        (&stats["records"]["append"]["count"], &stats["findings"]),
        (&200.into(), &Value::Array(vec![])),
        "{stats}"
    );
    assert!(stats["wear"].as_f64().unwrap() > 1.0, "{stats}");
    assert_eq!(stats["records"]["closed"]["count"], 1, "it was closed in good order: {stats}");
    check(&on("stats", &sample.dir(), &[]), 0, "bytes a byte of packets");
    check(&on("fsck", &sample.dir(), &[]), 0, "clean:");
    let lines = on("export", &sample.dir(), &["--channel", "up"]);
    let lines: Vec<Value> =
        String::from_utf8(lines.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 200);
    assert!(lines.iter().enumerate().all(|(i, line)| line["seq"] == i + 1 && line["payload"]["n"] == i + 1));
    let (from, to) = (lines[9]["lsn"].to_string(), lines[19]["lsn"].to_string());
    let some = on("export", &sample.dir(), &["--channel", "channel/up", "--from", &from, "--to", &to]);
    assert_eq!(String::from_utf8(some.stdout).unwrap().lines().count(), 10);
    assert!(on("export", &sample.dir(), &["--channel", "down"]).stdout.is_empty());
    assert_eq!(sample.names(), before, "a reader writes nothing");
}

#[test]
fn what_is_no_journal_ends_with_74_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    for command in ["ls", "stats", "export", "fsck"] {
        check(&on(command, &dir.path().join("nowhere"), &[]), 74, "could not find a data directory there");
        check(&on(command, dir.path(), &[]), 74, "no file is a segment of one");
    }
    check(&on("fsck", &dir.path().join("nowhere"), &["--repair"]), 74, "could not find a data directory there");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);

    let sample = block_on(Sample::new(20));
    let name = segment(1);
    let mut bytes = fs::read(sample.path(&name)).unwrap();
    bytes[8] = 99;
    let crc = crc32c(&bytes[..508]).to_le_bytes();
    bytes[508..512].copy_from_slice(&crc);
    fs::write(sample.path(&name), bytes).unwrap();
    check(&on("fsck", &sample.dir(), &["--repair"]), 74, "has format version 99");
    check(&queue(&["export", sample.dir().to_str().unwrap(), "--format", "xml"]), 2, "ndjson");
}

#[test]
fn the_log_tells_every_record_in_order() {
    let sample = block_on(Sample::new(200));
    let whole = block_on(read(&sample.dir())).unwrap();
    let said = on("log", &sample.dir(), &["--json"]);
    assert_eq!(said.status.code(), Some(0));
    let lines: Vec<Value> =
        String::from_utf8(said.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<(u64, &str)> =
        lines.iter().filter_map(|line| Some((line["lsn"].as_u64()?, line["kind"].as_str()?))).collect();
    let written: Vec<(u64, &str)> = whole.records.iter().map(|(lsn, record)| (lsn.0, record.kind())).collect();
    assert_eq!(told, written);
    // By number, by channel, and in words.
    let some = on("log", &sample.dir(), &["--channel", "up", "--to", "60"]);
    let text = String::from_utf8(some.stdout).unwrap();
    assert!(text.contains(" append ") && text.contains("channel/up #1 "), "{text}");
    let lsn = |line: &str| line.split_whitespace().next().and_then(|lsn| lsn.parse::<u64>().ok());
    assert!(text.lines().filter_map(lsn).all(|lsn| lsn < 60), "{text}");
    assert!(text.lines().all(|line| line.contains("channel/up")), "{text}");
    check(&on("log", &sample.path("nowhere"), &[]), 74, "could not read");
}

#[test]
fn a_repair_moves_what_is_damaged_and_tells_its_lsns() {
    let sample = block_on(Sample::new(300));
    let whole = block_on(read(&sample.dir())).unwrap();
    let (number, offset, _) = whole.frames[whole.frames.len() / 2];
    sample.flip(&segment(number), offset + 70, 3);
    fs::write(sample.path("holiday.jpg"), "sea").unwrap();
    let fsck = json(&on("fsck", &sample.dir(), &["--json"]));
    let damaged = fsck["findings"].as_array().unwrap().iter().find(|one| one["finding"] == "damaged").unwrap().clone();
    let (from, to) = (damaged["lost_lsn"][0].as_u64().unwrap(), damaged["lost_lsn"][1].as_u64().unwrap());
    assert!(from < to, "{fsck}");
    check(&on("fsck", &sample.dir(), &[]), 1, &format!("records {from}..{to} are lost"));
    check(&on("fsck", &sample.dir(), &[]), 1, "holiday.jpg doesn't belong here");

    let bad = fs::read(sample.path(&segment(number))).unwrap();
    let (journal, _) = block_on(async {
        fs::remove_file(sample.path("holiday.jpg")).unwrap();
        let other = sample.copy();
        let opened = open(&other.dir()).await;
        check(&on("fsck", &other.dir(), &["--repair"]), 74, "stop it first");
        opened.0.close().await;
        opened
    });
    drop(journal);
    check(&on("fsck", &sample.dir(), &["--repair"]), 1, &format!("lsn-{from}-{to}: records {from}..{to}"));
    let moved = sample.names().into_iter().find(|name| name.starts_with("quarantine-")).unwrap();
    let kept = fs::read(sample.path(&moved)).unwrap();
    assert_eq!(kept, bad[offset as usize..offset as usize + kept.len()], "byte for byte");
    check(&on("fsck", &sample.dir(), &[]), 0, "they are in a quarantine file");
    // The process goes on with what is left, and tells the same loss.
    let (_, recovery) = block_on(async {
        let opened = open(&sample.dir()).await;
        opened.0.close().await;
        opened
    });
    let lost: Vec<_> = recovery.lost.iter().map(|range| (range.start.0, range.end.0)).collect();
    assert_eq!(lost, [(from, to)]);
    check(&on("fsck", &sample.dir(), &[]), 0, "quarantine file");
}

#[test]
fn segments_that_are_missing_foreign_or_left_over_are_told_apart() {
    let (sample, other) = block_on(async { (Sample::new(500).await, Sample::new(500).await) });
    let gone = sample.copy();
    fs::remove_file(gone.path(&segment(3))).unwrap();
    check(&on("fsck", &gone.dir(), &[]), 1, "seg-000000000003.swj is missing; records");
    check(&on("ls", &gone.dir(), &[]), 1, "and in no segment");
    let guest = sample.copy();
    fs::copy(other.path(&segment(3)), guest.path(&segment(3))).unwrap();
    check(&on("fsck", &guest.dir(), &[]), 1, "it is a segment of another journal, of process `hub`");
    check(&on("fsck", &guest.dir(), &["--repair"]), 1, "moved into quarantine-seg-000000000003.swj");
    check(&on("fsck", &guest.dir(), &[]), 1, "seg-000000000003.swj is missing");
    let twice = sample.copy();
    fs::copy(twice.path(&segment(2)), twice.path(&segment(40))).unwrap();
    check(&on("fsck", &twice.dir(), &[]), 0, "seg-000000000040.swj holds nothing of this journal");
    let headless = sample.copy();
    headless.flip(&segment(2), 20, 1);
    check(&on("fsck", &headless.dir(), &["--repair"]), 1, "moved into quarantine-2-0-header: no record");
    check(&on("fsck", &headless.dir(), &[]), 0, "the header is damaged");
}

/// A reader beside a writer that recycles its segments: whatever it meets, it is never damage, and never out of order.
#[test]
fn a_reader_keeps_up_with_a_writer_or_is_told_what_was_given_back() {
    let dir = tempfile::tempdir().unwrap();
    block_on(async {
        let (journal, _) = open(dir.path()).await;
        journal.append(vec![settle(1, 0), append(1)], Intent::Produce).await.unwrap().wait().await.unwrap();
        let writer = async {
            for seq in 2..4_000 {
                let tx = vec![append(seq), settle(1, seq.saturating_sub(300).max(1))];
                let commit = journal.append(tx, Intent::Produce).await.unwrap();
                if seq % 5 == 0 {
                    commit.wait().await.unwrap();
                }
            }
            journal.close().await;
        };
        let readers = async {
            let (mut read, mut recycled, mut tails) = (0, 0, 0);
            for _ in 0..40 {
                let mut reader = Reader::open(disk(dir.path())).await.unwrap();
                let mut last = None;
                for _ in 0..3 {
                    while let Some(step) = reader.next().await.unwrap() {
                        match step {
                            Step::Frame(frame) => {
                                assert!(
                                    last < Some(frame.header.end()) || frame.header.count == 0,
                                    "{last:?}, {frame:?}"
                                );
                                last = Some(frame.header.end());
                                read += 1;
                            }
                            Step::Finding(Finding::Recycled { .. } | Finding::Leftover { .. }) => recycled += 1,
                            Step::Finding(Finding::Cut { .. }) | Step::Footer(_) => {}
                            Step::Finding(finding) => panic!("{finding}"),
                        }
                    }
                    tails += 1;
                    tokio::time::sleep(std::time::Duration::from_millis(3)).await;
                }
            }
            (read, recycled, tails)
        };
        let (_, (read, recycled, tails)) = tokio::join!(writer, readers);
        eprintln!("{read} frames in {tails} tails, {recycled} segments given back while they were read");
        assert!(read > 1_000 && tails == 120);
    });
}

fn packets(file: &Path, rows: &[(i64, &str, &str, &str)]) {
    let connection = Connection::open(file).unwrap();
    let table = "CREATE TABLE IF NOT EXISTS packets (seq INTEGER PRIMARY KEY, enqueued_at REAL, idempotency_key TEXT, \
                 packet_id TEXT, ts INTEGER, kind TEXT, source_id TEXT, payload_json TEXT, meta_json TEXT)";
    connection.execute(table, ()).unwrap();
    for (seq, key, payload, meta) in rows {
        let insert =
            "INSERT INTO packets VALUES (?1, 1785542400.5, ?2, 'p' || ?1, 1785542400000, 'sensor', 'cam', ?3, ?4)";
        connection.execute(insert, (seq, key, payload, meta)).unwrap();
    }
}

#[test]
fn an_sqlite_queue_is_taken_over_once_however_often_it_is_tried() {
    let dir = tempfile::tempdir().unwrap();
    let (file, hub) = (dir.path().join("old.db"), dir.path().join("hub"));
    packets(
        &file,
        &[
            (1, "a", "{\"n\": 1}", "{\"site\": \"pier\"}"),
            (3, "b", "{\"n\": 3}", ""),
            (4, "a", "{\"n\": 1}", ""),
            (5, "b", "{\"n\": 9}", ""),
        ],
    );
    let from = format!("sqlite:{}", file.display());
    let import = |json: bool| {
        let more: &[&str] = if json { &["--json"] } else { &[] };
        on("import", &hub, &[&["--from", &from, "--channel", "up"], more].concat())
    };
    let first = import(true);
    assert_eq!(first.status.code(), Some(1), "a conflict: {}", words(&first));
    let first = json(&first);
    assert_eq!(
        (&first["packets"], &first["duplicates"], &first["conflicts"]),
        (&2.into(), &1.into(), &1.into()),
        "{first}"
    );
    check(&import(false), 0, "0 packets into up: rows behind 5, up to 5");
    packets(&file, &[(9, "", "not json", "")]);
    check(&import(false), 0, "1 packets into up: rows behind 5, up to 9");
    let lines = on("export", &hub, &[]);
    let lines: Vec<Value> =
        String::from_utf8(lines.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(
        (&lines[0]["payload"]["n"], &lines[0]["meta"]["site"], &lines[0]["meta"]["idempotency_key"]),
        (&1.into(), &"pier".into(), &"a".into())
    );
    assert_eq!((&lines[0]["ts"], &lines[0]["kind"]), (&1_785_542_400_000_000_000i64.into(), &"sensor".into()));
    assert_eq!((&lines[2]["seq"], &lines[2]["payload_base64"]), (&3.into(), &"bm90IGpzb24=".into()));
    check(&on("ls", &hub, &[]), 0, "dead letters of sqlite:old: 1 conflict");
    check(&queue(&["import", hub.to_str().unwrap(), "--from", "old.db", "--channel", "up"]), 2, "write sqlite:FILE");
    // Another machine's, of the same name: rows up to 9 would be left out.
    let other = dir.path().join("other/old.db");
    std::fs::create_dir(other.parent().unwrap()).unwrap();
    let rows: Vec<_> = (1..=12).map(|seq| (seq, "", "{\"n\": 7}", "")).collect();
    packets(&other, &rows);
    let from = format!("sqlite:{}", other.display());
    let other = |more: &[&str]| on("import", &hub, &[&["--from", &from, "--channel", "up"], more].concat());
    check(&other(&[]), 2, "could not go on with `old` behind row 9");
    check(&other(&["--as", "other"]), 0, "12 packets into up: rows behind 0, up to 12");
    check(&other(&["--as", "other"]), 0, "0 packets into up: rows behind 12, up to 12");
    // Rows that nobody would ever come to.
    let below = dir.path().join("below.db");
    packets(&below, &[(-3, "", "{\"n\": 1}", ""), (0, "", "{\"n\": 2}", ""), (1, "", "{\"n\": 3}", "")]);
    let below = format!("sqlite:{}", below.display());
    let refused = on("import", &hub, &["--from", &below, "--channel", "up"]);
    check(&refused, 2, "2 rows have a `seq` below 1, the least is -3");
    let none = on("import", &hub, &["--from", "sqlite:nowhere.db", "--channel", "up"]);
    check(&none, 74, "a table `packets`");
}

/// What was imported into a channel's host is delivered like anything else.
#[test]
fn imported_packets_reach_the_sinks() {
    let story = Story::new(1, 100);
    let file = story.path("old.db");
    let quakes = fs::read_to_string(story.path("quakes.ndjson")).unwrap();
    let strong: Vec<&str> = quakes
        .lines()
        .filter(|line| serde_json::from_str::<Value>(line).unwrap()["mag"].as_f64().is_some_and(|mag| mag >= 1.0))
        .take(40)
        .collect();
    let rows: Vec<_> = strong.iter().enumerate().map(|(i, line)| (i as i64 + 1, "", *line, "")).collect();
    packets(&file, &rows);
    let from = format!("sqlite:{}", file.display());
    check(&on("import", &story.path("data/hub"), &["--from", &from, "--channel", "uplink"]), 0, "40 packets");
    let mut whole = Running::start(story.command());
    assert_eq!(whole.code(), Some(0), "{}", whole.said());
    let raw = fs::read_to_string(story.path("out/raw.ndjson")).unwrap();
    assert!(raw.lines().zip(&strong).all(|(line, strong)| line == *strong), "they come first");
    assert_eq!(raw.lines().count(), story.expected.quakes() + 40);
}

#[test]
fn the_sample_is_what_it_says() {
    let sample = block_on(Sample::new(3));
    let read = block_on(read(&sample.dir())).unwrap();
    let packets: Vec<_> = read.records.values().filter(|record| record.kind() == "append").collect();
    assert_eq!(packets, [&append(1), &append(2), &append(3)]);
    assert_ne!(packet(1), packet(2));
}

/// 20 MB through a journal with segments of 4 MiB: what is kept of it when all of it was delivered.
#[track_caller]
fn kept(retain: &[&str]) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let fill = "x".repeat(900);
    let graph = format!(
        "version: 2
nodes:
  - {{id: feed, kind: source, plugin: \"std:generator\", config: {{count: 20000, json: {{fill: {fill}}}}}}}
  - {{id: up, kind: sink, plugin: \"std:channel\", config: {{channel: up}}}}
edges: [{{from: feed, to: up}}]
"
    );
    fs::write(dir.path().join("edge.yaml"), graph).unwrap();
    let hub = "version: 2
nodes:
  - {id: up, kind: source, plugin: \"std:channel\", config: {channel: up}}
  - {id: out, kind: sink, plugin: \"std:ndjson_sink\", config: {path: out.ndjson}}
edges: [{from: up, to: out}]
";
    fs::write(dir.path().join("hub.yaml"), hub).unwrap();
    let process = "version: 1
processes: [{id: edge, graph: edge.yaml}, {id: hub, graph: hub.yaml}]
channels: [{id: up, kind: journal, require_ack: true}]
links: [{producer: edge, consumer: hub, channel: up}]
";
    fs::write(dir.path().join("p.yaml"), process).unwrap();
    let mut run = seaworthy();
    run.current_dir(dir.path()).args(["run", "p.yaml", "--segment-bytes", "4194304"]).args(retain);
    let mut running = Running::start(run);
    assert_eq!(running.code(), Some(0), "{}", running.said());
    assert_eq!(fs::read_to_string(dir.path().join("out.ndjson")).unwrap().lines().count(), 20_000);
    let exported = on("export", &dir.path().join("data/p/hub"), &["--channel", "up"]);
    String::from_utf8(exported.stdout).unwrap().lines().count()
}

#[test]
fn what_is_delivered_is_kept_as_long_as_asked() {
    assert!(kept(&[]) < 12_000);
    assert_eq!(kept(&["--retain", "1h"]), 20_000);
    let some = kept(&["--retain-bytes", "10000000"]);
    // A packet takes some 950 bytes; in a batch of its own, with what settles it, three sectors. A segment more may be kept.
    assert!((6_000..20_000).contains(&some), "{some}");
}
