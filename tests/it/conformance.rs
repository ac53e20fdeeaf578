//! One suite of small checks that both sides of the seam pass: the machine's disk and the simulated one, with room and
//! without.
#![expect(clippy::unwrap_used, reason = "a test helper that fails fails its test")]

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use seaworthy_engine::env::os::OsDisk;
use seaworthy_engine::env::{Disk, File, Open};
use seaworthy_harness::sim::disk::{DiskOptions, SimDisk};
use seaworthy_harness::sim::seed::KeyedSeed;
use tokio::runtime::Builder;
use tokio::time::Instant;

/// Size of the disks that get filled.
const SMALL_BYTES: u64 = 1 << 20;
const ENOSPC: Option<i32> = Some(28);

#[test]
fn simulated_disk() {
    on_simulated(64 << 20, suite);
}

#[test]
fn machine_disk() {
    let dir = tempfile::tempdir().unwrap();
    on_machine(dir.path(), suite);
}

#[test]
fn simulated_disk_that_is_full() {
    on_simulated(SMALL_BYTES, full);
}

#[test]
fn machine_disk_that_is_full() {
    match SmallMount::new() {
        Ok(mount) => on_machine(&mount.path, full),
        // Past the test's capture, so that whoever runs the suite sees it.
        Err(why) => writeln!(std::io::stderr(), "NOT RUN full_disk: {why}").unwrap(),
    }
}

#[test]
fn a_disk_for_files_anywhere_takes_any_path() {
    let dir = tempfile::tempdir().unwrap();
    let outside = dir.path().join("outside");
    on_machine(dir.path(), async |disk| {
        disk.create_dir("graphs").await.unwrap();
        disk.open("outside", Open::Create).await.unwrap().write_at(0, text("here")).await.unwrap();
        let beside = OsDisk::anywhere(dir.path().join("graphs")).unwrap();
        for path in ["../outside", outside.to_str().unwrap()] {
            let file = beside.open(path, Open::Read).await.unwrap();
            assert_eq!(file.read_at(0, 10).await.unwrap(), "here");
        }
    });
}

fn on_simulated(capacity_bytes: u64, test: impl AsyncFnOnce(Arc<dyn Disk>)) {
    Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
        let start = Instant::now();
        let now = Arc::new(move || start.elapsed().as_nanos() as u64);
        let disk = SimDisk::new(DiskOptions::new("edge", capacity_bytes), Arc::new(KeyedSeed(1)), now);
        test(disk.boot()).await;
    });
}

fn on_machine(dir: &Path, test: impl AsyncFnOnce(Arc<dyn Disk>)) {
    Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        test(Arc::new(OsDisk::new(dir).unwrap())).await;
    });
}

async fn suite(disk: Arc<dyn Disk>) {
    let disk = &*disk;
    open_modes(disk).await;
    reading_stops_at_the_end(disk).await;
    writing_past_the_end_leaves_zeroes(disk).await;
    buffers_are_written_one_after_the_other(disk).await;
    writes_take_effect_in_order(disk).await;
    a_dropped_future_still_writes(disk).await;
    zero_fill_only_extends(disk).await;
    a_handle_for_reading_refuses_writes(disk).await;
    names_are_listed_sorted(disk).await;
    rename_replaces(disk).await;
    an_open_file_outlives_its_name(disk).await;
    directories(disk).await;
    a_lock_excludes(disk).await;
    foreign_paths_are_refused(disk).await;
    free_bytes_shrink(disk).await;
}

fn text(text: &str) -> Vec<Bytes> {
    vec![Bytes::copy_from_slice(text.as_bytes())]
}

async fn create(disk: &dyn Disk, path: &str, content: &str) -> Arc<dyn File> {
    let file = disk.open(path, Open::Create).await.unwrap();
    file.write_at(0, text(content)).await.unwrap();
    file
}

async fn refused<T>(call: seaworthy_engine::env::Io<T>) -> ErrorKind {
    call.await.err().expect("this is refused").kind()
}

async fn open_modes(disk: &dyn Disk) {
    for how in [Open::Read, Open::Write] {
        assert_eq!(refused(disk.open("modes", how)).await, ErrorKind::NotFound, "{how:?}");
    }
    create(disk, "modes", "kept").await;
    assert_eq!(refused(disk.open("modes", Open::Create)).await, ErrorKind::AlreadyExists);
    for how in [Open::Read, Open::Write, Open::CreateOrWrite] {
        let file = disk.open("modes", how).await.unwrap();
        assert_eq!(file.read_at(0, 99).await.unwrap(), "kept", "{how:?}");
    }
    disk.open("modes.new", Open::CreateOrWrite).await.unwrap().write_at(0, text("x")).await.unwrap();
    assert_eq!(refused(disk.open("no/such/dir", Open::Create)).await, ErrorKind::NotFound);
}

