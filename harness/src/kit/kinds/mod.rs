//! The kinds of channels that there are: in memory, in a journal, and in a journal behind a lane.

mod machine;
mod wires;

use std::sync::Arc;

use futures_util::future::LocalBoxFuture;
use seaworthy_engine::channel::kind::Channel;
use seaworthy_engine::channel::memory::{Memory, MemoryLimits};
use seaworthy_engine::env::{Clock, Env};
use seaworthy_engine::graph::Plan;
use seaworthy_engine::journal::reader::{Reader, Step};
use seaworthy_engine::journal::{Durability, JournalOptions, Record};
use seaworthy_engine::lane::far::Far;
use seaworthy_engine::node::Registry;
use seaworthy_engine::process::ChannelPlan;
use seaworthy_engine::runtime::{Engine, EngineOptions};

use super::{End, Kind, Letter, Rig, RigError};
pub use machine::{Machine, VirtualMachine};

/// A beat of virtual time, ns.
pub const VIRTUAL_BEAT_NS: u64 = 1_000_000_000;
/// How long to wait before looking again, ns.
const LOOK_NS: u64 = 1_000_000;
/// How often to look whether a host that ended is gone, or one that began can be reached.
const LOOKS_MAX: usize = 2_000;

/// A channel in memory, on a virtual machine of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct InMemory;

/// A channel that an engine without a graph hosts in its journal.
pub struct InJournal {
    name: &'static str,
    beat_ns: u64,
    /// Its users come over a lane.
    is_far: bool,
    durability: Durability,
    machine: Box<dyn Fn() -> Result<Box<dyn Machine>, RigError>>,
}

impl InJournal {
    /// On virtual machines, its users in the host's own process. Must run on a paused runtime.
    #[must_use]
    pub fn here() -> InJournal {
        InJournal::on("journal", VIRTUAL_BEAT_NS, false, || Ok(Box::new(VirtualMachine::new())))
    }

    /// On virtual machines, its users behind a lane. Must run on a paused runtime.
    #[must_use]
    pub fn behind_a_lane() -> InJournal {
        InJournal::on("journal behind a lane", VIRTUAL_BEAT_NS, true, || Ok(Box::new(VirtualMachine::new())))
    }

    /// On machines of the caller's, one a channel.
    pub fn on(
        name: &'static str,
        beat_ns: u64,
        is_far: bool,
        machine: impl Fn() -> Result<Box<dyn Machine>, RigError> + 'static,
    ) -> InJournal {
        InJournal { name, beat_ns, is_far, durability: Durability::Sync, machine: Box::new(machine) }
    }

    /// The same under another name, with commits that are confirmed as `durability` says.
    #[must_use]
    pub fn confirmed(self, name: &'static str, durability: Durability) -> InJournal {
        InJournal { name, durability, ..self }
    }
}

impl Kind for InMemory {
    fn name(&self) -> &str {
        "memory"
    }

    fn beat_ns(&self) -> u64 {
        VIRTUAL_BEAT_NS
    }

    fn set_up<'a>(&'a self, plan: &'a ChannelPlan) -> LocalBoxFuture<'a, Result<Box<dyn Rig>, RigError>> {
        Box::pin(async {
            let env = VirtualMachine::new().guest();
            let memory = Memory::new(&env, plan, MemoryLimits::default());
            Ok(Box::new(MemoryRig { env, memory, letters: Vec::new() }) as Box<dyn Rig>)
        })
    }
}

struct MemoryRig {
    env: Env,
    memory: Memory,
    letters: Vec<Letter>,
}

impl Rig for MemoryRig {
    fn channel(&self) -> Arc<dyn Channel> {
        Arc::new(self.memory.clone())
    }

    fn clock(&self) -> Arc<dyn Clock> {
        self.env.clock.clone()
    }

    fn restart(&mut self, _: End) -> LocalBoxFuture<'_, Result<(), RigError>> {
        Box::pin(async { Err("nothing in memory outlives its keeper".into()) })
    }

    fn dead_letters(&mut self) -> LocalBoxFuture<'_, Result<Vec<Letter>, RigError>> {
        let new = self.memory.take_dead_letters().into_iter().map(|letter| Letter {
            class: letter.class.name().to_owned(),
            reason: letter.reason,
            packet: letter.packet,
        });
        self.letters.extend(new);
        Box::pin(async { Ok(self.letters.clone()) })
    }
}

