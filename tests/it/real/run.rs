//! A command that runs, as a test sees it: what it says, its children, its end. Whatever is left ends with the test.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests of real processes read and wait for real; a failure is the test\'s"
)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Longer than anything here takes, also on a machine that is slowed down.
pub(crate) const PATIENCE: Duration = Duration::from_secs(240);
const LOOK: Duration = Duration::from_millis(10);

/// A command that runs.
pub(crate) struct Running {
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
    status: Option<ExitStatus>,
}

/// The command under test.
pub(crate) fn seaworthy() -> Command {
    Command::new(env!("CARGO_BIN_EXE_seaworthy"))
}

/// Ends a process; fine when it is gone already.
pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id is a small positive number");
    let _ = kill_process(pid, signal);
}

/// Looks until `holds`, and fails with `what` and what `running` said when it never does.
#[track_caller]
pub(crate) fn until(running: &mut Running, what: &str, mut holds: impl FnMut(&mut Running) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds(running) {
        assert!(Instant::now() < deadline, "never came: {what}\n{}", running.said());
        std::thread::sleep(LOOK);
    }
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Running {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("could not start {command:?}: {error}"));
        let said = Arc::new(Mutex::new(Vec::new()));
        let (stderr, lines) = (child.stderr.take().unwrap(), said.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        Running { child, said, status: None }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that it said so far.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().join("\n")
    }

    pub(crate) fn has_said(&self, part: &str) -> bool {
        self.said.lock().unwrap().iter().any(|line| line.contains(part))
    }

    /// How often it said that.
    pub(crate) fn times_said(&self, part: &str) -> usize {
        self.said.lock().unwrap().iter().filter(|line| line.contains(part)).count()
    }

    /// The child that runs as `process` now, by what the supervisor said last of it.
    pub(crate) fn child(&self, process: &str) -> Option<u32> {
        let (started, restarting) = (format!("run | started {process} (pid "), format!("run | restarting {process} "));
        let said = self.said.lock().unwrap();
        let last = said.iter().rfind(|line| line.starts_with(&started) || line.starts_with(&restarting))?;
        last.strip_prefix(&started)?.trim_end_matches(')').parse().ok()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self.child.try_wait().unwrap();
        }
        self.status.is_some()
    }

    /// Waits for its end and gives the exit code.
    #[track_caller]
    pub(crate) fn code(&mut self) -> Option<i32> {
        until(self, "its end", Running::has_ended);
        // What it said last may still be on its way through the pipe.
        std::thread::sleep(LOOK * 5);
        self.status.and_then(|status| status.code())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.has_ended() {
            return;
        }
        signal(self.pid(), Signal::KILL);
        let _ = self.child.wait();
        // Of the children that it named, those that still are what they were.
        for line in self.said.lock().unwrap().iter() {
            let Some((_, pid)) = line.rsplit_once("(pid ") else { continue };
            let Ok(pid) = pid.trim_end_matches(')').parse::<u32>() else { continue };
            let command = std::fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&command).contains(env!("CARGO_BIN_EXE_seaworthy")) {
                signal(pid, Signal::KILL);
            }
        }
    }
}
