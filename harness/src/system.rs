//! What can be put into a world: any tokio system that asks its `Env` for the machine. The engine is its first user.

use seaworthy_engine::env::{Env, Fut};
use seaworthy_engine::node::Draft;
use seaworthy_engine::packet::Seq;

use crate::check::Check;

/// A host that the system needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSpec {
    /// Its name, which is also how other hosts connect to it.
    pub name: String,
    /// Size of its disk in bytes.
    pub disk_bytes: u64,
    /// Its cores.
    pub cores: u32,
}

/// One start of one host. Everything in it is fresh: what the last incarnation held is inert.
#[derive(Clone)]
pub struct Boot {
    /// The host's machine, as of this incarnation.
    pub env: Env,
    /// Which host.
    pub host: String,
    /// 1 at the first boot, one more at each later one.
    pub incarnation: u64,
}

/// The software on a host could not start, or ended with an error. The world starts it again after a backoff of 1 s at
/// most, as a supervisor does.
#[derive(Clone, Debug, thiserror::Error)]
#[error("could not keep {host} running: {message}")]
pub struct BootError {
    /// Which host.
    pub host: String,
    /// The system's own words.
    pub message: String,
    /// The exit code that its process would end with; 2 is final, the others are started again.
    pub exit: i32,
}

/// One event of the load, handed to the system.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The host.
    pub host: String,
    /// The entry on that host (a source node of the engine's graph).
    pub entry: String,
    /// The event's number at that entry, from 1; offered again under the same number until it is answered.
    pub seq: Seq,
    /// The event.
    pub draft: Draft,
}

/// What the system said of an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offered {
    /// It is the system's now: durable, to be delivered.
    Accepted,
    /// Refused for good.
    Rejected {
        /// The system's own word.
        reason: String,
    },
    /// No answer, and none will come: the host went down, or the system can't say. The load offers it again.
    Indeterminate,
}

/// A tokio system that lives on simulated hosts.
pub trait System {
    /// The hosts, in boot order.
    fn hosts(&self) -> Vec<HostSpec>;
    /// Runs the software of one host until it ends; the future is dropped at a crash. One that ends by itself without an error
    /// stays down, and is no reason to wait for.
    fn boot(&self, boot: Boot) -> Fut<'static, Result<(), BootError>>;
    /// Asks the software of one host to stop gracefully; its `boot` future then ends by itself, within 10 s. What hasn't is killed,
    /// which the check `engine.ended` calls a broken promise.
    fn stop(&self, host: &str);
    /// Hands over one event of the load. Runs on the load's own host, with that host's machine.
    fn offer(&self, env: &Env, offer: Offer) -> Fut<'static, Offered>;
    /// What the system promises, beyond what the world checks of any system.
    fn checks(&self) -> Vec<Box<dyn Check>> {
        Vec::new()
    }
    /// True once nothing is in flight: what was accepted has reached its end.
    fn quiet(&self) -> bool;
    /// The value of a counter at an address (`edge.uplink.backlog`), for triggers; `None` when there is no such thing.
    fn gauge(&self, _address: &str) -> Option<u64> {
        None
    }
}
