//! `plan`: what a seed of a scenario will do, step by step, before anything runs.

use seaworthy_engine::node::Registry;
use seaworthy_harness::plan::Plan;
use seaworthy_harness::run::Prepared;
use seaworthy_harness::scenario::{Mark, TimelineRow, timeline, timeline_rows};
use seaworthy_reports::render::plan::{PlanPicture, Row, plan as picture};

use crate::exit::Exit;
use crate::files;
use crate::plan_files::Which;
use crate::show;

/// Points of the load's curve, at most.
const POINTS: u64 = 120;
/// Events that a point stands for, on average at least: of fewer a rate can't be told.
const POINT_EVENTS: u64 = 20;
const SECOND_NS: f64 = 1e9;

/// Prints the explicit fault plan of one seed.
#[derive(clap::Args)]
#[command(after_help = "Example: seaworthy plan scenarios/uplink_flap.toml --seed 7 --svg flap.svg")]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    /// Prints the plan as JSON, which `sim --plan` takes, instead of a timeline.
    #[arg(long)]
    json: bool,
    /// Draws the timeline into this file, too.
    #[arg(long, value_name = "FILE")]
    svg: Option<String>,
}

pub(crate) fn run(args: &Args, registry: &Registry) -> Exit {
    let (prepared, plan) = match args.which.read(registry) {
        Ok(read) => read,
        Err(exit) => return exit,
    };
    if let Some(path) = &args.svg
        && let Err(error) = files::write_whole(path, &drawn(&prepared, &plan))
    {
        show::notes(&[format!("could not write {path}: {error}")]);
        return Exit::Environment;
    }
    if args.json { show::json(&plan) } else { show::report(&timeline(prepared.scenario(), &plan)) }
}

fn drawn(prepared: &Prepared, plan: &Plan) -> String {
    let scenario = prepared.scenario();
    let seconds = |ns: u64| ns as f64 / SECOND_NS;
    let row = |row: TimelineRow| {
        let bar = |mark: &Mark| match *mark {
            Mark::Lasts { from_ns, to_ns } => Some((seconds(from_ns), seconds(to_ns))),
            Mark::Once { at_ns } => Some((seconds(at_ns), seconds(at_ns))),
            Mark::Triggered => None,
        };
        Row {
            bars: row.marks.iter().filter_map(bar).collect(),
            triggered: row.marks.contains(&Mark::Triggered),
            name: row.fault,
        }
    };
    picture(&PlanPicture {
        title: format!("{}, seed {}", plan.scenario, plan.seed),
        warmup_s: seconds(scenario.sim.warmup_ns),
        load_s: seconds(scenario.sim.duration_ns),
        rows: timeline_rows(scenario, plan).into_iter().map(row).collect(),
        load: load(&prepared.arrivals(plan.seed), scenario.sim.duration_ns),
    })
}

/// Events a second over the load, by what arrives in each of its parts.
fn load(arrivals: &[u64], duration_ns: u64) -> Vec<(f64, f64)> {
    let points = (arrivals.len() as u64 / POINT_EVENTS).clamp(1, POINTS);
    let part_ns = (duration_ns / points).max(1);
    let mut events = vec![0_u64; usize::try_from(duration_ns.div_ceil(part_ns)).expect("some 120")];
    for arrival in arrivals {
        if let Some(part) = usize::try_from(arrival / part_ns).ok().and_then(|part| events.get_mut(part)) {
            *part += 1;
        }
    }
    let a_second = |events: u64| events as f64 * SECOND_NS / part_ns as f64;
    let at = |part: usize| (part as f64 + 0.5) * part_ns as f64 / SECOND_NS;
    events.into_iter().enumerate().map(|(part, events)| (at(part), a_second(events))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_is_told_in_events_a_second() {
        let arrivals: Vec<u64> = (0..6000).map(|n| n * 10_000_000).collect();
        let load = load(&arrivals, 60_000_000_000);
        assert_eq!(load.len(), 120);
        assert!(load.iter().all(|(_, events)| *events == 100.0), "{load:?}");
        assert_eq!(load[0].0, 0.25);
    }

    #[test]
    fn what_arrives_behind_the_load_is_left_out() {
        assert_eq!(super::load(&[7], 3), [(1.5e-9, 0.0)]);
        let one_a_second: Vec<u64> = (0..60).map(|second| second * 1_000_000_000).collect();
        assert!(super::load(&one_a_second, 60_000_000_000).iter().all(|(_, events)| *events == 1.0));
    }
}
