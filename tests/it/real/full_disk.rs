//! A small file system that is filled and freed again while it holds a journal.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests of real processes write real files and wait for real; a failure is the test\'s"
)]

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Signal, geteuid};

use super::run::{Running, seaworthy, signal, until};
use super::story::Story;
use super::{count, frames, not_run};

/// Two segments and, once it was freed, all that the hub writes.
const DISK_BYTES: &str = "48m";
const SEGMENT_BYTES: &str = "4194304";
/// So many that they fill two segments, whichever process can't get rid of them.
const LAPS: i64 = 36;
const REPLAY_MS: i64 = 5_000;

/// Mounts `$1` in a namespace of its own, runs the rest there, and keeps what the file system held as `$1.kept`.
const IN_SMALL_DISK: &str = r#"
mount -t tmpfs -o size="$2" tmpfs "$1" || exit 99
fs="$1"; shift 2
mkdir "$fs/journal" "$fs/out" || exit 99
"$@" & echo "supervisor (pid $!)" >&2
wait $!; code=$?
cp -a "$fs/." "$fs.kept" || exit 99
exit $code
"#;

fn in_small_disk(disk: &Path, bytes: &str, inner: &Command) -> Command {
    let mut command = Command::new("unshare");
    // Without root, a user namespace of our own may let us mount.
    command.args(if geteuid().is_root() { &["-m"][..] } else { &["-r", "-m"] });
    command.args(["sh", "-c", IN_SMALL_DISK, "sh"]).arg(disk).arg(bytes);
    command.arg(inner.get_program()).args(inner.get_args());
    command
}

/// Why this machine can't mount, if it can't.
fn refused() -> Option<String> {
    let dir = tempfile::tempdir().unwrap();
    match in_small_disk(dir.path(), "1m", &Command::new("true")).output() {
        Ok(output) if output.status.success() => {
            let _ = fs::remove_dir_all(dir.path().with_extension("kept"));
            None
        }
        Ok(output) => Some(format!("unshare or mount: {}", String::from_utf8_lossy(&output.stderr))),
        Err(error) => Some(format!("unshare: {error}")),
    }
}

#[test]
fn full_disk() {
    if let Some(why) = refused() {
        return not_run("full_disk", &why);
    }
    for round in 0..count("SEAWORTHY_FULL_DISKS", 2) {
        fill_and_free(if round % 2 == 0 { "hub" } else { "edge" });
    }
}

#[test]
fn a_process_that_waits_for_room_stops_when_it_is_asked_to() {
    if let Some(why) = refused() {
        return not_run("full_disk", &why);
    }
    let (story, mut running, _) = filled("hub");
    let said = running.said();
    let supervisor = said.lines().find_map(|line| line.strip_prefix("supervisor (pid ")?.strip_suffix(')'));
    let asked = Instant::now();
    signal(supervisor.unwrap().parse().unwrap(), Signal::TERM);
    assert_eq!(running.code(), Some(0), "{}", running.said());
    let took = asked.elapsed();
    assert!(running.has_said("stopped before what was in flight could end"), "{}", running.said());
    assert!(took < Duration::from_secs(30), "it took {took:?}: whoever asked would have killed it");
    // On what the small disk held, with room.
    for (from, to) in [("disk.kept/journal", "data/hub"), ("disk.kept/out", "out")] {
        fs::remove_file(story.path(to)).unwrap();
        fs::rename(story.path(from), story.path(to)).unwrap();
    }
    let mut command = story.command();
    command.args(["--segment-bytes", SEGMENT_BYTES]);
    let mut again = Running::start(command);
    assert_eq!(again.code(), Some(0), "{}", again.said());
    let repeats = story.check_sinks(&story.path("out"));
    eprintln!("full_disk: stopped within {took:?}, 0 lost; repeats: {} raw, {} windows", repeats.raw, repeats.windows);
}