async fn reading_stops_at_the_end(disk: &dyn Disk) {
    let file = create(disk, "end", "0123456789").await;
    assert_eq!(file.len().await.unwrap(), 10);
    assert_eq!(file.read_at(8, 5).await.unwrap(), "89");
    assert_eq!(file.read_at(10, 5).await.unwrap(), "");
    assert_eq!(file.read_at(1 << 40, 5).await.unwrap(), "");
    assert_eq!(file.read_at(3, 0).await.unwrap(), "");
}

async fn writing_past_the_end_leaves_zeroes(disk: &dyn Disk) {
    let file = create(disk, "gap", "a").await;
    file.write_at(9_000, text("b")).await.unwrap();
    let content = file.read_at(0, 10_000).await.unwrap();
    assert_eq!((content.len(), content[0], content[9_000]), (9_001, b'a', b'b'));
    assert!(content[1..9_000].iter().all(|byte| *byte == 0));
}

async fn buffers_are_written_one_after_the_other(disk: &dyn Disk) {
    let file = create(disk, "bufs", "").await;
    let bufs = ["", "one", "", "two", ""].iter().flat_map(|part| text(part)).collect();
    file.write_at(0, bufs).await.unwrap();
    assert_eq!(file.read_at(0, 99).await.unwrap(), "onetwo");
    file.write_at(3, Vec::new()).await.unwrap();
    // More buffers than one system call takes.
    let many: Vec<Bytes> = (0..3_000u32).map(|n| Bytes::copy_from_slice(&n.to_le_bytes())).collect();
    file.write_sync(6, many.clone()).await.unwrap();
    assert_eq!(file.read_at(6, 99_999).await.unwrap(), many.concat());
}

async fn writes_take_effect_in_order(disk: &dyn Disk) {
    let file = create(disk, "order", "").await;
    let pending = [
        file.write_sync(0, text("aaaa")),
        file.write_at(1, text("bbb")),
        file.write_sync(2, text("cc")),
        file.write_at(3, text("d")),
    ];
    assert_eq!(file.read_at(0, 9).await.unwrap(), "abcd", "a read sees what was issued before it");
    for write in pending {
        write.await.unwrap();
    }
    file.sync_data().await.unwrap();
    assert_eq!(file.read_at(0, 9).await.unwrap(), "abcd");
}

async fn a_dropped_future_still_writes(disk: &dyn Disk) {
    let file = create(disk, "dropped", "").await;
    drop(file.write_at(0, text("there")));
    drop(file.write_sync(5, text(" too")));
    assert_eq!(file.read_at(0, 99).await.unwrap(), "there too");
}

async fn zero_fill_only_extends(disk: &dyn Disk) {
    let file = create(disk, "zeroes", "head").await;
    file.zero_fill(5_000).await.unwrap();
    file.zero_fill(100).await.unwrap();
    assert_eq!(file.len().await.unwrap(), 5_000);
    let content = file.read_at(0, 9_999).await.unwrap();
    assert_eq!(content[..4], b"head"[..]);
    assert!(content[4..].iter().all(|byte| *byte == 0));
    file.zero_fill(3 << 20).await.unwrap();
    file.sync_data().await.unwrap();
    assert_eq!(file.len().await.unwrap(), 3 << 20);
}

async fn a_handle_for_reading_refuses_writes(disk: &dyn Disk) {
    create(disk, "readonly", "as it was").await;
    let file = disk.open("readonly", Open::Read).await.unwrap();
    assert_eq!(file.write_at(0, text("X")).await.unwrap_err().raw_os_error(), Some(9));
    assert!(file.write_sync(0, text("X")).await.is_err());
    assert!(file.zero_fill(100).await.is_err());
    assert_eq!(file.read_at(0, 99).await.unwrap(), "as it was");
}

