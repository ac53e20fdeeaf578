//! What ran before, again: a seed of each scenario in a second process, and every known failure.

use seaworthy_harness::explore::DETERMINISM;
use seaworthy_harness::parallel::in_parallel;
use seaworthy_harness::run::Prepared;
use seaworthy_harness::sim::trace::first_difference;
use seaworthy_reports::result::{ResultFile, Seed};

use super::{Args, Gate};
use crate::corpus::Known;
use crate::elsewhere;
use crate::exit::Exit;
use crate::show;
use crate::worlds::books;

/// The first seed of each again in a second process, in another directory, environment and time zone.
pub(super) fn determinism(gate: &mut Gate, args: &Args, prepared: &[Prepared], file: &ResultFile) -> Result<(), Exit> {
    // Both are in order of their ids.
    let firsts: Vec<(&Prepared, &Seed)> = prepared
        .iter()
        .zip(&file.scenarios)
        .filter_map(|(prepared, result)| Some((prepared, result.seeds.first()?)))
        .collect();
    let again = in_parallel(&firsts, args.jobs, |(prepared, first)| {
        let (there, _) = elsewhere::trace(prepared.path(), first.seed, false)?;
        if first.trace_hash == there { Ok(None) } else { parts(prepared, first, &there).map(Some) }
    });
    let mut differ = Vec::new();
    for (again, (prepared, _)) in again.into_iter().zip(&firsts) {
        if let Some(told) = again? {
            gate.object(&prepared.scenario().id, "determinism", Exit::Nondeterministic, &told);
            differ.push(told);
        }
    }
    if differ.is_empty() {
        gate.step(Exit::Pass, "determinism", "the first seed of each is the same in a second process, elsewhere");
    } else {
        gate.step(
            Exit::Nondeterministic,
            "determinism",
            &show::count(differ.len(), "scenario differs", "scenarios differ"),
        );
        gate.tell(&differ.join("\n"));
    }
    Ok(())
}

/// Where a seed goes another way in a second process.
fn parts(prepared: &Prepared, first: &Seed, there: &str) -> Result<String, Exit> {
    let Seed { seed, trace_hash: here, .. } = first;
    let (_, theirs) = elsewhere::trace(prepared.path(), *seed, true)?;
    let judged = prepared.run_alone(&prepared.plan(*seed), true).map_err(|error| books(&error))?;
    let ours = judged.trace.lines();
    let [ours, theirs] = [&ours, &theirs].map(|lines| lines.lines().collect::<Vec<&str>>());
    let what = |line: Option<&str>| line.unwrap_or("nothing more").to_owned();
    let told = match first_difference(&ours, &theirs) {
        Some((here, there)) => format!("they part at {} here, {} there", what(here), what(there)),
        None => "two more runs did not part".to_owned(),
    };
    Ok(format!("{} seed {seed}: trace {here} here, {there} in a second process; {told}", prepared.scenario().id))
}

/// Every known failure again.
pub(super) fn corpus(
    gate: &mut Gate,
    args: &Args,
    prepared: &[Prepared],
    known: Vec<(String, Known)>,
) -> Result<(), Exit> {
    let (mut fitting, mut elsewhere, mut stale) = (Vec::new(), 0, Vec::new());
    for (at, known) in known {
        let Some(scenario) = prepared.iter().find(|scenario| scenario.scenario().id == known.scenario) else {
            elsewhere += 1;
            continue;
        };
        match scenario.check_plan(&known.plan) {
            Ok(()) => fitting.push((at, known, scenario)),
            Err(why) => stale.push((known.scenario, format!("{at}: no longer fits: {why}"))),
        }
    }
    let again = in_parallel(&fitting, args.jobs, |(at, known, scenario)| -> Result<Again, Exit> {
        let judged = scenario.run_plan(&known.plan, false).map_err(|error| books(&error))?;
        if judged.run.events.is_empty() {
            return Ok(Again::Stale(format!("{at}: no longer fits: it lets no event of the load in")));
        }
        if known.check == DETERMINISM {
            let parts = scenario.parts_from(&known.plan, &judged.trace).map_err(|error| books(&error))?;
            if let Some(parts) = parts {
                return Ok(Again::Back(format!("{at}: {}: {parts}", known.check)));
            }
        }
        let failures = judged.failures(scenario);
        let back = failures.iter().find(|failure| failure.at_ns.is_some() || failure.check == known.check);
        Ok(match back {
            Some(broken) => Again::Back(format!("{at}: {}: {}", broken.check, broken.message)),
            None => Again::Held,
        })
    });
    let mut back = Vec::new();
    for (again, (_, known, _)) in again.into_iter().zip(&fitting) {
        match again? {
            Again::Back(told) => back.push((known.scenario.clone(), told)),
            Again::Stale(told) => stale.push((known.scenario.clone(), told)),
            Again::Held => {}
        }
    }
    let known = show::count(fitting.len(), "known failure", "known failures");
    match () {
        () if !back.is_empty() => gate.step(Exit::Failed, "corpus", &format!("{} of {known} are back", back.len())),
        () if !stale.is_empty() => gate.step(Exit::Usage, "corpus", "plans that no longer fit their scenarios"),
        () => gate.step(Exit::Pass, "corpus", &format!("{known}, none is back")),
    }
    if elsewhere > 0 && args.shard.is_none() {
        gate.tell(&format!("{} of scenarios that are not here", show::count(elsewhere, "line", "lines")));
    }
    for (told, exit) in [(back, Exit::Failed), (stale, Exit::Usage)] {
        for (scenario, told) in told {
            gate.tell(&told);
            gate.object(&scenario, "corpus", exit, &told);
        }
    }
    Ok(())
}

/// What a known failure came to.
enum Again {
    /// It did not come back.
    Held,
    Back(String),
    /// Its plan proves nothing any more.
    Stale(String),
}
