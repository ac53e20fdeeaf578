//! `std:ndjson_source`: brings in the lines of a file, at once or by the file's own timestamps.
//!
//! A packet is a function of its line alone: read again after a crash, it is the same, byte for byte. So no field of it
//! comes from a clock. The sequence number is the line's number, and lines that are rejected or empty leave gaps.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use smol_str::format_smolstr;

use super::expr::Value;
use super::path_of_file;
use super::units::TimeUnit;
use crate::env::{File, Fut, Open};
use crate::node::{Class, ConfigError, Draft, Entry, NodeContext, NodeError, Registry, Resume, Source};
use crate::observe::{Event, What};
use crate::packet::{BUSINESS_KEY, ContentType, Kind, Seq};

/// Bytes read at a time.
const BLOCK_BYTES: usize = 64 << 10;
/// Longest line unless told otherwise, and the longest that may be told.
const LINE_BYTES: usize = 1 << 20;
const LINE_BYTES_MAX: usize = 4 << 20;
/// How often a followed file is looked at, ns.
const FOLLOW_NS: u64 = 200_000_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    path: String,
    key: Option<String>,
    id: Option<String>,
    business_key: Option<String>,
    time: Option<String>,
    time_unit: Option<TimeUnit>,
    #[serde(default)]
    replay: Replay,
    #[serde(default)]
    follow: bool,
    max_line: Option<usize>,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Replay {
    #[default]
    Asap,
    Speed(f64),
}

fn lint(config: &Config) -> Result<(), ConfigError> {
    path_of_file(&config.path)?;
    if let Replay::Speed(speed) = config.replay {
        if !(speed > 0.0 && speed.is_finite()) {
            return Err(ConfigError::at("replay", format!("`replay`: a speed is a number above 0, not {speed}")));
        }
        if config.time.is_none() {
            return Err(ConfigError::at(
                "time",
                "`replay` at a speed needs `time`, the field that holds the timestamps",
            ));
        }
    }
    if config.time.is_none() && config.time_unit.is_some() {
        return Err(ConfigError::at("time_unit", "`time_unit` needs `time`"));
    }
    match config.max_line {
        Some(max) if !(1..=LINE_BYTES_MAX).contains(&max) => {
            Err(ConfigError::at("max_line", format!("`max_line` is from 1 to {LINE_BYTES_MAX} bytes, not {max}")))
        }
        _ => Ok(()),
    }
}

/// Where a source goes on: stored with the floor.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct Position {
    /// Offset of the first byte after the line.
    offset: u64,
    /// The line's number; the first is 1.
    line: u64,
}

struct NdjsonSource {
    context: NodeContext,
    config: Config,
    max_line: usize,
    file: Option<Arc<dyn File>>,
    /// After the last line taken from `buffer`.
    position: Position,
    /// Bytes of the file from `position` on, `taken` of which are used up.
    buffer: Vec<u8>,
    taken: usize,
    /// The line at `position` is too long; its bytes are dropped until it ends.
    overlong: bool,
    ended: bool,
    rejected: u64,
    /// Entries with the time at which they may go, by `mono`.
    pending: VecDeque<(u64, Entry)>,
    /// The first timestamp of this incarnation and the `mono` that it is played at.
    anchor: Option<(i64, u64)>,
}

impl NdjsonSource {
    fn new(context: NodeContext, config: Config) -> Result<NdjsonSource, ConfigError> {
        lint(&config)?;
        Ok(NdjsonSource {
            context,
            max_line: config.max_line.unwrap_or(LINE_BYTES),
            config,
            file: None,
            position: Position::default(),
            buffer: Vec::new(),
            taken: 0,
            overlong: false,
            ended: false,
            rejected: 0,
            pending: VecDeque::new(),
            anchor: None,
        })
    }

    fn failed(&self, what: &str, error: &io::Error) -> NodeError {
        NodeError::new(Class::Unknown, format!("could not {what} `{}`: {error}", self.config.path))
    }

    async fn begin(&mut self, resume: Resume) -> Result<(), NodeError> {
        if !resume.position.is_empty() {
            self.position = postcard::from_bytes(&resume.position).map_err(|error| {
                NodeError::new(
                    Class::Unknown,
                    format!("could not read the position in `{}`: {error}", self.config.path),
                )
            })?;
        }
        let opened = self.context.files.open(&self.config.path, Open::Read).await;
        let file = opened.map_err(|error| self.failed("open", &error))?;
        let len = file.len().await.map_err(|error| self.failed("open", &error))?;
        let offset = self.position.offset;
        if len < offset {
            let message = format!(
                "`{}` has {len} bytes, but {offset} were read before: it is not the same file",
                self.config.path
            );
            return Err(NodeError::new(Class::Unknown, message));
        }
        self.file = Some(file);
        Ok(())
    }