async fn names_are_listed_sorted(disk: &dyn Disk) {
    disk.create_dir("names/deep").await.unwrap();
    for path in ["names/b", "names/a10", "names/a9", "names/deep/x", "names/zz"] {
        create(disk, path, "").await;
    }
    create(disk, "names.beside", "").await;
    assert_eq!(disk.list("names").await.unwrap(), ["a10", "a9", "b", "deep", "zz"]);
    assert_eq!(disk.list("names/deep").await.unwrap(), ["x"]);
    let root = disk.list("").await.unwrap();
    assert!(root.is_sorted() && root.contains(&"names".into()) && !root.contains(&"x".into()), "{root:?}");
    assert_eq!(refused(disk.list("nowhere")).await, ErrorKind::NotFound);
    assert_eq!(refused(disk.list("names/b")).await, ErrorKind::NotADirectory);
}

async fn rename_replaces(disk: &dyn Disk) {
    disk.create_dir("moved").await.unwrap();
    let file = create(disk, "from", "new").await;
    create(disk, "moved/to", "old").await;
    disk.rename("from", "moved/to").await.unwrap();
    disk.sync_dir("").await.unwrap();
    disk.sync_dir("moved").await.unwrap();
    let found = disk.open("moved/to", Open::Read).await.unwrap();
    assert_eq!(found.read_at(0, 9).await.unwrap(), "new");
    assert_eq!(disk.list("moved").await.unwrap(), ["to"]);
    file.write_at(3, text("er")).await.unwrap();
    assert_eq!(found.read_at(0, 9).await.unwrap(), "newer", "a handle follows its file");
    disk.rename("moved/to", "moved/to").await.unwrap();
    assert_eq!(refused(disk.rename("from", "moved/to")).await, ErrorKind::NotFound);
    assert_eq!(refused(disk.rename("moved/to", "nowhere/to")).await, ErrorKind::NotFound);
}

async fn an_open_file_outlives_its_name(disk: &dyn Disk) {
    let file = create(disk, "removed", "still here").await;
    disk.remove("removed").await.unwrap();
    assert_eq!(refused(disk.open("removed", Open::Read)).await, ErrorKind::NotFound);
    assert_eq!(refused(disk.remove("removed")).await, ErrorKind::NotFound);
    assert_eq!(file.read_at(0, 99).await.unwrap(), "still here");
    file.sync_data().await.unwrap();
    assert_eq!(create(disk, "removed", "").await.len().await.unwrap(), 0);
}

async fn directories(disk: &dyn Disk) {
    disk.create_dir("").await.unwrap();
    disk.create_dir("a/b/c").await.unwrap();
    disk.create_dir("a/b").await.unwrap();
    create(disk, "a/b/c/file", "").await;
    for dir in ["", "a", "a/b", "a/b/c"] {
        disk.sync_dir(dir).await.unwrap();
    }
    assert_eq!(refused(disk.sync_dir("a/x")).await, ErrorKind::NotFound);
    assert_eq!(refused(disk.create_dir("a/b/c/file")).await, ErrorKind::AlreadyExists);
    assert!(disk.remove("a").await.is_err());
    assert!(disk.open("a", Open::Write).await.is_err());
    assert_eq!(disk.list("a/b").await.unwrap(), ["c"]);
}

async fn a_lock_excludes(disk: &dyn Disk) {
    let guard = disk.lock("lock").await.unwrap();
    assert_eq!(refused(disk.lock("lock")).await, ErrorKind::WouldBlock);
    let other = disk.lock("other").await.unwrap();
    drop(guard);
    let _again = disk.lock("lock").await.unwrap();
    drop(other);
    assert_eq!(refused(disk.lock("lock")).await, ErrorKind::WouldBlock);
    assert!(disk.list("").await.unwrap().contains(&"lock".into()));
}

async fn foreign_paths_are_refused(disk: &dyn Disk) {
    create(disk, "mine", "").await;
    for path in ["..", "../x", "a/../../x", "/etc/passwd", "./x", "a//b", "a/", "nul\0"] {
        assert_eq!(refused(disk.open(path, Open::Read)).await, ErrorKind::InvalidInput, "{path:?}");
        assert_eq!(refused(disk.open(path, Open::CreateOrWrite)).await, ErrorKind::InvalidInput, "{path:?}");
        assert_eq!(refused(disk.list(path)).await, ErrorKind::InvalidInput, "{path:?}");
        assert_eq!(refused(disk.rename("mine", path)).await, ErrorKind::InvalidInput, "{path:?}");
        assert_eq!(refused(disk.rename(path, "mine")).await, ErrorKind::InvalidInput, "{path:?}");
        assert_eq!(refused(disk.remove(path)).await, ErrorKind::InvalidInput, "{path:?}");
        assert_eq!(refused(disk.create_dir(path)).await, ErrorKind::InvalidInput, "{path:?}");
        assert_eq!(refused(disk.sync_dir(path)).await, ErrorKind::InvalidInput, "{path:?}");
        assert_eq!(refused(disk.lock(path)).await, ErrorKind::InvalidInput, "{path:?}");
    }
}

