//! `std:ndjson_sink`: appends one line a packet to a file, durable before it is confirmed.
//!
//! A crash in the middle of a write leaves a torn tail: a line without its end, or sectors that never arrived. One
//! write has at most [`WRITE_BYTES`], so the first line of the last [`WRITE_BYTES`] that is not JSON starts the tail.
//! It can't be truncated, so it is overwritten: first with NUL, which no JSON line may hold, so that a second crash
//! can't blend old and new into something that reads well; then by the next lines, the last of them padded with
//! spaces where the tail was longer. Nothing of a tail was ever confirmed, so its packets come again.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::path_of_file;
use crate::env::{File, Fut, Open};
use crate::node::{Class, ConfigError, NodeContext, NodeError, Registry, Sink};
use crate::packet::Packet;

/// Bytes that one write has at most, and so the longest line.
const WRITE_BYTES: usize = 4 << 20;

/// What stands for the process's name in a path.
const PROCESS: &str = "{process}";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    path: String,
    #[serde(default)]
    envelope: bool,
}

struct NdjsonSink {
    context: NodeContext,
    config: Config,
    file: Option<Arc<dyn File>>,
    /// While it is held no other sink writes to the file: each would write over what the other has confirmed.
    lock: Option<Box<dyn Send + Sync>>,
    /// After the last line that is known to be whole and durable; `None` until the file was read.
    end: Option<u64>,
    /// Bytes may lie past `end`: at the start, and after a write that failed or that nobody waited for.
    suspect: bool,
}

impl NdjsonSink {
    fn failed(&self, what: &str, error: &io::Error) -> NodeError {
        NodeError::new(Class::SinkUnavailable, format!("could not {what} `{}`: {error}", self.config.path))
    }

    async fn opened(&mut self) -> Result<Arc<dyn File>, NodeError> {
        if let Some(file) = &self.file {
            return Ok(file.clone());
        }
        let (files, path) = (&self.context.files, &self.config.path);
        let parent = parent_of(path);
        let mut opened = files.open(path, Open::CreateOrWrite).await;
        let missing = opened.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        if missing {
            files.create_dir(parent).await.map_err(|error| self.failed("create the directory of", &error))?;
            opened = files.open(path, Open::CreateOrWrite).await;
        }
        let file = opened.map_err(|error| self.failed("open", &error))?;
        // The name must be durable before a line in it is, and so must the names of new directories.
        let mut dir = parent;
        files.sync_dir(dir).await.map_err(|error| self.failed("create", &error))?;
        while missing && !matches!(dir, "" | "/") {
            dir = parent_of(dir);
            files.sync_dir(dir).await.map_err(|error| self.failed("create", &error))?;
        }
        if self.lock.is_none() {
            self.lock = Some(files.lock(path).await.map_err(|error| match error.kind() {
                io::ErrorKind::WouldBlock => {
                    let message = format!("another sink writes to `{path}`: give each a file of its own");
                    NodeError::new(Class::SinkUnavailable, message)
                }
                _ => self.failed("lock", &error),
            })?);
        }
        self.file = Some(file.clone());
        Ok(file)
    }

    /// Where the next line goes, and how many bytes from there on it must overwrite.
    async fn tail(&mut self, file: &dyn File) -> Result<(u64, u64), NodeError> {
        if let (Some(end), false) = (self.end, self.suspect) {
            return Ok((end, 0));
        }
        let len = file.len().await.map_err(|error| self.failed("read", &error))?;
        let end = match self.end {
            Some(end) if end <= len => end,
            _ => self.find_end(file, len).await?,
        };
        self.end = Some(end);
        if end < len {
            let torn =
                usize::try_from(len - end).ok().filter(|torn| *torn <= WRITE_BYTES).ok_or_else(|| self.foreign())?;
            tracing::warn!(node = %self.context.node, path = %self.config.path, at = end, bytes = torn, "overwriting a torn tail");
            let nul = Bytes::from(vec![0; torn]);
            file.write_sync(end, vec![nul]).await.map_err(|error| self.failed("repair the tail of", &error))?;
        }
        Ok((end, len - end))
    }

    /// The offset after the last line that is whole.
    async fn find_end(&self, file: &dyn File, len: u64) -> Result<u64, NodeError> {
        // One byte more than a write, so that a line end right before the tail is seen.
        let from = len.saturating_sub(WRITE_BYTES as u64 + 1);
        let bytes = file.read_at(from, WRITE_BYTES + 1).await.map_err(|error| self.failed("read", &error))?;
        let mut whole = match bytes.iter().position(|byte| *byte == b'\n') {
            _ if from == 0 => 0,
            Some(line_end) => line_end + 1,
            None => return Err(self.foreign()),
        };
        while let Some(line_len) = bytes[whole..].iter().position(|byte| *byte == b'\n') {
            let line = &bytes[whole..whole + line_len];
            if !line.iter().all(u8::is_ascii_whitespace) && one_line(line).is_err() {
                break;
            }
            whole += line_len + 1;
        }
        Ok(from + whole as u64)
    }

