//! The hosts of a round: each one's software on a thread of its own, booted, killed and started again.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use seaworthy_engine::env::os::{self, OsOptions};
use seaworthy_engine::env::{Env, Fut};
use tokio::sync::oneshot;

use super::disk::{SwitchedDisk, Switches};
use super::wire::{Ways, Wire};
use super::{RoundError, machine, runtime};
use crate::plan::Ns;
use crate::sim::recorder::Recorder;
use crate::system::{Boot, BootError, System};

/// How long it is waited before software is asked to end again: while it comes up, it doesn't hear.
const ASK_AGAIN: Duration = Duration::from_millis(10);
/// How long software that ended with an error waits before it starts again, ns.
const BACKOFF_NS: Ns = 100_000_000;

/// What faults can do to the hosts, beside taking them down.
#[derive(Clone, Default)]
pub(super) struct Hindrances {
    pub ways: Ways,
    pub disks: BTreeMap<String, Arc<Switches>>,
}

/// All hosts of the system.
pub(super) struct Fleet {
    system: Rc<dyn System>,
    recorder: Arc<Recorder>,
    dir: PathBuf,
    addresses: BTreeMap<String, SocketAddr>,
    /// What faults can hinder; `None` for a round without faults, whose hosts must not end by themselves.
    hindrances: Option<Hindrances>,
    hosts: Vec<Host>,
}

struct Host {
    name: String,
    running: Option<Running>,
    /// Starts again then, by the round's time; `None` while it runs, and where it stays down.
    restart_ns: Option<Ns>,
    /// It was asked to end.
    asked: bool,
}

struct Running {
    kill: Option<oneshot::Sender<()>>,
    /// How the software ended, `None` where it was killed. The sender is dropped only by a panic.
    end: oneshot::Receiver<Option<Result<(), BootError>>>,
}

impl Fleet {
    /// Takes a port for each host and boots all of them.
    pub fn boot(
        system: Rc<dyn System>,
        names: &[String],
        recorder: &Arc<Recorder>,
        dir: &Path,
        hindrances: Option<Hindrances>,
    ) -> Result<Fleet, RoundError> {
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let doors = names.iter().map(|_| Wire::door(anywhere)).collect::<io::Result<Vec<_>>>();
        let doors = doors.map_err(machine("listen on loopback"))?;
        let addresses = names.iter().cloned().zip(doors.iter().filter_map(os::OsNet::bound)).collect();
        let host = |name: &String| Host { name: name.clone(), running: None, restart_ns: None, asked: false };
        let hosts = names.iter().map(host).collect();
        let (recorder, dir) = (recorder.clone(), dir.to_owned());
        let mut fleet = Fleet { system, recorder, dir, addresses, hindrances, hosts };
        for (at, door) in doors.into_iter().enumerate() {
            fleet.start(at, door)?;
        }
        Ok(fleet)
    }

    /// Where a host is in the fleet.
    pub fn index(&self, name: &str) -> Option<usize> {
        self.hosts.iter().position(|host| host.name == name)
    }

    pub fn is_up(&self, at: usize) -> bool {
        self.hosts[at].running.is_some()
    }

    pub fn all_up(&self) -> bool {
        self.hosts.iter().all(|host| host.running.is_some())
    }

    /// Starts a host's software on its machine: a folder, a port, and where the others are.
    fn start(&mut self, at: usize, door: os::OsNet) -> Result<(), RoundError> {
        let name = self.hosts[at].name.clone();
        let incarnation = self.recorder.hosts().boot(at);
        let dir = self.dir.join(&name);
        let failed = machine(format!("use {}", dir.display()));
        let probe = self.recorder.probe(at, incarnation);
        let options = OsOptions { data_dir: dir, listen: None, peers: self.addresses.clone(), keys: None, probe };
        let (env, net) = os::env(options).map_err(failed)?;
        let ways = self.hindrances.as_ref().map(|hindrances| hindrances.ways.clone());
        let switches = self.hindrances.as_ref().and_then(|hindrances| hindrances.disks.get(&name).cloned());
        let disk = match switches {
            Some(switches) => Arc::new(SwitchedDisk::new(env.disk.clone(), switches)),
            None => env.disk.clone(),
        };
        let env = Env { disk, net: Arc::new(Wire { host: name.clone(), door, net, ways }), ..env };
        let software = self.system.boot(Boot { env, host: name.clone(), incarnation });
        let host = &mut self.hosts[at];
        let recorder = self.recorder.clone();
        let running = Running::start(&name, software, move || recorder.hosts().end(at))?;
        (host.running, host.restart_ns, host.asked) = (Some(running), None, false);
        Ok(())
    }

    /// Starts what is due, and sees to what ended by itself.
    pub async fn look(&mut self, now_ns: Ns) -> Result<(), RoundError> {
        for at in 0..self.hosts.len() {
            self.see_to(at, now_ns)?;
            let host = &self.hosts[at];
            if host.running.is_some() {
                // One that was still coming up when it was asked heard nothing.
                if host.asked {
                    self.system.stop(&host.name);
                }
                continue;
            }
            if host.restart_ns.is_some_and(|due_ns| due_ns <= now_ns) {
                let address = self.addresses[&self.hosts[at].name];
                self.start(at, Wire::door(address).map_err(machine(format!("listen on {address} again")))?)?;
            }
        }
        Ok(())
    }

