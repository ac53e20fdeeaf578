//! The real machine behind `Env`: the only place of the engine that touches it.

mod clock;
mod disk;
mod net;
mod queue;
mod seed;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

pub use self::clock::OsClock;
pub use self::disk::OsDisk;
pub use self::net::OsNet;
pub use self::seed::OsSeed;
use super::{Cpu, Env, Fut, Probe, Work};

/// Where a process lives on its machine.
pub struct OsOptions {
    /// The data directory; created where it is missing.
    pub data_dir: PathBuf,
    /// The address to accept connections on, port 0 for any; `None` for a process that nobody connects to.
    pub listen: Option<SocketAddr>,
    /// Where the processes are that this one may connect to.
    pub peers: BTreeMap<String, SocketAddr>,
    /// Receives what the engine did.
    pub probe: Arc<dyn Probe>,
}

/// The real machine. `Env::net` is the second part too, which also knows the bound address.
///
/// Fails where the data directory can't be created, the address can't be bound or there is no entropy. What it hands out
/// works inside a tokio runtime with time and I/O enabled.
pub fn env(options: OsOptions) -> io::Result<(Env, Arc<OsNet>)> {
    std::fs::create_dir_all(&options.data_dir)?;
    let net = Arc::new(OsNet::bind(options.listen, options.peers)?);
    let env = Env {
        clock: Arc::new(OsClock::new()),
        disk: Arc::new(OsDisk::new(options.data_dir)?),
        net: net.clone(),
        seed: Arc::new(OsSeed::new()?),
        cpu: Arc::new(RealTime),
        probe: options.probe,
    };
    Ok((env, net))
}

/// Computation costs time by itself here.
struct RealTime;

impl Cpu for RealTime {
    fn charge(&self, _work: Work<'_>, _packets: u32, _bytes: u64) -> Option<Fut<'static, ()>> {
        None
    }
}
