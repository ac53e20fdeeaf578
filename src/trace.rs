//! `trace diff`: where a run parts from one that went well: the first thing that differs, and what came of each packet.

use std::collections::{BTreeMap, BTreeSet};

use seaworthy_engine::node::Registry;
use seaworthy_harness::plan::Plan;
use seaworthy_harness::run::{Judged, Prepared};
use seaworthy_harness::story::{self, Line};
use serde::Serialize;

use crate::exit::Exit;
use crate::plan_files::Which;
use crate::show;

/// Compares runs of a scenario.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Diff(DiffArgs),
}

/// Shows where a run parts from its twin: the same seed without its faults, or without one of them.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  seaworthy trace diff scenarios/hub_crash.toml --seed 7\n  \
    seaworthy trace diff my.toml --seed 5 --without cut\n  seaworthy trace diff my.toml --seed 5 --against-seed 6\n\n\
    Draws are keyed, so without the fault everything else is the same: the first difference is what the fault did.\n\
    Against another seed all draws differ, so only what happened, not when, is compared.")]
struct DiffArgs {
    #[command(flatten)]
    which: Which,
    /// Leaves out this fault only; may be given again. By default all are left out.
    #[arg(long)]
    without: Vec<String>,
    /// Compares with this seed instead, which should pass.
    #[arg(long, conflicts_with = "without")]
    against_seed: Option<u64>,
    /// Lines of each run to show from the first difference on.
    #[arg(long, default_value_t = 8)]
    lines: usize,
    /// Prints one JSON document instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Diff<'a> {
    schema: &'static str,
    scenario: &'a str,
    /// The lines of both before the first difference.
    before: Vec<&'a Line>,
    this: Vec<&'a Line>,
    twin: Vec<&'a Line>,
    packets: Vec<Packet>,
}

/// A packet that came later, earlier, oftener or not at all.
#[derive(Serialize)]
struct Packet {
    packet: String,
    sink: String,
    copies: usize,
    twin_copies: usize,
    /// How much later than in the twin the first copy came, ns.
    later_ns: Option<i64>,
    /// It is in both, and holds something else here than there.
    other_content: bool,
}

/// What came of a packet at a sink.
struct Seen<'a> {
    first_ns: u64,
    copies: usize,
    contents: BTreeSet<&'a [u8]>,
}

pub(crate) fn run(args: &Args, registry: &Registry) -> Exit {
    let Command::Diff(args) = &args.command;
    match diff(args, registry) {
        Ok(exit) | Err(exit) => exit,
    }
}

fn diff(args: &DiffArgs, registry: &Registry) -> Result<Exit, Exit> {
    let (prepared, plan) = args.which.read(registry)?;
    let twin = twin(args, &prepared, &plan)?;
    let play = |plan: &Plan| prepared.run_alone(plan, true).map_err(|error| crate::worlds::books(&error));
    let (this_run, twin_run) = (play(&plan)?, play(&twin)?);
    let timed = args.against_seed.is_none();
    let (this, that) = (lines(&prepared, &plan, &this_run), lines(&prepared, &twin, &twin_run));
    let same = this.iter().zip(&that).take_while(|(this, that)| is_same(this, that, timed)).count();
    let packets = packets(&this_run, &twin_run);
    let tick_ns = prepared.scenario().sim.tick_ns;
    let before: Vec<&Line> = this[same.saturating_sub(3)..same].iter().collect();
    let this_next: Vec<&Line> = this[same..].iter().take(args.lines).collect();
    let that_next: Vec<&Line> = that[same..].iter().take(args.lines).collect();
    if args.json {
        return Ok(show::json(&Diff {
            schema: "seaworthy.trace_diff/v1",
            scenario: prepared.path(),
            before,
            this: this_next,
            twin: that_next,
            packets,
        }));
    }
    let against = match (args.against_seed, &args.without[..]) {
        (Some(seed), _) => format!("seed {seed}"),
        (None, []) => "the same seed without its faults".to_owned(),
        (None, without) => format!("the same seed without {}", without.join(", ")),
    };
    let mut text = format!("{}, seed {}, against {against}\n", plan.scenario, plan.seed);
    if this_next.is_empty() && that_next.is_empty() {
        let why = if plan.steps.is_empty() { ": the plan has no faults that its twin could leave out" } else { "" };
        text.push_str(&format!("  nothing differs{why}\n"));
        return Ok(show::report(&text));
    }
    let told = |mark: char, line: &Line| format!("{mark} {:>10.3}s  {}\n", line.at_ns as f64 / 1e9, line.text());
    text.push_str(&format!("\nthe same in both for {same} lines, then\n"));
    before.iter().for_each(|line| text.push_str(&told(' ', line)));
    let parted_ns = [this_next.first(), that_next.first()].into_iter().flatten().map(|line| line.at_ns).min();
    let faults = story::lines(prepared.world(), &plan, &this_run);
    let mut faults = faults.iter().filter(|line| ["fault", "heal"].contains(&line.what.as_str()));
    if let Some(fault) = faults.rfind(|line| parted_ns.is_none_or(|parted_ns| line.at_ns <= parted_ns)) {
        text.push_str(&told('!', fault));
    }
    this_next.iter().for_each(|line| text.push_str(&told('>', line)));
    that_next.iter().for_each(|line| text.push_str(&told('<', line)));
    text.push_str("  ! the last fault before, > this run, < the other\n");
    let (later, missing): (Vec<&Packet>, Vec<&Packet>) = packets.iter().partition(|packet| packet.later_ns.is_some());
    let copies = later.iter().filter(|packet| packet.copies != packet.twin_copies).count();
    text.push_str(&format!(
        "\nat the sinks: {} in one run only, {} with other content, {} with other copies, {} at another time by a tick or more\n",
        missing.len(),
        later.iter().filter(|packet| packet.other_content).count(),
        copies,
        later.iter().filter(|packet| packet.later_ns.is_some_and(|later| later.unsigned_abs() >= tick_ns)).count()
    ));
    let mut worst: Vec<&Packet> = missing;
    let mut slow = later;
    slow.sort_by_key(|packet| {
        std::cmp::Reverse((packet.other_content, packet.copies != packet.twin_copies, packet.later_ns))
    });
    worst.extend(slow);
    for packet in worst.iter().take(args.lines) {
        let what = match packet.later_ns {
            Some(later_ns) => {
                let content = if packet.other_content { ", other content" } else { "" };
                format!("{:+.3} s{content}", later_ns as f64 / 1e9)
            }
            None if packet.copies == 0 => "never here".to_owned(),
            None => "never there".to_owned(),
        };
        text.push_str(&format!(
            "  {:<24} at {:<20} {what}, {} here, {} there\n",
            packet.packet,
            packet.sink,
            show::count(packet.copies, "copy", "copies"),
            packet.twin_copies
        ));
    }
    Ok(show::report(&text))
}

