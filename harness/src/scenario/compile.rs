//! Compiles a scenario into the explicit plan of one seed. Pure, and every draw is keyed by fault, index and field: a
//! fault that is added, changed or off moves no other fault.

use super::draw::draw;
use super::model::{Effect, Fault, Scenario, Schedule};
use crate::plan::{Action, Dist, Link, Ns, Plan, SCHEMA, Start, Step, unit};

/// The plan of `seed`: what happens, when, with nothing left to chance but the draws inside distributions, which the
/// world keys by the same seed.
#[must_use]
pub fn compile(scenario: &Scenario, seed: u64) -> Plan {
    let compiler = Compiler { seed, tick_ns: scenario.sim.tick_ns, end_ns: scenario.sim.duration_ns };
    let mut steps: Vec<Step> = scenario.faults.iter().flat_map(|fault| compiler.steps(fault)).collect();
    // Stable: steps of one instant, and triggered ones, stay in order of the file.
    steps.sort_by_key(|step| match step.start {
        Start::At { at_ns } => at_ns,
        Start::When { .. } => Ns::MAX,
    });
    Plan {
        schema: SCHEMA.to_owned(),
        scenario: scenario.id.clone(),
        seed,
        engine: scenario.engine,
        steps,
        ..Plan::default()
    }
}

struct Compiler {
    seed: u64,
    tick_ns: Ns,
    end_ns: Ns,
}

impl Compiler {
    fn draw(&self, fault: &Fault, index: u64, field: &str) -> u64 {
        draw(self.seed, "plan", &fault.id, index, field)
    }

    /// A drawn length in whole ticks, at least one.
    fn length(&self, dist: Dist, draw: u64) -> Ns {
        dist.draw(draw).div_ceil(self.tick_ns).max(1) * self.tick_ns
    }

    fn steps(&self, fault: &Fault) -> Vec<Step> {
        if unit(self.draw(fault, 0, "chance")) >= fault.chance {
            return Vec::new();
        }
        let times = match &fault.schedule {
            Schedule::When { .. } => 1,
            Schedule::At { repeat, .. } | Schedule::Within { repeat, .. } => *repeat,
        };
        (0..times).flat_map(|index| self.once(fault, index)).collect()
    }

    /// One occurrence of a fault.
    fn once(&self, fault: &Fault, index: u64) -> Vec<Step> {
        let lasts = fault.lasts.map(|lasts| self.length(lasts, self.draw(fault, index, "for")));
        let at_ns = match &fault.schedule {
            Schedule::When { when } => {
                let Effect::Act(action) = &fault.effect else {
                    unreachable!("what comes to several steps was checked to have a time, not a trigger")
                };
                let start = Start::When { when: when.clone() };
                return vec![Step { fault: fault.id.clone(), start, for_ns: lasts, action: action.clone() }];
            }
            Schedule::At { at_ns, every_ns, .. } => at_ns + every_ns * index,
            Schedule::Within { from_ns, to_ns, repeat } => {
                let part = (to_ns - from_ns) / repeat;
                let room = part.saturating_sub(lasts.or(fault.effect.own_length()).unwrap_or(0));
                let offset = Dist::Uniform { from_ns: 0, to_ns: room }.draw(self.draw(fault, index, "start"));
                let at_ns = from_ns + part * index + offset;
                // Down to a whole tick; the window begins on one or the start is its first instant.
                (at_ns - at_ns % self.tick_ns).max(*from_ns)
            }
        };
        match &fault.effect {
            Effect::Act(action) => vec![step(fault, at_ns, lasts, action.clone())],
            Effect::Flap { .. } => self.flap(fault, index, at_ns, lasts),
            Effect::Swizzle { links } => self.swizzle(fault, links, index, at_ns, lasts),
            Effect::Rolling { hosts, restart_ns, up } => self.rolling(fault, hosts, index, at_ns, (*restart_ns, *up)),
        }
    }

    /// The cuts of one flap: down first, up between, and up for good at its end.
    fn flap(&self, fault: &Fault, index: u64, from_ns: Ns, lasts: Option<Ns>) -> Vec<Step> {
        let Effect::Flap { link, down, up } = &fault.effect else { unreachable!("called for flaps only") };
        let end_ns = lasts.map_or(self.end_ns, |lasts| from_ns + lasts);
        let mut cuts = Vec::new();
        let mut at_ns = from_ns;
        for cut in 0.. {
            if at_ns >= end_ns {
                break;
            }
            let key = (index << 32) | cut;
            let for_ns = self.length(*down, self.draw(fault, key, "down")).min(end_ns - at_ns);
            cuts.push(step(fault, at_ns, Some(for_ns), Action::NetCut { link: link.clone() }));
            at_ns += for_ns + self.length(*up, self.draw(fault, key, "up"));
        }
        cuts
    }

    /// Links stop one by one over the first third of the time, and come back one by one, in another order, over the last.
    fn swizzle(&self, fault: &Fault, links: &[Link], index: u64, from_ns: Ns, lasts: Option<Ns>) -> Vec<Step> {
        let length_ns = lasts.unwrap_or(self.end_ns.saturating_sub(from_ns));
        let third_ns = length_ns / 3;
        let count = links.len() as u64;
        let order = |field: &str| {
            let mut order: Vec<usize> = (0..links.len()).collect();
            order.sort_by_key(|link| (self.draw(fault, (index << 32) | *link as u64, field), *link));
            order
        };
        let back = order("back");
        let cut = |(place, link): (usize, usize)| {
            let rank = back.iter().position(|other| *other == link).expect("both orders hold every link") as u64;
            let begins = self.tick(third_ns * place as u64 / count);
            let ends = self.tick(length_ns - third_ns + third_ns * (rank + 1) / count);
            let for_ns = ends.saturating_sub(begins).max(self.tick_ns);
            step(fault, from_ns + begins, Some(for_ns), Action::NetCut { link: links[link].clone() })
        };
        order("stop").into_iter().enumerate().map(cut).collect()
    }

    /// Down to a whole tick.
    fn tick(&self, ns: Ns) -> Ns {
        ns - ns % self.tick_ns
    }

    /// One host after the other, each once the one before is back.
    fn rolling(
        &self,
        fault: &Fault,
        hosts: &[String],
        index: u64,
        from_ns: Ns,
        (restart_ns, up): (Ns, Dist),
    ) -> Vec<Step> {
        let mut at_ns = from_ns;
        let stop = |(place, host): (usize, &String)| {
            let step = step(fault, at_ns, None, Action::HostStop { host: host.clone(), restart_ns });
            at_ns += restart_ns + self.length(up, self.draw(fault, (index << 32) | place as u64, "up"));
            step
        };
        hosts.iter().enumerate().map(stop).collect()
    }
}

fn step(fault: &Fault, at_ns: Ns, for_ns: Option<Ns>, action: Action) -> Step {
    Step { fault: fault.id.clone(), start: Start::At { at_ns }, for_ns, action }
}