    fn foreign(&self) -> NodeError {
        let message = format!(
            "`{}` does not end like a file of lines: its last line is over {WRITE_BYTES} bytes",
            self.config.path
        );
        NodeError::new(Class::SinkUnavailable, message)
    }

    fn line(&self, packet: &Packet) -> Result<Vec<u8>, NodeError> {
        let payload = one_line(&packet.payload).map_err(|why| {
            NodeError::new(Class::DecodeFailed, format!("the payload can't be a line of JSON: {why}"))
        })?;
        let mut line = if self.config.envelope {
            let text = |value: serde_json::Value| value.to_string();
            format!(
                r#"{{"packet_id":{},"key":{},"ts":{},"identity":"{}","payload":{payload}}}"#,
                text(packet.packet_id.as_str().into()),
                text(packet.key.as_deref().into()),
                packet.ts,
                packet.identity,
            )
        } else {
            payload.to_owned()
        };
        line.push('\n');
        if line.len() > WRITE_BYTES {
            let message = format!("a line has at most {WRITE_BYTES} bytes, not {}", line.len());
            return Err(NodeError::new(Class::SizeExceeded, message));
        }
        Ok(line.into_bytes())
    }

    async fn append(&mut self, mut lines: Vec<u8>) -> Result<(), NodeError> {
        let file = self.opened().await?;
        let (end, torn) = self.tail(&*file).await?;
        let after = end + lines.len() as u64;
        if let Some(missing) = (end + torn).checked_sub(after) {
            let missing = usize::try_from(missing).expect("a torn tail is at most one write");
            let line_end = lines.pop();
            lines.resize(lines.len() + missing, b' ');
            lines.extend(line_end);
        }
        let after = end + lines.len() as u64;
        self.suspect = true;
        file.write_sync(end, vec![lines.into()]).await.map_err(|error| self.failed("write", &error))?;
        self.suspect = false;
        self.end = Some(after);
        Ok(())
    }

    async fn write_batch(&mut self, batch: &[Packet]) -> Vec<Result<(), NodeError>> {
        let mut lines = Vec::new();
        let mut results = Vec::new();
        for packet in batch {
            match self.line(packet) {
                Ok(line) if lines.len() + line.len() > WRITE_BYTES => break,
                Ok(line) => {
                    lines.extend(line);
                    results.push(Ok(()));
                }
                Err(error) => results.push(Err(error)),
            }
        }
        if lines.is_empty() {
            return results;
        }
        if let Err(error) = self.append(lines).await {
            // After an error a file may stay broken until it is opened anew.
            self.file = None;
            let first = results.iter().position(Result::is_ok).expect("there is a line to write");
            results.truncate(first);
            results.push(Err(error));
        }
        results
    }
}

/// The directory that a path is in; `""` is the graph's.
fn parent_of(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) => "/",
        Some((parent, _)) => parent,
        None => "",
    }
}

/// The bytes as text, when they are one line of JSON.
fn one_line(bytes: &[u8]) -> Result<&str, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    if text.contains('\n') {
        return Err("it has more than one line".into());
    }
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| error.to_string())?;
    Ok(text)
}

impl Sink for NdjsonSink {
    fn write<'a>(&'a mut self, batch: &'a [Packet]) -> Fut<'a, Vec<Result<(), NodeError>>> {
        Box::pin(self.write_batch(batch))
    }
}

fn lint(config: &Config) -> Result<(), ConfigError> {
    path_of_file(&config.path)
}

pub(super) fn register(registry: &mut Registry) {
    registry.sink::<Config>("std:ndjson_sink", lint, |context, config| {
        lint(&config)?;
        let config = Config { path: config.path.replace(PROCESS, &context.process), ..config };
        Ok(Box::new(NdjsonSink { context: context.clone(), config, file: None, lock: None, end: None, suspect: true }))
    });
}

#[cfg(test)]
mod tests {
    use super::super::memory::{Fail, Memory, packet, registry, wait};
    use super::WRITE_BYTES;
    use crate::node::{Class, NodeError, RegistryError, Sink};
    use crate::packet::{Fields, Packet};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const ENOSPC: i32 = 28;
    const EIO: i32 = 5;

    fn build(memory: &Memory) -> Box<dyn Sink> {
        registry().build_sink("std:ndjson_sink", &memory.context(), json!({"path": "d/out.ndjson"})).unwrap()
    }