    async fn entries(&mut self, max: usize) -> Result<Option<Vec<Entry>>, NodeError> {
        let clock = self.context.env.clock.clone();
        loop {
            self.take_lines(max);
            if let Some((due, _)) = self.pending.front() {
                if *due > clock.mono() {
                    clock.sleep_until(*due).await;
                }
                let now = clock.mono().max(*due);
                let ready = self.pending.iter().take(max).take_while(|(due, _)| *due <= now).count();
                return Ok(Some(self.pending.drain(..ready).map(|(_, entry)| entry).collect()));
            }
            if self.ended {
                return Ok(None);
            }
            let file = self.file.as_ref().expect("the runtime calls start() first");
            let at = self.position.offset + (self.buffer.len() - self.taken) as u64;
            let block = file.read_at(at, BLOCK_BYTES).await.map_err(|error| self.failed("read", &error))?;
            if !block.is_empty() {
                self.buffer.drain(..self.taken);
                self.taken = 0;
                self.buffer.extend_from_slice(&block);
            } else if self.config.follow {
                clock.sleep(FOLLOW_NS).await;
            } else {
                self.ended = true;
            }
        }
    }

    /// Turns lines of the buffer into entries, until `max` are pending or no whole line is left.
    fn take_lines(&mut self, max: usize) {
        while self.pending.len() < max {
            let rest = &self.buffer[self.taken..];
            let (len, step) = match rest.iter().position(|byte| *byte == b'\n') {
                Some(len) => (len, len + 1),
                // The last line may lack its end, unless the file is still being written.
                None if self.ended && (self.overlong || !rest.is_empty()) => (rest.len(), rest.len()),
                None => {
                    if rest.len() > self.max_line {
                        self.overlong = true;
                    }
                    if self.overlong {
                        self.position.offset += rest.len() as u64;
                        self.taken = self.buffer.len();
                    }
                    return;
                }
            };
            let line = Bytes::copy_from_slice(&rest[..len.min(self.max_line + 1)]);
            self.taken += step;
            self.position.offset += step as u64;
            self.position.line += 1;
            if std::mem::take(&mut self.overlong) || len > self.max_line {
                self.reject(&format!("it is longer than {} bytes", self.max_line));
            } else if !line.iter().all(u8::is_ascii_whitespace) {
                match serde_json::from_slice(&line) {
                    Ok(json) => self.accept(line, &json),
                    Err(error) => self.reject(&error.to_string()),
                }
            }
        }
    }

    fn reject(&mut self, why: &str) {
        self.rejected += 1;
        let (path, line, rejected) = (&self.config.path, self.position.line, self.rejected);
        tracing::warn!(node = %self.context.node, %path, line, rejected, "rejected a line: {why}");
        self.context.env.probe.on(&[Event {
            what: What::Refused { reason: "line.malformed".into() },
            place: self.context.node.as_str().into(),
            identity: None,
            seq: Seq(line),
            attempt: 0,
        }]);
    }

    fn accept(&mut self, line: Bytes, json: &Json) {
        let field = |name: &Option<String>| match name {
            Some(name) => name.split('.').try_fold(json, |json, part| json.get(part)).map_or(Value::Null, Value::of),
            None => Value::Null,
        };
        let unit = self.config.time_unit.unwrap_or(TimeUnit::Ms);
        let time = unit.to_ns(&field(&self.config.time));
        let business_key = field(&self.config.business_key).to_key();
        let entry = Entry {
            seq: Seq(self.position.line),
            draft: Draft {
                packet_id: field(&self.config.id)
                    .to_key()
                    .unwrap_or_else(|| format_smolstr!("{}:{}", self.config.path, self.position.line)),
                ts: time.unwrap_or(0),
                kind: Kind::Event,
                source_id: self.config.path.as_str().into(),
                key: field(&self.config.key).to_key(),
                content_type: ContentType::Json,
                payload: line,
                meta: business_key.into_iter().map(|key| (BUSINESS_KEY.to_owned(), key.into())).collect(),
            },
            position: postcard::to_allocvec(&self.position).expect("a position holds only numbers").into(),
        };
        let due = self.due(time);
        self.pending.push_back((due, entry));
    }

    /// When a line of this time may go, by `mono`; 0 is at once. A line without a time goes with the one before it.
    fn due(&mut self, time: Option<i64>) -> u64 {
        let (Replay::Speed(speed), Some(time)) = (self.config.replay, time) else { return 0 };
        let (first, start) = *self.anchor.get_or_insert_with(|| (time, self.context.env.clock.mono()));
        let after = (i128::from(time) - i128::from(first)) as f64 / speed;
        start.saturating_add(after.max(0.0) as u64)
    }
}

