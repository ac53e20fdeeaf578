//! Redis streams with `appendfsync always`: `XADD`, pipelined within the window.
//! The protocol is RESP2, <https://redis.io/docs/latest/develop/reference/protocol-spec/>.

use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::server::{Server, Servers, free_address};
use super::wire::{Wire, pump};
use super::{Contender, PACKET_BYTES};

pub(super) struct Redis {
    wire: Wire,
    _server: Server,
}

impl Redis {
    pub(super) fn start(program: &Path, dir: &Path, servers: &Servers) -> Result<Redis, Box<dyn Error>> {
        let address = free_address()?;
        let mut command = Command::new(program);
        command.args(["--bind", &address.ip().to_string(), "--port", &address.port().to_string()]);
        command.args(["--appendonly", "yes", "--appendfsync", "always"]).arg("--dir").arg(dir);
        // It is spared what it does beside the append-only file: snapshots, and writing that file anew.
        command.args(["--save", "", "--auto-aof-rewrite-percentage", "0"]);
        let (server, stream) = servers.start(command, address, dir)?;
        let mut redis = Redis { wire: Wire::new(stream), _server: server };
        redis.check_name()?;
        Ok(redis)
    }

    /// Whoever answers must be the Redis that was started, before it is sent a packet.
    fn check_name(&mut self) -> Result<(), Box<dyn Error>> {
        self.wire.send(&command(&[b"INFO", b"server"]))?;
        let answer = bulk(&mut self.wire)?;
        let says = |key: &str| answer.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let id = self._server.id().to_string();
        if says("redis_version").is_none() || says("process_id") != Some(&id) {
            return Err(format!("the server is not the Redis that was started as process {id}: {answer}").into());
        }
        self.wire.send(&command(&[b"CONFIG", b"GET", b"appendfsync"]))?;
        self.wire.line()?;
        let (_, value) = (bulk(&mut self.wire)?, bulk(&mut self.wire)?);
        if value == "always" { Ok(()) } else { Err(format!("appendfsync is {value}").into()) }
    }
}

/// A command as an array of bulk strings.
fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// Reads a bulk string.
fn bulk(wire: &mut Wire) -> Result<String, Box<dyn Error>> {
    let line = wire.line()?;
    let len = line.strip_prefix('$').and_then(|len| len.parse().ok());
    let len = len.ok_or_else(|| format!("Redis answered {line}"))?;
    Ok(wire.counted(len)?)
}

impl Contender for Redis {
    fn carry(&mut self, window: usize, time: Duration) -> Result<u64, Box<dyn Error>> {
        let append = command(&[b"XADD", b"packets", b"*", b"p", &[b'x'; PACKET_BYTES]]);
        let request = |out: &mut Vec<u8>| out.extend_from_slice(&append);
        pump(&mut self.wire, window, time, request, |wire| bulk(wire).map(drop))
    }
}
