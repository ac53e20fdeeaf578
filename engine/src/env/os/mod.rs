//! The real machine behind `Env`: the only place of the engine that touches it.

mod clock;
mod disk;
mod keys;
mod net;
mod queue;
mod seed;
mod tls;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

pub use self::clock::OsClock;
pub use self::disk::OsDisk;
pub use self::keys::{Keys, KeysError, NAME_BYTES_MAX, certified_name, is_certified_name, token_hash};
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
    /// What proves who is who; without them, connections are in the clear.
    pub keys: Option<Keys>,
    /// Receives what the engine did.
    pub probe: Arc<dyn Probe>,
}

/// The real machine. `Env::net` is the second part too, which also knows the bound address.
///
/// Fails where the data directory can't be created, the address can't be bound or there is no entropy. What it hands out
/// works inside a tokio runtime with time and I/O enabled.
pub fn env(options: OsOptions) -> io::Result<(Env, Arc<OsNet>)> {
    std::fs::create_dir_all(&options.data_dir)?;
    let net = OsNet::bind(options.listen, options.peers)?;
    let net = Arc::new(match options.keys {
        Some(keys) => net.secured(keys, options.probe.clone()),
        None => net,
    });
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::env::Seed;
    use crate::observe::Event;

    struct Deaf;
    impl Probe for Deaf {
        fn on(&self, _events: &[Event]) {}
    }

    fn machine(listen: Option<&str>, peers: &[(&str, SocketAddr)]) -> (Env, Arc<OsNet>, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let options = OsOptions {
            data_dir: dir.path().join("data/edge"),
            listen: listen.map(|address| address.parse().unwrap()),
            peers: peers.iter().map(|(name, address)| ((*name).to_owned(), *address)).collect(),
            keys: None,
            probe: Arc::new(Deaf),
        };
        let (env, net) = env(options).unwrap();
        (env, net, dir)
    }

    #[tokio::test]
    async fn processes_reach_each_other_by_name() {
        let (hub, net, _hub_dir) = machine(Some("127.0.0.1:0"), &[]);
        let address = net.bound().unwrap();
        let (edge, none, _edge_dir) = machine(None, &[("hub", address)]);
        assert_eq!(none.bound(), None);

        // A listener that was dropped can be had again.
        drop(hub.net.listen("hub").await.unwrap());
        let mut listener = hub.net.listen("hub").await.unwrap();
        let mut there = edge.net.connect("hub").await.unwrap();
        let mut here = listener.accept().await.unwrap();
        there.write_all(b"hello").await.unwrap();
        let mut heard = [0; 5];
        here.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"hello");
        drop(here);
        assert_eq!(there.read(&mut heard).await.unwrap(), 0);

        assert_eq!(edge.net.connect("cloud").await.err().unwrap().kind(), io::ErrorKind::NotFound);
        assert_eq!(edge.net.listen("edge").await.err().unwrap().kind(), io::ErrorKind::NotFound);
        assert_eq!(OsNet::bind(Some(address), BTreeMap::new()).err().unwrap().kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn the_machine_has_time_chance_and_a_data_directory() {
        let (env, _net, dir) = machine(None, &[]);
        let before = env.clock.mono();
        env.clock.sleep(Duration::from_millis(2).as_nanos() as u64).await;
        assert!(env.clock.mono() - before >= 2_000_000);
        assert!(env.clock.unix_ns() > 1_700_000_000_000_000_000);
        assert_eq!(env.seed.draw("a", &[1]), env.seed.draw("a", &[1]));
        assert_ne!(env.seed.draw("a", &[1]), OsSeed::new().unwrap().draw("a", &[1]));
        assert!(env.cpu.charge(Work::Journal, 1_000, 1_000).is_none());
        env.disk.lock("lock").await.unwrap();
        assert!(dir.path().join("data/edge/lock").exists());
    }
}