    fn raw(payload: impl Into<bytes::Bytes>) -> Packet {
        Packet::from(Fields { payload: payload.into(), ..packet(json!(0)).fields().clone() })
    }

    /// What an independent reader sees: every line must be JSON.
    #[track_caller]
    fn lines(memory: &Memory) -> Vec<Value> {
        let content = String::from_utf8(memory.file("d/out.ndjson")).unwrap();
        assert!(content.is_empty() || content.ends_with('\n'), "{content:?}");
        content.lines().map(|line| line.parse().unwrap_or_else(|_| panic!("{line:?} is not JSON"))).collect()
    }

    fn classes(results: &[Result<(), NodeError>]) -> Vec<Option<Class>> {
        results.iter().map(|result| result.as_ref().err().map(|error| error.class)).collect()
    }

    #[test]
    fn a_file_has_one_sink_at_a_time() {
        let memory = Memory::default();
        let (mut one, mut other) = (build(&memory), build(&memory));
        assert_eq!(classes(&wait(one.write(&[raw("1")]))), [None]);
        let refused = wait(other.write(&[raw("2")]));
        assert_eq!(classes(&refused), [Some(Class::SinkUnavailable)]);
        assert!(refused[0].as_ref().is_err_and(|error| error.message.contains("another sink")), "{refused:?}");
        drop(one);
        assert_eq!(classes(&wait(other.write(&[raw("2")]))), [None]);
        assert_eq!(lines(&memory), [json!(1), json!(2)]);
    }

    #[test]
    fn one_durable_write_a_batch() {
        let memory = Memory::default();
        let mut sink = build(&memory);
        let batch = [raw("{\"a\": 1}"), raw("[2]")];
        assert_eq!(classes(&wait(sink.write(&batch))), [None, None]);
        assert_eq!(memory.log(), ["open d/out.ndjson", "sync_dir \"d\"", "write_sync 0+13"]);
        assert_eq!(classes(&wait(sink.write(&batch[1..]))), [None]);
        assert_eq!(memory.log(), ["write_sync 13+4"]);
        assert_eq!(memory.file("d/out.ndjson"), b"{\"a\": 1}\n[2]\n[2]\n");
        assert!(wait(sink.write(&[])).is_empty() && memory.log().is_empty());
    }

    #[test]
    fn what_is_no_line_of_json_fails_alone() {
        let memory = Memory::default();
        let long = format!("\"{}\"", "x".repeat(WRITE_BYTES));
        let batch = [raw(""), raw("1"), raw("{"), raw("{\n}"), raw(&b"\"\xff\""[..]), raw(long), raw("2")];
        let decode = Some(Class::DecodeFailed);
        let expected = [decode, None, decode, decode, decode, Some(Class::SizeExceeded), None];
        assert_eq!(classes(&wait(build(&memory).write(&batch))), expected);
        assert_eq!(lines(&memory), [json!(1), json!(2)]);
    }

    #[test]
    fn a_batch_beyond_one_write_is_answered_in_part() {
        let memory = Memory::default();
        let half = raw(format!("\"{}\"", "x".repeat(WRITE_BYTES / 2 - 3)));
        let results = wait(build(&memory).write(&[half.clone(), half.clone(), half]));
        assert_eq!(classes(&results), [None, None]);
        assert_eq!(memory.file("d/out.ndjson").len(), WRITE_BYTES);
        // A restart finds the end even where the last write was as large as a write may be.
        assert_eq!(classes(&wait(build(&memory).write(&[raw("1")]))), [None]);
        assert_eq!(lines(&memory).len(), 3);
    }

    #[test]
    fn envelopes_say_who() {
        let memory = Memory::default();
        let config = json!({"path": "d/out.ndjson", "envelope": true});
        let mut sink = registry().build_sink("std:ndjson_sink", &memory.context(), config).unwrap();
        let named = Packet::from(Fields {
            packet_id: "a\"b\n".into(),
            key: None,
            ..packet(json!({"z": 1, "a": 2})).fields().clone()
        });
        wait(sink.write(&[named]));
        assert_eq!(
            lines(&memory),
            [
                json!({"packet_id": "a\"b\n", "key": null, "ts": 5, "identity": "0000000000000001.1.1", "payload": {"z": 1, "a": 2}})
            ]
        );
    }

    #[track_caller]
    fn check_tail(before: &[u8], expected: &str) {
        let memory = Memory::with("d/out.ndjson", before);
        assert_eq!(classes(&wait(build(&memory).write(&[raw("[7]"), raw("[8]")]))), [None, None]);
        assert_eq!(String::from_utf8(memory.file("d/out.ndjson")).unwrap(), expected);
        lines(&memory);
    }