impl Source for NdjsonSource {
    fn start(&mut self, resume: Resume) -> Fut<'_, Result<(), NodeError>> {
        Box::pin(self.begin(resume))
    }

    fn next(&mut self, max: usize) -> Fut<'_, Result<Option<Vec<Entry>>, NodeError>> {
        assert!(max > 0, "asked for no entries");
        Box::pin(self.entries(max))
    }
}

pub(super) fn register(registry: &mut Registry) {
    registry.source::<Config>("std:ndjson_source", lint, |context, config| {
        Ok(Box::new(NdjsonSource::new(context.clone(), config)?))
    });
}

#[cfg(test)]
mod tests {
    use super::super::memory::{Memory, poll_once, registry, wait};
    use super::{BLOCK_BYTES, FOLLOW_NS};
    use crate::node::{Entry, NodeError, RegistryError, Resume, Source};
    use crate::packet::Seq;
    use serde_json::{Value, json};

    fn build(memory: &Memory, config: Value) -> Box<dyn Source> {
        registry().build_source("std:ndjson_source", &memory.context(), config).unwrap()
    }

    fn read_from(memory: &Memory, config: Value, resume: Resume, max: usize) -> Result<Vec<Entry>, NodeError> {
        let mut source = build(memory, config);
        wait(async {
            source.start(resume).await?;
            let mut all = Vec::new();
            while let Some(entries) = source.next(max).await? {
                assert!((1..=max).contains(&entries.len()));
                all.extend(entries);
            }
            assert!(source.next(max).await?.is_none(), "an input that has ended stays so");
            Ok(all)
        })
    }

    fn read(memory: &Memory, config: Value) -> Vec<Entry> {
        read_from(memory, config, Resume::default(), 7).unwrap()
    }

    #[track_caller]
    fn check_lines(content: &str, max_line: usize, accepted: &[(u64, &str)], rejected: &[u64]) {
        let memory = Memory::with("in.ndjson", content);
        let entries = read(&memory, json!({"path": "in.ndjson", "max_line": max_line}));
        let got: Vec<(u64, &str)> =
            entries.iter().map(|entry| (entry.seq.0, std::str::from_utf8(&entry.draft.payload).unwrap())).collect();
        assert_eq!(got, accepted);
        let events = memory.events();
        assert!(events.iter().all(|event| event.what.name() == "refused" && &*event.place == "feed"));
        assert_eq!(events.iter().map(|event| event.seq.0).collect::<Vec<_>>(), rejected);
    }

    #[test]
    fn lines_good_and_bad() {
        check_lines("", 9, &[], &[]);
        check_lines("\n \n\r\n", 9, &[], &[]);
        check_lines("{\"a\": 1}\n[2]\n", 9, &[(1, "{\"a\": 1}"), (2, "[2]")], &[]);
        check_lines("1\n{\"a\":\n\n\"\u{e4}\"\n2", 9, &[(1, "1"), (4, "\"ä\""), (5, "2")], &[2]);
        check_lines("1 2\n3\n{", 9, &[(2, "3")], &[1, 3]);
        check_lines("123456789\n1234567890\n7\n1234567890", 9, &[(1, "123456789"), (3, "7")], &[2, 4]);
        check_lines(
            &format!("1\n{}\n2\n{}", "9".repeat(BLOCK_BYTES * 2), "9".repeat(BLOCK_BYTES + 9)),
            9,
            &[(1, "1"), (3, "2")],
            &[2, 4],
        );
    }

    #[test]
    fn bytes_that_are_no_text_are_rejected() {
        let memory = Memory::with("in.ndjson", &b"\"\xff\"\n1\n"[..]);
        assert_eq!(read(&memory, json!({"path": "in.ndjson"}))[0].seq, Seq(2));
        assert_eq!(memory.events().len(), 1);
    }

    #[test]
    fn fields_of_a_line() {
        let memory = Memory::with("d/in.ndjson", "{\"i\":{\"d\":\"x\"},\"t\":1.5,\"n\":7}\n{\"i\":1}\n");
        let config = json!({"path": "d/in.ndjson", "id": "i.d", "key": "n", "time": "t", "time_unit": "s"});
        let entries = read(&memory, config);
        let view = |entry: &Entry| (entry.draft.packet_id.clone(), entry.draft.key.clone(), entry.draft.ts);
        assert_eq!(view(&entries[0]), ("x".into(), Some("7".into()), 1_500_000_000));
        assert_eq!(view(&entries[1]), ("d/in.ndjson:2".into(), None, 0));
        assert_eq!(entries[0].draft.source_id, "d/in.ndjson");
    }

    fn quakes() -> Memory {
        Memory::with("quakes.ndjson", include_bytes!("../../../scenarios/data/quakes.ndjson").as_slice())
    }