async fn free_bytes_shrink(disk: &dyn Disk) {
    // Others may write to the machine's disk meanwhile, so this only asks for plausible answers.
    assert!(disk.free_bytes().await.unwrap() > 1 << 20);
}

/// What a disk of [`SMALL_BYTES`] does once nothing more fits.
async fn full(disk: Arc<dyn Disk>) {
    let log = create(&*disk, "log", "head").await;
    log.zero_fill(SMALL_BYTES / 4).await.unwrap();
    log.sync_data().await.unwrap();
    let free = disk.free_bytes().await.unwrap();
    assert!(free > 0 && free <= SMALL_BYTES * 3 / 4, "{free}");

    let fill = disk.open("fill", Open::Create).await.unwrap();
    assert_eq!(fill.zero_fill(2 * SMALL_BYTES).await.unwrap_err().raw_os_error(), ENOSPC);
    assert_eq!(fill.len().await.unwrap(), 0, "half a reservation is given back");
    assert_eq!(disk.free_bytes().await.unwrap(), free);

    let piece = Bytes::from(vec![7; 50_000]);
    let mut at = 0;
    let error = loop {
        match fill.write_at(at, vec![piece.clone()]).await {
            Ok(()) => at += piece.len() as u64,
            Err(error) => break error,
        }
        assert!(at < SMALL_BYTES, "this disk never gets full");
    };
    assert_eq!(error.raw_os_error(), ENOSPC);
    assert_eq!(fill.write_sync(SMALL_BYTES, text("x")).await.unwrap_err().raw_os_error(), ENOSPC);
    assert_eq!(log.zero_fill(SMALL_BYTES / 2).await.unwrap_err().raw_os_error(), ENOSPC);
    assert_eq!(fill.read_at(0, at as usize).await.unwrap(), vec![7; at as usize], "what was written before stays");
    assert_eq!(disk.free_bytes().await.unwrap(), 0);

    // What is allocated can be written, and names can be changed.
    log.write_sync(100, vec![piece.clone()]).await.unwrap();
    log.sync_data().await.unwrap();
    assert_eq!(log.read_at(100, piece.len()).await.unwrap(), piece);
    assert_eq!(log.len().await.unwrap(), SMALL_BYTES / 4);
    disk.rename("fill", "filled").await.unwrap();

    // Room comes back with the last handle of a removed file.
    disk.remove("filled").await.unwrap();
    drop(fill);
    log.zero_fill(SMALL_BYTES / 2).await.unwrap();
    log.sync_data().await.unwrap();
    assert_eq!(log.read_at(0, 4).await.unwrap(), "head");
}

/// A tmpfs of [`SMALL_BYTES`], mounted in the mount namespace of a child and reached through `/proc`. It ends with the
/// child, and the child with its input.
struct SmallMount {
    child: Child,
    path: PathBuf,
    _dir: tempfile::TempDir,
}

impl SmallMount {
    /// Why not, where the machine has no `unshare` or refuses mounts.
    fn new() -> Result<SmallMount, String> {
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let script = format!("mount -t tmpfs -o size={SMALL_BYTES} none \"$0\" && echo mounted && read end");
        let flags = if rustix::process::geteuid().is_root() { "-m" } else { "-rm" };
        let mut child = Command::new("unshare")
            .args([flags, "sh", "-c", &script])
            .arg(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("could not start unshare: {error}"))?;
        let mut line = String::new();
        let answered = BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut line);
        if answered.is_err() || line.trim() != "mounted" {
            let output = child.wait_with_output().map_err(|error| error.to_string())?;
            return Err(String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; "));
        }
        let root = PathBuf::from(format!("/proc/{}/root", child.id()));
        let path = root.join(dir.path().strip_prefix("/").expect("temporary directories have absolute paths"));
        Ok(SmallMount { child, path, _dir: dir })
    }
}

impl Drop for SmallMount {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().expect("the shell ends with its input");
    }
}