fn twin(args: &DiffArgs, prepared: &Prepared, plan: &Plan) -> Result<Plan, Exit> {
    if let Some(seed) = args.against_seed {
        return Ok(prepared.plan(seed));
    }
    let faults: Vec<&str> = plan.steps.iter().map(|step| step.fault.as_str()).collect();
    if let Some(unknown) = args.without.iter().find(|fault| !faults.contains(&fault.as_str())) {
        show::problem(&NoFault { fault: unknown.clone(), faults: faults.join(", ") });
        return Err(Exit::Usage);
    }
    let mut twin = plan.clone();
    twin.steps.retain(|step| !(args.without.is_empty() || args.without.contains(&step.fault)));
    Ok(twin)
}

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("the plan has no fault `{fault}`")]
#[diagnostic(code(trace::fault), help("it has: {faults}"))]
struct NoFault {
    fault: String,
    faults: String,
}

/// Everything but the faults themselves, which are known to differ.
fn lines(prepared: &Prepared, plan: &Plan, judged: &Judged) -> Vec<Line> {
    let mut lines = story::lines(prepared.world(), plan, judged);
    lines.retain(|line| line.what != "fault" && line.what != "heal");
    lines
}

fn is_same(this: &Line, that: &Line, timed: bool) -> bool {
    if timed { this == that } else { (&this.host, &this.what, &this.place) == (&that.host, &that.what, &that.place) }
}

/// Every packet that differs at a sink, by name.
fn packets(this: &Judged, twin: &Judged) -> Vec<Packet> {
    let (this, twin) = (seen(this), seen(twin));
    let names: BTreeSet<&(&str, &str)> = this.keys().chain(twin.keys()).collect();
    let of = |at: &(&str, &str)| {
        let (here, there) = (this.get(at), twin.get(at));
        let both = here.zip(there);
        Packet {
            packet: at.0.to_owned(),
            sink: at.1.to_owned(),
            copies: here.map_or(0, |seen| seen.copies),
            twin_copies: there.map_or(0, |seen| seen.copies),
            later_ns: both.map(|(here, there)| here.first_ns as i64 - there.first_ns as i64),
            other_content: both.is_some_and(|(here, there)| here.contents != there.contents),
        }
    };
    let differs =
        |packet: &Packet| packet.later_ns != Some(0) || packet.copies != packet.twin_copies || packet.other_content;
    names.into_iter().map(of).filter(differs).collect()
}

/// By packet and sink.
fn seen(judged: &Judged) -> BTreeMap<(&str, &str), Seen<'_>> {
    let mut seen: BTreeMap<(&str, &str), Seen<'_>> = BTreeMap::new();
    for effect in &judged.history.effects {
        let at = (effect.packet_id.as_str(), effect.endpoint.as_str());
        let nothing = || Seen { first_ns: effect.at_ns, copies: 0, contents: BTreeSet::new() };
        let seen = seen.entry(at).or_insert_with(nothing);
        seen.copies += 1;
        seen.contents.insert(&effect.content);
    }
    seen
}
