//! How a supervisor and its child talk, a line each: down the child's stdin, up its stdout.
//!
//! Down: `finish` (nothing more will come over the channels: end once all is delivered), and the end of the stream (stop
//! in good order), which also comes when the supervisor dies. Up: JSON, as [`Word`] says.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};

use seaworthy_reports::result::Counts;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::unix::pipe;

/// Says that no producer will send any more.
pub(super) const FINISH: &str = "finish";
/// What a pipe takes whole or not at all (`PIPE_BUF`).
const WORD_BYTES_MAX: usize = 4096;
/// Findings of a recovery that are passed on.
const FINDINGS_MAX: usize = 8;

/// What a child tells.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Word {
    /// The journal is open and all nodes run.
    Up {
        /// What opening the journal found, in lines for a person.
        recovery: Vec<String>,
    },
    /// All that this child has counted so far.
    Counted(Counts),
}

impl Word {
    /// Up, with no more findings than a line may hold.
    pub(super) fn up(mut recovery: Vec<String>) -> Word {
        let more = recovery.len().saturating_sub(FINDINGS_MAX);
        recovery.truncate(FINDINGS_MAX);
        if more > 0 {
            recovery.push(format!("and {more} more findings"));
        }
        Word::Up { recovery }
    }
}

/// A child's end.
pub(super) struct Supervisor {
    down: Option<Lines<BufReader<pipe::Receiver>>>,
    up: pipe::Sender,
}

impl Supervisor {
    /// Takes over stdin and stdout, which must be pipes.
    pub(super) fn attach() -> io::Result<Supervisor> {
        let own = |fd: BorrowedFd<'_>| fd.try_clone_to_owned();
        let down = pipe::Receiver::from_owned_fd(own(io::stdin().as_fd())?)?;
        let up = pipe::Sender::from_owned_fd(own(io::stdout().as_fd())?)?;
        Ok(Supervisor { down: Some(BufReader::new(down).lines()), up })
    }

    /// Tells a word, unless the supervisor doesn't listen: a child never waits for it.
    pub(super) fn tell(&self, word: &Word) {
        let mut line = serde_json::to_vec(word).expect("words hold only text and numbers");
        line.push(b'\n');
        if line.len() <= WORD_BYTES_MAX {
            let _ = self.up.try_write(&line);
        }
    }

    /// The next line from above; `None`, once, when the supervisor has hung up. Dropping it loses nothing.
    pub(super) async fn hear(&mut self) -> Option<String> {
        let Some(down) = &mut self.down else { return std::future::pending().await };
        match down.next_line().await {
            Ok(Some(line)) => Some(line),
            Ok(None) | Err(_) => {
                self.down = None;
                None
            }
        }
    }
}

/// What a child said; `None` for what is no word.
pub(super) fn read(line: &str) -> Option<Word> {
    serde_json::from_str(line).ok()
}

/// The word that ends the input, as bytes for a child's stdin.
pub(super) fn finish() -> Vec<u8> {
    let mut line = Vec::new();
    writeln!(line, "{FINISH}").expect("writing to a Vec can't fail");
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_fit_a_pipe_and_are_read_back() {
        let up = Word::up(
            (0..100).map(|n| format!("lost.reported {n}..{n} (confirmed records that the disk destroyed)")).collect(),
        );
        let mut tally = Counts::default();
        for n in 0..17 {
            tally.dropped.insert(format!("{n:048}"), u64::MAX);
            tally.refused.insert(format!("{n:048}"), u64::MAX);
            tally.events.insert(format!("{n:016}"), u64::MAX);
        }
        for word in [up, Word::Counted(tally)] {
            let line = serde_json::to_string(&word).unwrap();
            assert!(line.len() < WORD_BYTES_MAX, "{} bytes", line.len());
            assert_eq!(read(&line), Some(word));
        }
        assert_eq!(read("Compiling"), None);
    }
}
