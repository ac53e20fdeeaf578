//! The baseline, or an older build: what is worse than there, and what is easier to meet.

use seaworthy_reports::compare::{Comparison, Loosened, ScenarioDelta, Seeds, Tolerance, Word, compare};
use seaworthy_reports::render::text;
use seaworthy_reports::result::{ResultFile, Scenario};

use super::seeds::Ran;
use super::{Args, Gate};
use crate::baseline;
use crate::exit::Exit;
use crate::rebuild::Rebuild;
use crate::results::{comparison_text, exit_of, loosened_text};
use crate::shard::{shard_of, stem_of};
use crate::show;
use crate::waivers::Waivers;

/// The result to compare with: the baseline, where there is one, or what an older build does.
pub(super) fn base(args: &Args) -> Result<Option<ResultFile>, Exit> {
    if args.seeds_only || args.no_baseline {
        return Ok(None);
    }
    let Some(rev) = &args.rebuild else {
        return baseline::find(args.baseline.as_deref(), args.accept.is_some());
    };
    let options = ["--tier".to_owned(), args.tier.name().to_owned(), "--jobs".to_owned(), args.jobs.to_string()];
    let counted = args.instructions.then(|| "--instructions".to_owned());
    let gate = args.scenarios.iter().cloned().chain(options).chain(counted).collect();
    let out = format!("{}/rebuilt", args.out);
    Rebuild { rev, path: &args.rebuild_path, gate, out }.result().map(Some)
}

pub(super) fn against(
    gate: &mut Gate,
    args: &Args,
    paths: &[String],
    base: &ResultFile,
    ran: &Ran,
    waivers: &Waivers,
) -> Comparison {
    // Of a shard, the other shards' scenarios are not missing; one that no file has is missing in each.
    let is_mine = |path: &String| args.shard.is_none_or(|(shard, of)| shard_of(path, of) == shard);
    let (there, gone): (Vec<&Scenario>, Vec<&Scenario>) =
        base.scenarios.iter().partition(|scenario| file_of(&scenario.id, paths).is_some());
    let mine = there.iter().filter(|scenario| file_of(&scenario.id, paths).is_some_and(is_mine));
    let mine: Vec<Scenario> = mine.map(|scenario| (*scenario).clone()).collect();
    let (nothing, left_out) = (there.is_empty(), mine.is_empty() && !there.is_empty());
    let part = if nothing { base.clone() } else { ResultFile { scenarios: mine, ..base.clone() } };
    let mut comparison = compare(&part, &ran.like_base, &Tolerance::default(), Seeds::Pinned);
    if !nothing {
        gone.iter().for_each(|scenario| comparison.miss(&scenario.id));
    }
    let waived = comparison.waive(|loosened| waivers.waive(loosened));
    let exit = match () {
        () if left_out && comparison.loosened.is_empty() => Exit::Pass,
        () => exit_of(&comparison),
    };
    let what = match exit {
        Exit::Pass if left_out => "no scenario of this shard has a baseline".to_owned(),
        Exit::Pass => "no figure is worse than the baseline's".to_owned(),
        Exit::Usage => "easier to meet than the baseline, without a waiver".to_owned(),
        Exit::Void if comparison.scenarios.is_empty() => "the baseline is of no scenario".to_owned(),
        Exit::Void => "not all of it can be compared; `gate --accept REASON` makes a new baseline".to_owned(),
        _ => "worse than the baseline".to_owned(),
    };
    // What is accepted is told, and no reason to fail.
    let is_gone = nothing || comparison.loosened.iter().any(Loosened::is_gone);
    let told = if args.accept.is_some() && !is_gone { Exit::Pass } else { exit };
    gate.step(told, "compare", &what);
    tell_scope(gate, ran, &part, &comparison);
    for loosened in &waived {
        gate.tell(&format!("waived: {}", loosened_text(loosened)));
    }
    let ran_here = |scenario: &str| args.shard.is_none() || ran.file.scenarios.iter().any(|known| known.id == scenario);
    for unused in waivers.unused(&waived, ran_here) {
        gate.tell(&format!("a waiver that nothing needs: {unused}"));
    }
    if exit != Exit::Pass {
        gate.tell(&comparison_text(&comparison));
    }
    if told != Exit::Pass {
        object(gate, &comparison, &what);
    }
    comparison
}

/// Without a baseline nobody knows whether a build became worse.
pub(super) fn no_baseline(gate: &mut Gate) {
    let what = "there is no baseline; `seaworthy gate --accept REASON` makes one, and --no-baseline goes without";
    gate.step(Exit::Void, "compare", what);
    gate.object("", "compare", Exit::Void, what);
}

/// How much of the run the comparison speaks of.
fn tell_scope(gate: &mut Gate, ran: &Ran, base: &ResultFile, comparison: &Comparison) {
    let all = ran.file.scenarios.len();
    let without = comparison.without_base.len();
    if without > 0 {
        gate.tell(&format!("{without} of {} have no baseline", show::count(all, "scenario", "scenarios")));
    }
    let seeds = |file: &ResultFile| {
        let compared = file.scenarios.iter().filter(|new| base.scenarios.iter().any(|old| old.id == new.id));
        compared.map(|scenario| scenario.seeds.len()).sum::<usize>()
    };
    let (part, whole) = (seeds(&ran.like_base), seeds(&ran.file));
    if part < whole {
        gate.tell(&format!("over the baseline's seeds: {part} of {whole}"));
    }
    let untold: Vec<&str> = comparison.inconclusive().map(|scenario| scenario.id.as_str()).collect();
    if !untold.is_empty() {
        gate.tell(&format!("inconclusive, as a figure of one side can't be told: {}", untold.join(", ")));
    }
}

/// Writes down what is worse, looser or unlike, scenario by scenario.
fn object(gate: &mut Gate, comparison: &Comparison, what: &str) {
    if comparison.scenarios.is_empty() {
        gate.object("", "compare", Exit::Void, what);
    }
    for loosened in &comparison.loosened {
        let what = format!("LOOSENED {} {} → {}", loosened.what, loosened.from, loosened.to);
        gate.object(&loosened.scenario, "compare", Exit::Usage, &what);
    }
    for scenario in &comparison.scenarios {
        match (scenario.word, &scenario.why) {
            (Word::NotComparable, Some(why)) => gate.object(&scenario.id, "compare", Exit::Void, why),
            (Word::Regressed, _) => gate.object(&scenario.id, "compare", Exit::Regressed, &worst(scenario)),
            _ => {}
        }
    }
}

/// The figure that is worse by most, and how many others are.
fn worst(scenario: &ScenarioDelta) -> String {
    let mut worse = scenario.deltas.iter().filter(|delta| delta.word == Word::Regressed);
    let Some(first) = worse.next() else { return "worse over the seeds".to_owned() };
    let [base, head] = [&first.base, &first.head].map(text::figure);
    let more = worse.count();
    let more =
        if more == 0 { String::new() } else { format!(", and {}", show::count(more, "figure more", "figures more")) };
    format!("{} {base} → {head}{more}", first.what)
}

/// The file that a result's scenario is of: `cuts.toml` has `cuts`, and `cuts.5s` of its matrix.
fn file_of<'a>(id: &str, paths: &'a [String]) -> Option<&'a String> {
    let is_of = |path: &&String| {
        let rest = stem_of(path).to_str().and_then(|stem| id.strip_prefix(stem));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    paths.iter().filter(is_of).max_by_key(|path| stem_of(path).len())
}
