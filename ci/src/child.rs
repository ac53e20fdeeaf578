//! Runs a child process to its end and keeps what it said, stdout and stderr in the order in which they came.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, IsTerminal, Write, stdout};
use std::process::{Command, Stdio};

use crate::outcome::Failed;

/// The oldest lines go first beyond this.
const LINES_MAX: usize = 200_000;

/// A child that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit code; `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    /// What it said.
    pub(crate) lines: Vec<String>,
}

impl Ended {
    /// Fails unless the child ended with `code`.
    pub(crate) fn expect_code(self, code: i32, name: &str) -> Result<Self, Failed> {
        self.expect_one_of(&[code], name)
    }

    /// Fails unless the child ended with one of `codes`.
    pub(crate) fn expect_one_of(self, codes: &[i32], name: &str) -> Result<Self, Failed> {
        if self.code.is_some_and(|code| codes.contains(&code)) {
            return Ok(self);
        }
        let got = self.code.map_or("ended by a signal".to_owned(), |got| format!("exit {got}"));
        let expected: Vec<String> = codes.iter().map(i32::to_string).collect();
        Err(Failed { why: format!("{name}: {got}, expected {}", expected.join(" or ")), output: self.lines })
    }
}

/// Runs `command` without stdin. On a terminal its latest line shows while it runs.
pub(crate) fn run(command: Command) -> Result<Ended, Failed> {
    let name = command.get_program().to_string_lossy().into_owned();
    collect(command).map_err(|error| Failed::because(format!("could not run {name}: {error}")))
}

/// Takes out what `cargo run` adds for its program. Build scripts that look at it would run again, and all that is built on
/// them would be built again.
fn as_from_a_shell(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            command.env_remove(name);
        }
    }
}

fn collect(mut command: Command) -> std::io::Result<Ended> {
    as_from_a_shell(&mut command);
    let (reader, writer) = std::io::pipe()?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn()?;
    // It holds our copies of the pipe's writing end: without this the pipe never ends.
    drop(command);

    let mut lines = VecDeque::new();
    let mut reader = BufReader::new(reader);
    let mut bytes = Vec::new();
    while reader.read_until(b'\n', &mut bytes)? > 0 {
        let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        say_now(&line);
        if lines.len() == LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(line);
        bytes.clear();
    }
    Ok(Ended { code: child.wait()?.code(), lines: lines.into() })
}

/// Shows `line` in place of the one before, where a person watches.
pub(crate) fn say_now(line: &str) {
    const WIDTH: usize = 100;
    let mut out = stdout();
    if out.is_terminal() {
        let short: String = line.chars().filter(|c| !c.is_control()).take(WIDTH).collect();
        // Only for the eye: a terminal that is gone shows at the next real line.
        let _ = write!(out, "\r\x1b[2K{short}\r").and_then(|()| out.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Ended {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        run(command).expect("sh is everywhere")
    }

    #[test]
    fn keeps_both_streams_in_order_and_the_code() {
        let ended = shell("echo one; echo two >&2; echo three; exit 3");
        assert_eq!(ended.lines, ["one", "two", "three"]);
        assert_eq!(ended.code, Some(3));
    }

    #[test]
    fn another_code_or_a_signal_is_a_failure() {
        assert!(shell("exit 1").expect_code(1, "x").is_ok());
        let why = shell("exit 2").expect_code(1, "x").expect_err("2 is not 1").why;
        assert_eq!(why, "x: exit 2, expected 1");
        let why = shell("kill -9 $$").expect_code(0, "x").expect_err("killed").why;
        assert_eq!(why, "x: ended by a signal, expected 0");
    }

    #[test]
    fn a_missing_program_is_a_failure_with_its_name() {
        let why = run(Command::new("no-such-program-here")).expect_err("it does not exist").why;
        assert!(why.contains("no-such-program-here"), "{why}");
    }
}