    fn quakes_config() -> Value {
        json!({"path": "quakes.ndjson", "id": "id", "key": "net", "time": "time"})
    }

    #[test]
    fn the_quakes_and_a_restart_anywhere() {
        let whole = read(&quakes(), quakes_config());
        assert_eq!(whole.len(), 1707);
        let joined: Vec<u8> = whole.iter().flat_map(|entry| [&entry.draft.payload[..], b"\n"].concat()).collect();
        assert_eq!(joined, quakes().file("quakes.ndjson"));
        let draft = &whole[0].draft;
        assert_eq!((draft.packet_id.as_str(), draft.key.as_deref()), ("uw61345682", Some("uw")));
        assert!(draft.meta.is_empty());
        assert_eq!(draft.ts, 1_517_363_399_650_000_000);
        for cut in [0, 1, 500, 1705, 1706] {
            let resume = Resume { floor: whole[cut].seq, position: whole[cut].position.clone(), ..Resume::default() };
            let rest = read_from(&quakes(), quakes_config(), resume, 64).unwrap();
            assert_eq!(format!("{rest:?}"), format!("{:?}", &whole[cut + 1..]));
        }
    }

    #[test]
    fn plays_by_the_files_clock() {
        let memory = quakes();
        let config = |speed: f64| {
            let mut config = quakes_config();
            config["replay"] = json!({"speed": speed});
            config
        };
        let whole = read(&memory, config(600.0));
        assert_eq!(whole.len(), 1707);
        // 603,374,190 ms of the file at 600 times its speed.
        assert_eq!(memory.mono(), 1_005_623_650_000);
        let mut source = build(&memory, config(1.0));
        let start = memory.mono();
        wait(async {
            source.start(Resume::default()).await.unwrap();
            assert_eq!(source.next(9).await.unwrap().unwrap().len(), 1, "the second is not due yet");
            let mut waiting = source.next(9);
            assert!(poll_once(&mut waiting).is_none());
            drop(waiting);
            let entries = source.next(9).await.unwrap().unwrap();
            assert_eq!(entries[0].seq, Seq(2), "a dropped call loses nothing");
        });
        assert_eq!(memory.mono() - start, 616_010_000_000);
    }

    #[test]
    fn follows_a_growing_file() {
        let memory = Memory::with("in.ndjson", "1\n2");
        let mut source = build(&memory, json!({"path": "in.ndjson", "follow": true}));
        wait(async {
            source.start(Resume::default()).await.unwrap();
            assert_eq!(source.next(9).await.unwrap().unwrap().len(), 1);
            let mut waiting = source.next(9);
            assert!(poll_once(&mut waiting).is_none(), "`2` may go on");
            memory.put("in.ndjson", "1\n23\n");
            let entries = waiting.await.unwrap().unwrap();
            assert_eq!((entries[0].seq, &entries[0].draft.payload[..]), (Seq(2), &b"23"[..]));
        });
        assert_eq!(memory.mono(), FOLLOW_NS);
    }

    #[test]
    fn a_file_that_is_missing_or_another_names_its_path() {
        let resume = Resume { floor: Seq(2), position: vec![9, 2].into(), ..Resume::default() };
        let error = |memory: &Memory, resume: Resume| {
            read_from(memory, json!({"path": "in.ndjson"}), resume, 1).unwrap_err().message
        };
        assert!(error(&Memory::default(), Resume::default()).contains("could not open `in.ndjson`"));
        assert!(error(&Memory::with("in.ndjson", "1\n"), resume).contains("not the same file"));
        let garbage = Resume { floor: Seq(2), position: vec![0xff].into(), ..Resume::default() };
        assert!(error(&Memory::with("in.ndjson", "1\n"), garbage).contains("the position in `in.ndjson`"));
    }

    #[test]
    fn wrong_configurations_name_the_key() {
        for (config, key) in [
            (json!({}), "path"),
            (json!({"path": ""}), "path"),
            (json!({"path": "a/"}), "path"),
            (json!({"path": "a\u{0}"}), "path"),
            (json!({"path": "x", "keys": "net"}), "keys"),
            (json!({"path": "x", "replay": {"speed": 600}}), "time"),
            (json!({"path": "x", "time": "t", "replay": {"speed": 0}}), "replay"),
            (json!({"path": "x", "replay": "fast"}), "fast"),
            (json!({"path": "x", "time_unit": "ms"}), "time_unit"),
            (json!({"path": "x", "max_line": 0}), "max_line"),
        ] {
            let RegistryError::Config(error) = registry().lint("std:ndjson_source", config.clone()).unwrap_err() else {
                panic!("another error");
            };
            assert_eq!(error.key.as_deref(), Some(key), "{config}: {error}");
        }
    }
}
