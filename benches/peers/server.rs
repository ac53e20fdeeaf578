//! Servers that the bench starts, and ends: by their ids, whatever happens.

use std::error::Error;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

/// How long a server may take until it accepts a connection.
const START_MAX: Duration = Duration::from_secs(10);
/// How long an answer may take before the server counts as lost.
const SILENCE: Duration = Duration::from_secs(20);

/// Every server that runs. A signal ends them all, and then this process.
#[derive(Clone, Default)]
pub(super) struct Servers(Arc<Mutex<Vec<Child>>>);

impl Servers {
    /// None yet. From now on SIGINT and SIGTERM end those that run, remove `dir` and end this process.
    pub(super) fn guarded(dir: &Path) -> io::Result<Servers> {
        let servers = Servers::default();
        let (at_end, dir): (Servers, PathBuf) = (servers.clone(), dir.to_owned());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (mut interrupt, mut terminate) = {
            let _within = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    biased;
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            });
            // Held to the end: no other server may start meanwhile.
            let mut running = at_end.lock();
            running.iter_mut().for_each(end);
            // What can't be removed lies in the build's own directory for such things.
            let _ = std::fs::remove_dir_all(dir);
            std::process::exit(130);
        });
        Ok(servers)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Child>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts `command`, which is to listen on `address`, with its words in `dir`, and connects to it.
    pub(super) fn start(
        &self,
        mut command: Command,
        address: SocketAddr,
        dir: &Path,
    ) -> Result<(Server, TcpStream), Box<dyn Error>> {
        let log = dir.join("server.log");
        let words = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(words.try_clone()?).stderr(words);
        let id = {
            let mut running = self.lock();
            let child = command.spawn()?;
            let id = child.id();
            running.push(child);
            id
        };
        let server = Server { servers: self.clone(), id };
        let began = Instant::now();
        loop {
            match TcpStream::connect(address) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_read_timeout(Some(SILENCE))?;
                    stream.set_write_timeout(Some(SILENCE))?;
                    return Ok((server, stream));
                }
                Err(_) if began.elapsed() < START_MAX && !server.has_ended() => thread::sleep(Duration::from_millis(5)),
                Err(error) => {
                    let said = std::fs::read_to_string(log).unwrap_or_default();
                    return Err(format!("could not reach the server at {address}: {error}\n{said}").into());
                }
            }
        }
    }
}

/// A running server; dropping it ends it.
pub(super) struct Server {
    servers: Servers,
    id: u32,
}

impl Server {
    /// Its process id.
    pub(super) fn id(&self) -> u32 {
        self.id
    }

    fn has_ended(&self) -> bool {
        let mut running = self.servers.lock();
        let child = running.iter_mut().find(|child| child.id() == self.id);
        child.is_none_or(|child| !matches!(child.try_wait(), Ok(None)))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut running = self.servers.lock();
        if let Some(at) = running.iter().position(|child| child.id() == self.id) {
            end(&mut running.swap_remove(at));
        }
    }
}

/// Kills a child and takes its word for it; one that has ended by itself is fine.
fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// A loopback address that nobody listens on.
pub(super) fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