/// Fills the disk of one process while it runs, sees it wait for room, and frees the disk again.
fn fill_and_free(process: &str) {
    let (story, mut running, filler) = filled(process);
    fs::remove_file(&filler).unwrap();
    if process == "edge" {
        let hub = running.child("hub").expect("the hub is up");
        signal(hub, Signal::CONT);
    }
    assert_eq!(running.code(), Some(0), "{}", running.said());
    assert!(!running.has_said("restarting"), "a full disk is no reason to die\n{}", running.said());
    let kept = story.path("disk.kept");
    let (out, journal) = match process {
        "hub" => (kept.join("out"), kept.join("journal")),
        _ => (story.path("out"), story.path("data/hub")),
    };
    let repeats = story.check_sinks(&out);
    let there = frames::read(&journal).check_once("channel/uplink");
    eprintln!(
        "full_disk: the disk of {process} was full and freed; 0 of {} quakes lost; repeats: {} raw, {} windows; each identity \
         once among the {there} packets that the hub's journal still holds",
        story.expected.quakes(),
        repeats.raw,
        repeats.windows
    );
}

/// A run in which the disk of one process is full, and it has said so; and the file that fills it.
fn filled(process: &str) -> (Story, Running, PathBuf) {
    let story = Story::new(LAPS, REPLAY_MS);
    let disk = story.path("disk");
    for dir in [&disk, &story.path("data")] {
        fs::create_dir(dir).unwrap();
    }
    symlink(disk.join("journal"), story.path("data").join(process)).unwrap();
    if process == "hub" {
        // Its sinks can't write either: nothing settles, and so the backlog grows until the journal is full.
        symlink(disk.join("out"), story.path("out")).unwrap();
    }
    let mut inner = story.command();
    inner.args(["--segment-bytes", SEGMENT_BYTES]);
    let mut running = Running::start(in_small_disk(&disk, DISK_BYTES, &inner));
    for one in ["edge", "hub"] {
        until(&mut running, "both are up", |running| {
            running.has_said(&format!("up; SIGINT or SIGTERM stops it in good order process={one}"))
        });
    }
    let hub = running.child("hub").expect("the hub is up");
    if process == "edge" {
        // A hub that takes nothing makes the edge's outbox grow.
        signal(hub, Signal::STOP);
    }
    let filler = fill(&PathBuf::from(format!("/proc/{}/root{}", running.pid(), disk.display())));
    let waits = format!("{process} | ");
    until(&mut running, "it says that the disk is full", |running| {
        let said = running.said();
        said.lines().any(|line| line.starts_with(&waits) && line.contains("the disk is full: waiting for room"))
    });
    std::thread::sleep(Duration::from_millis(300));
    (story, running, filler)
}

/// Takes all room; gives the file that holds it.
fn fill(disk: &Path) -> PathBuf {
    let path = disk.join("filler");
    let mut file = File::create(&path).unwrap();
    for piece in [1 << 20, 4096] {
        while file.write_all(&vec![7; piece]).is_ok() {}
    }
    path
}

#[test]
fn a_full_disk_at_the_first_start_is_an_error_that_says_so() {
    if let Some(why) = refused() {
        return not_run("full_disk", &why);
    }
    let dir = tempfile::tempdir().unwrap();
    let (disk, graph) = (dir.path().join("disk"), dir.path().join("g.yaml"));
    fs::create_dir(&disk).unwrap();
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/graphs/edge_hub.yaml"), dir.path().join("p.yaml"))
        .unwrap();
    super::bad_input::write_graph(&graph, "in.ndjson", "{\"n\": 1}\n", "");
    let mut inner = seaworthy();
    inner.arg("run").arg(&graph).arg("--data-dir").arg(disk.join("journal"));
    let mut running = Running::start(in_small_disk(&disk, "1m", &inner));
    assert_eq!(running.code(), Some(74), "{}", running.said());
    assert!(
        running.has_said("the disk has no room for 8388608 bytes; free some, or choose smaller segments"),
        "{}",
        running.said()
    );
    let left: Vec<_> =
        fs::read_dir(dir.path().join("disk.kept/journal")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["LOCK"], "nothing else was left behind");
}
