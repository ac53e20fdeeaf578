//! The wires: functions of the C library by which a program reaches the real machine. In this test program ours come first;
//! each looks whether a simulated host calls it, and then calls the real one.
#![expect(unsafe_code, reason = "takes the place of functions of the C library, and calls them")]

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{c_char, c_int, c_uint, c_void};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

/// Which dependency may call what inside a simulated host, and why that changes no run.
const HARMLESS: [(&str, &str); 3] = [
    // Its own statistics of how long workers were busy; the time that it tells is the paused one.
    ("clock_gettime", "tokio"),
    // Defaults of a new runtime: each host has one.
    ("getenv", "tokio"),
    // How long it remembers a stream that was reset: 30 s of real time, more than a run takes.
    ("clock_gettime", "h2"),
];
/// Whose frames lie between a call and who made it, as [`by`] names them.
const BETWEEN: [&str; 5] = ["backtrace", "rand", "rand_core", "getrandom", "/wires.rs"];

static ARMED: AtomicBool = AtomicBool::new(false);
/// Ways of calls that were found harmless, by the addresses of their frames, and how many ways lead through each dependency.
static SEEN: Mutex<Seen> = Mutex::new((BTreeSet::new(), BTreeMap::new()));

type Seen = (BTreeSet<Vec<usize>>, BTreeMap<(String, String), u64>);

thread_local! {
    /// True while a wire looks: what that calls itself is no escape.
    static LOOKING: Cell<bool> = const { Cell::new(false) };
}

/// From now on an escape ends the program.
pub fn arm() {
    ARMED.store(true, Ordering::SeqCst);
}

/// Ways of harmless calls, by function and dependency.
pub fn harmless() -> BTreeMap<(String, String), u64> {
    SEEN.lock().expect("a wire that panics ends the program").1.clone()
}

fn look(function: &'static str) {
    if !ARMED.load(Ordering::Relaxed) || LOOKING.try_with(|looking| looking.replace(true)).unwrap_or(true) {
        return;
    }
    if turmoil::sim_elapsed().is_some() {
        judge(function);
    }
    LOOKING.with(|looking| looking.set(false));
}

fn judge(function: &'static str) {
    let mut frames = Vec::new();
    backtrace::trace(|frame| {
        frames.push(frame.ip() as usize);
        frames.len() < 48
    });
    let mut seen = SEEN.lock().expect("a wire that panics ends the program");
    if seen.0.contains(&frames) {
        return;
    }
    let caller = caller(&frames);
    if !HARMLESS.contains(&(function, caller.as_str())) {
        let trace = std::backtrace::Backtrace::force_capture();
        eprintln!("tripwire: a simulated host reached {function} by {caller}\n{trace}");
        std::process::abort();
    }
    seen.0.insert(frames);
    *seen.1.entry((function.to_owned(), caller)).or_default() += 1;
}

/// Who made a call: the innermost crate from a registry, or file of the project, that is not of those between.
fn caller(frames: &[usize]) -> String {
    let mut found = None;
    for ip in frames {
        backtrace::resolve(*ip as *mut c_void, |symbol| {
            let by = symbol.filename().and_then(|path| by(&path.to_string_lossy()));
            found = found.take().or(by.filter(|by| !BETWEEN.iter().any(|between| by.ends_with(between))));
        });
        if let Some(found) = found {
            return found;
        }
    }
    "nobody".to_owned()
}

/// The crate that a source file belongs to, or the file itself where it is of no registry; `None` for the standard library.
fn by(path: &str) -> Option<String> {
    if path.contains("/rustc/") || path.contains("/library/std/") {
        return None;
    }
    let Some((_, rest)) = path.split_once("/registry/src/") else { return Some(path.to_owned()) };
    let versioned = rest.split('/').nth(1)?;
    Some(versioned.rsplit_once('-').map_or(versioned, |(name, _)| name).to_owned())
}

fn real(known: &AtomicPtr<c_void>, name: &'static str) -> *mut c_void {
    let mut real = known.load(Ordering::Relaxed);
    if real.is_null() {
        // SAFETY: the name ends with a zero, and the next definition behind ours is the C library's.
        real = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr().cast::<c_char>()) };
        assert!(!real.is_null(), "the C library has no {name}");
        known.store(real, Ordering::Relaxed);
    }
    real
}

macro_rules! wires {
    ($($name:ident($($arg:ident: $type:ty),*) -> $result:ty;)*) => {$(
        /// Looks, and calls the function of that name.
        ///
        /// # Safety
        /// As that function's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($arg: $type),*) -> $result {
            static REAL: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());
            look(stringify!($name));
            let real = real(&REAL, concat!(stringify!($name), "\0"));
            // SAFETY: it is the C library's function of that name, whose type this is.
            let real: unsafe extern "C" fn($($type),*) -> $result = unsafe { std::mem::transmute(real) };
            // SAFETY: the caller keeps to that function's contract.
            unsafe { real($($arg),*) }
        }
    )*};
}

wires! {
    clock_gettime(clock: c_int, time: *mut libc::timespec) -> c_int;
    clock_nanosleep(clock: c_int, flags: c_int, wanted: *const libc::timespec, left: *mut libc::timespec) -> c_int;
    nanosleep(wanted: *const libc::timespec, left: *mut libc::timespec) -> c_int;
    getrandom(buffer: *mut c_void, length: usize, flags: c_uint) -> isize;
    pthread_create(thread: *mut libc::pthread_t, how: *const libc::pthread_attr_t, start: *mut c_void, with: *mut c_void) -> c_int;
    open64(path: *const c_char, flags: c_int, mode: c_uint) -> c_int;
    openat64(dir: c_int, path: *const c_char, flags: c_int, mode: c_uint) -> c_int;
    opendir(path: *const c_char) -> *mut c_void;
    mkdir(path: *const c_char, mode: c_uint) -> c_int;
    rename(from: *const c_char, to: *const c_char) -> c_int;
    unlink(path: *const c_char) -> c_int;
    readlink(path: *const c_char, buffer: *mut c_char, length: usize) -> isize;
    realpath(path: *const c_char, buffer: *mut c_char) -> *mut c_char;
    getcwd(buffer: *mut c_char, length: usize) -> *mut c_char;
    getenv(name: *const c_char) -> *mut c_char;
    gethostname(buffer: *mut c_char, length: usize) -> c_int;
    socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    socketpair(domain: c_int, kind: c_int, protocol: c_int, pair: *mut c_int) -> c_int;
    getaddrinfo(node: *const c_char, service: *const c_char, hints: *const c_void, found: *mut *mut c_void) -> c_int;
    posix_spawnp(child: *mut c_int, file: *const c_char, actions: *const c_void, how: *const c_void, arguments: *const c_void, environment: *const c_void) -> c_int;
    sysconf(what: c_int) -> std::ffi::c_long;
}