    fn see_to(&mut self, at: usize, now_ns: Ns) -> Result<(), RoundError> {
        let host = &mut self.hosts[at];
        let Some(running) = &mut host.running else { return Ok(()) };
        let ended = match running.end.try_recv() {
            Err(oneshot::error::TryRecvError::Empty) => return Ok(()),
            Err(oneshot::error::TryRecvError::Closed) => {
                return Err(RoundError::Panicked { host: host.name.clone() });
            }
            Ok(ended) => ended,
        };
        host.running = None;
        match ended {
            // It was asked; when it starts again is known already.
            None | Some(Ok(())) if host.asked => {}
            None | Some(Ok(())) => {
                let message = "it ended before it was asked to".to_owned();
                return Err(BootError { host: host.name.clone(), message, exit: 70 }.into());
            }
            Some(Err(error)) if self.hindrances.is_none() || error.exit == 2 => return Err(error.into()),
            Some(Err(error)) => {
                self.recorder.exited(at, error.exit, format!("exit {}: {error}", error.exit));
                host.restart_ns = Some(host.restart_ns.unwrap_or(0).max(now_ns + BACKOFF_NS));
            }
        }
        Ok(())
    }

    /// Ends a host's software as SIGKILL does: between two steps of it every handle is made inert, then its tasks are dropped
    /// where they are. What its disk was asked for is done.
    pub async fn kill(&mut self, at: usize, restart_ns: Ns) -> Result<(), RoundError> {
        let host = &mut self.hosts[at];
        host.restart_ns = Some(host.restart_ns.unwrap_or(0).max(restart_ns));
        let Some(mut running) = host.running.take() else { return Ok(()) };
        let _ = running.kill.take().map(|kill| kill.send(()));
        // However it ended just before, it has ended.
        running.end.await.map(drop).map_err(|_| RoundError::Panicked { host: host.name.clone() })
    }

    /// Asks a host's software to end; it starts again then, or when it has ended.
    pub fn stop(&mut self, at: usize, restart_ns: Ns) {
        let host = &mut self.hosts[at];
        if host.running.is_some() {
            (host.asked, host.restart_ns) = (true, Some(restart_ns));
            self.system.stop(&host.name);
        }
    }

    /// Starts at once whatever waits for its time.
    pub fn restart_all(&mut self, now_ns: Ns) {
        self.hosts.iter_mut().for_each(|host| host.restart_ns = host.restart_ns.map(|due_ns| due_ns.min(now_ns)));
    }

    /// Asks all to end, and waits until they have.
    pub async fn ended(&mut self) -> Result<(), RoundError> {
        for host in &mut self.hosts {
            let Some(mut running) = host.running.take() else { continue };
            let ended = loop {
                self.system.stop(&host.name);
                tokio::select! {
                    biased;
                    ended = &mut running.end => break ended,
                    () = tokio::time::sleep(ASK_AGAIN) => {}
                }
            };
            ended.map_err(|_| RoundError::Panicked { host: host.name.clone() })?.transpose()?;
        }
        Ok(())
    }
}

impl Running {
    /// `end` makes every handle inert. Only this thread may: software that goes on meanwhile would trust one that does nothing.
    fn start(
        name: &str,
        software: Fut<'static, Result<(), BootError>>,
        end: impl FnOnce() + Send + 'static,
    ) -> Result<Running, RoundError> {
        let runtime = runtime()?;
        let (kill, killed) = oneshot::channel();
        let (ended, how) = oneshot::channel();
        let run = move || {
            let result = runtime.block_on(async {
                tokio::select! {
                    biased;
                    // Who drops the sender doesn't want it killed.
                    Ok(()) = killed => None,
                    ended = software => Some(ended),
                }
            });
            end();
            drop(runtime);
            // Nobody listens any more where the round failed.
            let _ = ended.send(result);
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
        thread.map_err(machine("start a thread"))?;
        Ok(Running { kill: Some(kill), end: how })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;
    use seaworthy_engine::env::Env;

    use super::*;
    use crate::sim::hosts::Hosts;
    use crate::system::{HostSpec, Offer, Offered};

    /// Software that trusts each effect as soon as it has happened.
    struct Trusting {
        recorder: Arc<Recorder>,
        trusted: Arc<AtomicUsize>,
    }

    impl System for Trusting {
        fn hosts(&self) -> Vec<HostSpec> {
            vec![]
        }

        fn boot(&self, boot: Boot) -> Fut<'static, Result<(), BootError>> {
            let (sink, trusted) = (self.recorder.endpoint("hub.out", "hub", boot.incarnation), self.trusted.clone());
            Box::pin(async move {
                loop {
                    sink.effect("p#1", None, Bytes::new());
                    trusted.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
            })
        }

        fn stop(&self, _host: &str) {}

        fn offer(&self, _env: &Env, _offer: Offer) -> Fut<'static, Offered> {
            unreachable!("nothing is offered")
        }

        fn quiet(&self) -> bool {
            true
        }
    }

    #[tokio::test]
    async fn a_kill_lets_nothing_be_trusted_that_is_not_written_down() {
        let dir = tempfile::tempdir().unwrap();
        let (recorder, trusted) = (Recorder::new(1, false), Arc::new(AtomicUsize::new(0)));
        recorder.begin(Hosts::new(["hub".to_owned()]));
        let system = Rc::new(Trusting { recorder: recorder.clone(), trusted: trusted.clone() });
        let mut fleet = Fleet::boot(system, &["hub".to_owned()], &recorder, dir.path(), None).unwrap();
        for _ in 0..20 {
            let before = trusted.load(Ordering::Relaxed);
            while trusted.load(Ordering::Relaxed) == before {
                tokio::task::yield_now().await;
            }
            fleet.kill(0, 0).await.unwrap();
            assert_eq!(recorder.with_history(|history| history.effects.len()), trusted.load(Ordering::Relaxed));
            fleet.look(u64::MAX).await.unwrap();
        }
        fleet.kill(0, 0).await.unwrap();
    }
}