impl Kind for InJournal {
    fn name(&self) -> &str {
        self.name
    }

    fn beat_ns(&self) -> u64 {
        self.beat_ns
    }

    fn set_up<'a>(&'a self, plan: &'a ChannelPlan) -> LocalBoxFuture<'a, Result<Box<dyn Rig>, RigError>> {
        Box::pin(async move {
            let mut machine = (self.machine)()?;
            let InJournal { is_far, durability, .. } = *self;
            let (env, engine) = start(&mut *machine, plan, is_far, durability).await?;
            let (plan, engine) = (plan.clone(), Some(engine));
            Ok(Box::new(JournalRig { machine, plan, is_far, durability, env, engine }) as Box<dyn Rig>)
        })
    }
}

struct JournalRig {
    machine: Box<dyn Machine>,
    plan: ChannelPlan,
    is_far: bool,
    durability: Durability,
    /// As the host has it in this life.
    env: Env,
    engine: Option<Engine>,
}

/// Starts the host of a channel in a new life of its machine.
async fn start(
    machine: &mut dyn Machine,
    plan: &ChannelPlan,
    is_far: bool,
    durability: Durability,
) -> Result<(Env, Engine), RigError> {
    let env = machine.boot()?;
    let options = EngineOptions {
        env: env.clone(),
        files: env.disk.clone(),
        plan: Plan { process: plan.host.clone(), graph_hash: 0, nodes: Vec::new() },
        channels: vec![plan.clone()],
        registry: Registry::default(),
        stand_ins: Default::default(),
        journal: JournalOptions {
            segment_bytes: 512 << 10,
            frame_bytes_max: 64 << 10,
            queue_bytes_max: 1 << 20,
            tail_bytes_max: 1 << 20,
            durability,
            ..JournalOptions::new(&plan.host)
        },
        in_flight_max: 64,
        park: false,
    };
    let engine = Engine::start(options).await?;
    if is_far {
        let guest = machine.guest();
        let mut looks = 0;
        while let Err(error) = guest.net.connect(&plan.host).await {
            looks += 1;
            if looks > LOOKS_MAX {
                return Err(error.into());
            }
            guest.clock.sleep(LOOK_NS).await;
        }
    }
    Ok((env, engine))
}

impl Rig for JournalRig {
    fn channel(&self) -> Arc<dyn Channel> {
        if self.is_far {
            return Arc::new(Far::new(&self.machine.guest(), &self.plan.host, &self.plan.id));
        }
        let engine = self.engine.as_ref().expect("an engine runs but for a restart");
        Arc::new(engine.channel(&self.plan.id).expect("the engine hosts the channel"))
    }

    fn clock(&self) -> Arc<dyn Clock> {
        self.env.clock.clone()
    }

    fn restart(&mut self, end: End) -> LocalBoxFuture<'_, Result<(), RigError>> {
        Box::pin(async move {
            let engine = self.engine.take().expect("an engine runs but for a restart");
            let handle = engine.handle();
            match end {
                End::Stop => {
                    handle.stop();
                    engine.run().await?;
                }
                End::Crash => {
                    self.machine.crash()?;
                    drop(engine);
                }
            }
            let mut looks = 0;
            while handle.is_alive() {
                looks += 1;
                if looks > LOOKS_MAX {
                    return Err("something keeps the host that ended alive".into());
                }
                self.env.clock.sleep(LOOK_NS).await;
            }
            let (env, engine) = start(&mut *self.machine, &self.plan, self.is_far, self.durability).await?;
            (self.env, self.engine) = (env, Some(engine));
            Ok(())
        })
    }

    fn dead_letters(&mut self) -> LocalBoxFuture<'_, Result<Vec<Letter>, RigError>> {
        let disk = self.env.disk.clone();
        Box::pin(async move {
            let mut reader = Reader::open(disk).await?;
            let mut letters = Vec::new();
            while let Some(step) = reader.next().await? {
                let Step::Frame(frame) = step else { continue };
                for record in frame.records() {
                    if let (_, Record::DeadLetter(letter)) = record? {
                        let (class, reason, packet) = (letter.failure.class, letter.failure.message, letter.packet);
                        letters.push(Letter { class, reason, packet });
                    }
                }
            }
            Ok(letters)
        })
    }
}