    #[test]
    fn torn_tails_are_overwritten() {
        check_tail(b"[1]\n", "[1]\n[7]\n[8]\n");
        check_tail(b"[1]\n[2", "[1]\n[7]\n[8]\n");
        check_tail(b"[1", "[7]\n[8]\n");
        check_tail(b"[1]\n\"123456\"", "[1]\n[7]\n[8]\n");
        check_tail(b"[1]\n\"1234567\"", "[1]\n[7]\n[8] \n");
        check_tail(b"[1]\n\"12345678901", "[1]\n[7]\n[8]    \n");
        // Sectors that never arrived: zeroes inside, and whole lines behind them.
        check_tail(b"[1]\n\0\0\0\n[3]\n", "[1]\n[7]\n[8]\n");
        check_tail(b"[1]\n[2, \0\0\0]\n[3]\n[4]\n", "[1]\n[7]\n[8]         \n");
        check_tail(&[0; 20], "[7]\n[8]            \n");
    }

    #[test]
    fn a_file_without_line_ends_is_left_alone() {
        let memory = Memory::with("d/out.ndjson", vec![b'x'; WRITE_BYTES + 2]);
        let results = wait(build(&memory).write(&[raw("1")]));
        assert_eq!(classes(&results), [Some(Class::SinkUnavailable)]);
        assert_eq!(memory.file("d/out.ndjson"), vec![b'x'; WRITE_BYTES + 2]);
    }

    #[test]
    fn a_failed_write_is_tried_again_where_it_began() {
        for errno in [ENOSPC, EIO] {
            let memory = Memory::with("d/out.ndjson", "[0]\n");
            let mut sink = build(&memory);
            memory.fail(&[Some(Fail { errno, sectors: 0b10 }), Some(Fail { errno, sectors: 0b1 })]);
            let long = raw("[1234567890]");
            let results = wait(sink.write(&[raw("{"), long.clone(), raw("{"), long]));
            assert_eq!(classes(&results), [Some(Class::DecodeFailed), Some(Class::SinkUnavailable)]);
            assert!(results[1].as_ref().unwrap_err().message.contains("could not write `d/out.ndjson`"));
            // The repair fails as well; then there is room, and another, shorter batch.
            assert_eq!(classes(&wait(sink.write(&[raw("[1]")]))), [Some(Class::SinkUnavailable)]);
            memory.log();
            assert_eq!(classes(&wait(sink.write(&[raw("[1]")]))), [None]);
            assert_eq!(memory.log(), ["open d/out.ndjson", "sync_dir \"d\"", "write_sync 4+12", "write_sync 4+12"]);
            assert_eq!(lines(&memory), [json!([0]), json!([1])]);
        }
    }

    #[test]
    fn wrong_configurations_name_the_key() {
        for (config, key) in
            [(json!({}), "path"), (json!({"path": "x/"}), "path"), (json!({"path": "x", "gzip": 1}), "gzip")]
        {
            let RegistryError::Config(error) = registry().lint("std:ndjson_sink", config).unwrap_err() else {
                panic!("another error");
            };
            assert_eq!(error.key.as_deref(), Some(key), "{error}");
        }
    }

    proptest! {
        /// Failing writes of which any sectors arrive, with and without a restart: what was confirmed stays, in order,
        /// and every line is one that was written, no blend of two. Each line is two sectors that fit any other's.
        #[test]
        fn confirmed_lines_survive_torn_writes(
            writes in prop::collection::vec((1..4usize, [any::<bool>(); 2], any::<u64>(), any::<bool>()), 1..12),
        ) {
            let memory = Memory::default();
            let mut sink = build(&memory);
            let (mut offered, mut confirmed) = (Vec::new(), Vec::new());
            for (count, fails, sectors, restart) in writes {
                let texts = (offered.len()..).take(count).map(|n| format!(r#"["{n:04}","{n:04}"]"#));
                let batch: Vec<Packet> = texts.map(raw).collect();
                offered.extend(batch.iter().map(|packet| packet.json().unwrap().clone()));
                if restart {
                    sink = build(&memory);
                }
                // The first may be a repair, the second the write itself.
                memory.fail(&fails.map(|fails| fails.then_some(Fail { errno: EIO, sectors })));
                if wait(sink.write(&batch)).iter().all(Result::is_ok) {
                    confirmed.extend_from_slice(&offered[offered.len() - count..]);
                }
            }
            memory.fail(&[]);
            wait(sink.write(&[packet(json!("end"))]));
            offered.push(json!("end"));
            confirmed.push(json!("end"));
            let seen = lines(&memory);
            prop_assert!(seen.iter().all(|line| offered.contains(line)), "{:?}", seen);
            let mut seen = seen.into_iter();
            for value in confirmed {
                prop_assert!(seen.any(|line| line == value), "{} is missing", value);
            }
        }
    }
}
