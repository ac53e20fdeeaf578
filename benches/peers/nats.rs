//! NATS JetStream with `sync_interval: always`: single publishes within the window, or atomic batches.
//! The protocol is <https://docs.nats.io/reference/reference-protocols/nats-protocol>, batches are ADR-50.

use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::server::{Server, Servers, free_address};
use super::wire::{Wire, pump};
use super::{Contender, PACKET_BYTES};

/// Most packets in an atomic batch; the server takes up to 1000.
const BATCH_MAX: usize = 512;
const INBOX: &str = "_INBOX.bench";

pub(super) struct Nats {
    wire: Wire,
    batched: bool,
    batches: u64,
    _server: Server,
}

impl Nats {
    pub(super) fn start(program: &Path, dir: &Path, servers: &Servers, batched: bool) -> Result<Nats, Box<dyn Error>> {
        let address = free_address()?;
        let name = format!("bench-{}-{}", std::process::id(), address.port());
        let config = dir.join("nats.conf");
        let store = dir.join("store");
        let text = format!(
            "server_name: {name}\nlisten: \"{address}\"\njetstream {{ store_dir: {store:?}, sync_interval: always }}\n"
        );
        std::fs::write(&config, text)?;
        let mut command = Command::new(program);
        command.arg("--config").arg(&config);
        let (server, stream) = servers.start(command, address, dir)?;
        let mut nats = Nats { wire: Wire::new(stream), batched, batches: 0, _server: server };
        nats.greet(&name)?;
        nats.create_stream()?;
        Ok(nats)
    }

    /// The server speaks first: whoever it is must have the name that was given, before it is sent a byte.
    fn greet(&mut self, name: &str) -> Result<(), Box<dyn Error>> {
        let info = self.wire.line()?;
        let said: Value = serde_json::from_str(info.strip_prefix("INFO ").ok_or("the server is no NATS")?)?;
        if said["server_name"] != name {
            return Err(format!("the server is {}, not {name}", said["server_name"]).into());
        }
        let hello = json!({"verbose": false, "pedantic": false, "headers": true, "no_responders": true});
        self.wire.send(format!("CONNECT {hello}\r\nSUB {INBOX} 1\r\nPING\r\n").as_bytes())?;
        match self.wire.line()?.as_str() {
            "PONG" => Ok(()),
            other => Err(format!("NATS answered {other}").into()),
        }
    }

    fn create_stream(&mut self) -> Result<(), Box<dyn Error>> {
        let stream = json!({"name": "BENCH", "subjects": ["bench"], "storage": "file", "retention": "limits",
            "max_consumers": -1, "max_msgs": -1, "max_bytes": -1, "max_age": 0, "num_replicas": 1, "discard": "old",
            "allow_atomic": self.batched});
        let stream = stream.to_string();
        let request = format!("PUB $JS.API.STREAM.CREATE.BENCH {INBOX} {}\r\n{stream}\r\n", stream.len());
        self.wire.send(request.as_bytes())?;
        answer(&mut self.wire).map(drop)
    }
}

/// Reads the next message of the inbox; one that tells of an error is one. Pings are answered on the way.
fn answer(wire: &mut Wire) -> Result<String, Box<dyn Error>> {
    loop {
        let line = wire.line()?;
        let mut words = line.split(' ');
        match words.next() {
            Some("PING") => wire.send(b"PONG\r\n")?,
            Some("MSG" | "HMSG") => {
                let len = words.next_back().and_then(|len| len.parse().ok());
                let text = wire.counted(len.ok_or_else(|| format!("NATS says {line}"))?)?;
                let wrong = line.starts_with("HMSG") || text.contains("\"error\"");
                return if wrong { Err(format!("NATS answered {text}").into()) } else { Ok(text) };
            }
            _ => return Err(format!("NATS says {line}").into()),
        }
    }
}

/// Writes the batch `id` of `count` packets. Only the last, which commits it, is answered.
fn batch(out: &mut Vec<u8>, id: u64, count: usize, payload: &[u8]) {
    for number in 1..=count {
        let (commit, reply) =
            if number == count { ("Nats-Batch-Commit: 1\r\n", format!("{INBOX} ")) } else { ("", String::new()) };
        let header = format!("NATS/1.0\r\nNats-Batch-Id: {id:016x}\r\nNats-Batch-Sequence: {number}\r\n{commit}\r\n");
        let total = header.len() + payload.len();
        out.extend_from_slice(format!("HPUB bench {reply}{} {total}\r\n{header}", header.len()).as_bytes());
        out.extend_from_slice(payload);
        out.extend_from_slice(b"\r\n");
    }
}

impl Contender for Nats {
    fn carry(&mut self, window: usize, time: Duration) -> Result<u64, Box<dyn Error>> {
        let payload = [b'x'; PACKET_BYTES];
        if !self.batched {
            let mut publish = format!("PUB bench {INBOX} {PACKET_BYTES}\r\n").into_bytes();
            publish.extend_from_slice(&payload);
            publish.extend_from_slice(b"\r\n");
            let request = |out: &mut Vec<u8>| out.extend_from_slice(&publish);
            return pump(&mut self.wire, window, time, request, |wire| answer(wire).map(drop));
        }
        let count = window.min(BATCH_MAX);
        let batches = &mut self.batches;
        let request = |out: &mut Vec<u8>| {
            *batches += 1;
            batch(out, *batches, count, &payload);
        };
        let committed = pump(&mut self.wire, window / count, time, request, |wire| answer(wire).map(drop))?;
        Ok(committed * count as u64)
    }
}
