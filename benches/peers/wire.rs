//! Text protocols over a socket: lines and counted bytes in, a window of requests out.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Most bytes that are read at a time.
const READ_BYTES: usize = 256 << 10;

/// A connection with what was read and not used yet.
pub(super) struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// What of `buffer` holds bytes that are not used yet.
    start: usize,
    end: usize,
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Wire {
        Wire { stream, buffer: vec![0; READ_BYTES], start: 0, end: 0 }
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Waits for more bytes.
    fn fill(&mut self) -> io::Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.end == self.buffer.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "an answer longer than any that is known"));
        }
        match self.stream.read(&mut self.buffer[self.end..]) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                self.end += read;
                Ok(())
            }
            // A signal is the servers' guard's business.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The next line, without its end.
    pub(super) fn line(&mut self) -> io::Result<String> {
        loop {
            let unused = &self.buffer[self.start..self.end];
            if let Some(len) = unused.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8_lossy(&unused[..len]).into_owned();
                self.start += len + 2;
                return Ok(line);
            }
            self.fill()?;
        }
    }

    /// The next `len` bytes and the line end behind them.
    pub(super) fn counted(&mut self, len: usize) -> io::Result<String> {
        while self.end - self.start < len + 2 {
            self.fill()?;
        }
        let text = String::from_utf8_lossy(&self.buffer[self.start..self.start + len]).into_owned();
        self.start += len + 2;
        Ok(text)
    }

    /// True when something was read that is not used yet.
    pub(super) fn has_unused(&self) -> bool {
        self.end > self.start
    }
}

/// Sends requests for `time`, at most `window` of them unanswered, each of what `request` writes; gives how many were
/// answered. All that may go out goes out in one write.
pub(super) fn pump(
    wire: &mut Wire,
    window: usize,
    time: Duration,
    mut request: impl FnMut(&mut Vec<u8>),
    mut answer: impl FnMut(&mut Wire) -> Result<(), Box<dyn Error>>,
) -> Result<u64, Box<dyn Error>> {
    let began = Instant::now();
    let (mut unanswered, mut answered) = (0, 0);
    let mut out = Vec::new();
    loop {
        if began.elapsed() < time {
            out.clear();
            (unanswered..window).for_each(|_| request(&mut out));
            unanswered = window;
            wire.send(&out)?;
        }
        if unanswered == 0 {
            return Ok(answered);
        }
        // All answers that are there, at least one.
        loop {
            answer(wire)?;
            unanswered -= 1;
            answered += 1;
            if unanswered == 0 || !wire.has_unused() {
                break;
            }
        }
    }
}
