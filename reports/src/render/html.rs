//! `report.html`: one file without network or scripts, for a phone, in the dark, and by keyboard.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::charts;
use super::text::{expected, figure, loud, percent, shown};
use super::{GROUPS_SHOWN, most};
use crate::compare::{Comparison, Word};
use crate::result::{
    Assertion, Figure, Interval, LatencyMs, OverSeeds, Phase, Process, Recovery, ResultFile, Scenario, Seed, Time,
    Verdict, Waterfall,
};
use crate::run::Kind;
use crate::series::Timelines;

/// Failing seeds of a scenario whose broken promises are shown.
const SEEDS_SHOWN: usize = 5;
/// Broken promises of a seed that are shown, beside the first of each kind.
const BROKEN_SHOWN: usize = 10;
/// Scenarios of which the page says at its top what is wrong.
const LINES_SHOWN: usize = 20;

/// What is known of a scenario beside its result.
#[derive(Clone, Debug, Default)]
pub struct Extra {
    /// Points of a percentile spectrum, a line a phase and sink.
    pub spectrum: Vec<(String, Vec<(f64, f64)>)>,
    /// One seed over time.
    pub timelines: Option<Timelines>,
    /// The file of the smallest plan that breaks what the run broke, beside the page, and how many faults are in it.
    pub smallest: Option<(String, usize)>,
}

/// The page, with what else is known of scenarios, by id.
#[must_use]
pub fn render(file: &ResultFile, extras: &BTreeMap<String, Extra>, comparison: Option<&Comparison>) -> String {
    let nothing = Extra::default();
    // What is wrong stands first.
    let mut scenarios: Vec<&Scenario> = file.scenarios.iter().collect();
    scenarios.sort_by_key(|scenario| Reverse(scenario.verdict.weight()));
    let title = match &scenarios[..] {
        [_] => "Seaworthy report".to_owned(),
        many => format!("{} scenarios", many.len()),
    };
    let clock = match file.time {
        Time::Virtual => {
            let measured = file.scenarios.iter().map(|scenario| scenario.cpu.as_deref()).min().flatten();
            let charged = match measured {
                Some(day) => format!("computation is charged as measured on {day}"),
                None => "computation is charged by a guess, so what a node costs is not judged".to_owned(),
            };
            format!("virtual time, {} ms floor; {charged}", file.resolution_ms)
        }
        Time::Wall => "wall time".to_owned(),
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "Seaworthy: " (file.scenarios.first().map_or("nothing", |first| &first.id)) @if file.scenarios.len() > 1 { " and others" } }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (chip(file.verdict)) " " (title) }
                    p .quiet { "seaworthy " (file.seaworthy) ", commit " (file.commit) ", " (clock) }
                }
                @for objection in &file.objections { p .why { (objection.step) ": " (objection.scenario) " " (objection.what) } }
                @if scenarios.len() > 1 { (broken(&scenarios)) (overview(&scenarios)) }
                @if let Some(comparison) = comparison { (release(comparison)) }
                main { @for scenario in &scenarios { (section(scenario, extras.get(&scenario.id).unwrap_or(&nothing))) } }
                footer .quiet { "No figure here is an average over what was lost: what never came counts as infinitely late." }
            }
        }
    };
    page.into_string()
}

/// Phases, each with its name.
type Named<'a> = Vec<(&'a String, &'a Phase)>;

/// Phases that are shown at first, and the rest: of those of groups of faults, the ones with most events.
fn largest(all: &BTreeMap<String, Phase>) -> (Named<'_>, Named<'_>) {
    let mut groups: Vec<(&String, u64)> =
        all.iter().filter(|(name, _)| name.contains('(')).map(|(name, phase)| (name, phase.offered)).collect();
    groups.sort_by_key(|(_, offered)| Reverse(*offered));
    let small: BTreeSet<&String> = groups.iter().skip(2 * GROUPS_SHOWN).map(|(name, _)| *name).collect();
    all.iter().partition(|(name, _)| !small.contains(name))
}

type Count = fn(&Phase) -> u64;
/// What became of events, by the words of docs/definitions.md; the page has a column for what there is in some phase.
const FATES: [(&str, Count); 11] = [
    ("offered", |phase| phase.offered),
    ("rejected", |phase| phase.rejected),
    ("indeterminate", |phase| phase.indeterminate),
    ("accepted", |phase| phase.accepted),
    ("recovered", |phase| phase.recovered),
    ("visible", |phase| phase.visible),
    ("absorbed", |phase| phase.absorbed),
    ("folded", |phase| phase.folded),
    ("dead-lettered", |phase| phase.dead_lettered),
    ("shed", |phase| phase.shed),
    ("expired", |phase| phase.expired),
];
/// Columns that are there though all be 0.
const ALWAYS: [&str; 3] = ["offered", "accepted", "visible"];
/// What enters, which the page's sum has on its left.
const ENTER: [&str; 5] = ["offered", "rejected", "indeterminate", "accepted", "recovered"];

fn phases(phases: &[(&String, &Phase)]) -> Markup {
    let any = |count: Count| phases.iter().any(|(_, phase)| count(phase) > 0);
    let columns: Vec<_> = FATES.into_iter().filter(|(what, count)| ALWAYS.contains(what) || any(*count)).collect();
    let is_unexpected = any(|phase| phase.unexpected);
    let ends: Vec<&str> = columns.iter().map(|(what, _)| *what).filter(|what| !ENTER.contains(what)).collect();
    let recovered = if any(|phase| phase.recovered) { " + recovered" } else { "" };
    html! {
        div .scroll tabindex="0" { table .n {
            thead { tr {
                th { "phase" }
                @for (what, _) in &columns { th { (what) } }
                th { "lost" } th { "unresolved" }
                @if is_unexpected { th { "unexpected" } }
                th { "duplicate" } th { "replay" } th { "p50" } th { "p95" } th { "p99" } th { "p99.9" } th { "max ms" }
            } }
            tbody { @for (name, phase) in phases { tr {
                td { (name) }
                @for (_, count) in &columns { td { (count(phase)) } }
                td.fail[phase.lost + phase.lost_reported > 0] { (lost(phase.lost, phase.lost_reported, phase.lost_window)) }
                td.fail[phase.unresolved > 0] { (phase.unresolved) }
                @if is_unexpected { td.fail[phase.unexpected > 0] { (phase.unexpected) } }
                td { (percent(phase.duplicate_ratio)) } td { (percent(phase.replay_ratio)) }
                @for (_, latency) in phase.latency_ms.figures() { td { (short(latency)) } }
            } } }
        } }
        p .quiet { "Each event once: accepted" (recovered) " = " (ends.join(" + ")) " + lost + unresolved." }
    }
}

/// How sure the percentiles are.
fn intervals(phases: &BTreeMap<String, Phase>) -> Markup {
    let told = |over: &OverSeeds| {
        let of = |(what, found): (&str, &Interval)| format!("{what} {} to {}", figure(&found.low), figure(&found.high));
        over.told().map(of).collect::<Vec<_>>().join(", ")
    };
    html! { @for (name, phase) in phases {
        @if let Some(over) = &phase.latency_ms.over_seeds {
            p .quiet { "95 % interval over " (over.seeds) " seeds, " (name) ": " (told(over)) " ms" }
        }
    } }
}

/// How long what was done again took, in the phases where something was.
fn replays(phases: &BTreeMap<String, Phase>) -> Markup {
    let replayed: Vec<(&String, &LatencyMs)> =
        phases.iter().filter_map(|(name, phase)| Some((name, phase.replay_delay_ms.as_ref()?))).collect();
    html! { @if !replayed.is_empty() {
        h3 { "What was done again" }
        p .quiet { "From the first attempt to the effect of the events that some stage did more than once." }
        div .scroll tabindex="0" { table .n {
            thead { tr { th { "phase" } th { "events" } th { "p50" } th { "p95" } th { "p99" } th { "p99.9" } th { "max ms" } } }
            tbody { @for (name, delays) in replayed { tr {
                td { (name) } td { (delays.n) }
                @for (_, delay) in delays.figures() { td { (short(delay)) } }
            } } }
        } }
    } }
}

fn recoveries(groups: &[&Recovery]) -> Markup {
    html! {
        div .scroll tabindex="0" { table .n {
            thead {
                tr { td colspan="2" {} th colspan="5" { "from the heal, ms" } th { "event s" } th colspan="3" { "from the start, ms" } }
                tr { th { "fault" } th { "n" } th { "first output p95" } th { "steady p50" } th { "steady p95" } th { "steady max" } th { "drained p95" } th { "deficit p95" } th { "detect p95" } th { "steady p95" } th { "drained p95" } }
            }
            tbody { @for recovery in groups { tr {
                td { (recovery.fault) } td { (recovery.n) }
                @for spread in [&recovery.first_output_from_heal_ms.p95, &recovery.steady_from_heal_ms.p50, &recovery.steady_from_heal_ms.p95, &recovery.steady_from_heal_ms.max, &recovery.drained_from_heal_ms.p95, &recovery.deficit.p95] {
                    td { (short(spread)) }
                }
                @let (steady, drained) = (recovery.steady_from_start_ms.as_ref(), recovery.drained_from_start_ms.as_ref());
                @let detect = recovery.detect_from_start_ms.as_ref();
                @for spread in [detect.map(|detect| &detect.p95), steady.map(|steady| &steady.p95), drained.map(|drained| &drained.p95)] {
                    td { (spread.map_or_else(|| "–".to_owned(), short)) }
                }
            } } }
        } }
    }
}

/// `3`, and what was declared: `0 + 12 in the window`.
fn lost(lost: u64, reported: u64, window: u64) -> String {
    let mut text = lost.to_string();
    for (count, how) in [(reported, "reported"), (window, "in the window")] {
        if count > 0 {
            write!(text, " + {count} {how}").expect("a String takes all");
        }
    }
    text
}

/// Where the time went on the way to a sink: what it went into, in one bar, and a bar a stage.
fn way(waterfall: &Waterfall) -> Markup {
    let total: f64 = waterfall.stages.iter().map(|stage| stage.mean_ms.0).sum();
    let width = |ms: f64| format!("width:{:.1}%", 100.0 * ms / total.max(f64::MIN_POSITIVE));
    html! {
        h3 { "Where the time goes, to " code { (waterfall.sink) } }
        p .quiet { "mean of " (waterfall.events) " events, " (format!("{total:.2}")) " ms from due to visible" }
        @if let Some(kinds) = waterfall.by_kind() {
            div .kinds aria-hidden="true" { @for (kind, ms) in kinds { span class=(kind.name()) style=(width(ms)) {} } }
            ul .legend { @for (kind, ms) in kinds { li { span class={ "key " (kind.name()) } aria-hidden="true" {} " " (kind.name()) " " (format!("{ms:.2}")) " ms" } } }
        }
        div .scroll tabindex="0" { table .way {
            tbody { @for stage in &waterfall.stages { tr {
                @let kind = stage.kind.map_or("", Kind::name);
                td { (stage.stage) } td .quiet { (kind) }
                td { (format!("{:.2}", stage.mean_ms.0)) " ms" }
                td .bar { span class=(kind) style=(width(stage.mean_ms.0)) {} }
            } } }
        } }
    }
}

/// The processes of a real run, and what each counted itself.
fn processes(processes: &[Process]) -> Markup {
    html! { @if !processes.is_empty() {
        h3 { "Processes" }
        ul .plain { @for process in processes { li {
            strong { (process.id) } " " (process.line())
            @if !process.counts_complete { ", and what a killed life had not told yet" }
            @for finding in &process.recovery { br; span .quiet { (finding) } }
        } } }
    } }
}

fn chip(verdict: Verdict) -> Markup {
    html! { span class={ "chip " (class(verdict)) } { (loud(verdict)) } }
}

/// What is wrong with each scenario, in a line.
fn broken(scenarios: &[&Scenario]) -> Markup {
    let told: Vec<(&Scenario, String)> =
        scenarios.iter().filter_map(|scenario| Some((*scenario, first_wrong(scenario)?))).collect();
    html! {
        @if !told.is_empty() {
            ol .plain aria-label="what is wrong" {
                @for (scenario, wrong) in told.iter().take(LINES_SHOWN) { li { a href={ "#" (scenario.id) } { (scenario.id) } ": " (wrong) } }
            }
        }
        @if told.len() > LINES_SHOWN { p { "and " (told.len() - LINES_SHOWN) " scenarios more, below" } }
    }
}

/// The first promise that a scenario broke, or else the first objective that it missed.
fn first_wrong(scenario: &Scenario) -> Option<String> {
    let violation = scenario.seeds.iter().find_map(|seed| Some((seed.seed, seed.violations.first()?)));
    let violation = violation.map(|(seed, first)| format!("seed {seed}, {}: {}", first.check, first.message));
    let missed = || scenario.expect.iter().find(|found| found.verdict == Verdict::Fail).map(expected);
    violation.or_else(missed).or_else(|| scenario.void.first().map(|why| format!("proved nothing: {why}")))
}

fn overview(scenarios: &[&Scenario]) -> Markup {
    html! {
        nav aria-label="scenarios" {
            div .scroll tabindex="0" { table .n {
                thead { tr { th { "scenario" } th { "verdict" } th { "seeds" } th { "lost" } th { "duplicate" } th { "replay" } th { "p50 ms" } th { "p95 ms" } th { "p99 ms" } } }
                tbody { @for scenario in scenarios { tr {
                    td { a href={ "#" (scenario.id) } { (scenario.id) } }
                    td { (chip(scenario.verdict)) }
                    td { (scenario.seeds.len()) }
                    @if let Some(all) = scenario.phases.get("all") {
                        td { (lost(all.lost, all.lost_reported, all.lost_window)) }
                        td { (percent(all.duplicate_ratio)) }
                        td { (percent(all.replay_ratio)) }
                        td { (figure(&all.latency_ms.p50)) }
                        td { (figure(&all.latency_ms.p95)) }
                        td { (figure(&all.latency_ms.p99)) }
                    }
                } } }
            } }
        }
    }
}

fn section(scenario: &Scenario, extra: &Extra) -> Markup {
    html! {
        section id=(scenario.id) {
            h2 { (chip(scenario.verdict)) " " (scenario.id) }
            @for why in &scenario.void { p .why { "Proved nothing: " (why) } }
            @if let Some(part) = &scenario.part { p .why { "Of a part: " (part) } }
            (promises_broken(scenario, extra))
            (strip(scenario))
            (processes(&scenario.processes))
            @if !scenario.not_tested.is_empty() { p { "Not tested, as this binary doesn't hold them and something stood in: " (scenario.not_tested.join(", ")) } }
            @if let Some(us) = scenario.cpu_us() { p { "The processor worked " (us) " µs an event, " @if scenario.processes.is_empty() { "the load and " } "the recording in it." } }
            @if let Some((seed, instructions)) = scenario.instructions() { p { "The processor worked " (instructions) " instructions an event (seed " (seed) ", the simulation in it)." } }
            @if !scenario.expect.is_empty() {
                h3 { "Expectations" }
                ul .plain { @for expectation in &scenario.expect { li class=(class(expectation.verdict)) { (expected(expectation)) } } }
            }
            @if let Some(timelines) = &extra.timelines {
                h3 { "Seed " (timelines.seed) " over time" }
                figure { div .scroll tabindex="0" { (PreEscaped(charts::timeline(&timelines.run, timelines.twin.as_ref()))) } figcaption .quiet {
                    (legend(timelines.twin.iter().map(|_| "without faults").chain(["this seed"])))
                    "The longest delay of the events due in each " (timelines.run.moment_ms) " ms. Bands are faults"
                    @if timelines.run.faults.is_empty() { " (none took effect)" } @else { ": " (bands(timelines)) }
                    "; a cross is a moment of which an event never came."
                } }
            }
            @if !extra.spectrum.is_empty() {
                h3 { "Delay by percentile" }
                figure { div .scroll tabindex="0" { (PreEscaped(charts::spectrum(extra.spectrum.iter().map(|(_, points)| points.clone()).collect()))) } figcaption .quiet { (legend(extra.spectrum.iter().map(|(name, _)| name.as_str()))) "Of the events that came, all seeds together." } }
            }
            h3 { "Phases" }
            @let (shown, rest) = largest(&scenario.phases);
            (phases(&shown))
            @if !rest.is_empty() {
                details { summary { (rest.len()) " smaller phases of faults that overlap" } (phases(&rest)) }
            }
            (intervals(&scenario.phases))
            (replays(&scenario.phases))
            @if !scenario.recovery.is_empty() {
                h3 { "Recovery" }
                @if scenario.recovery.iter().any(|recovery| recovery.fault.contains('+')) { p .quiet { "Faults with a + between them overlap, or the later began before all was steady again: they are measured as one." } }
                @let groups = most(&scenario.recovery);
                @let (shown, rest) = groups.split_at(groups.len().min(GROUPS_SHOWN));
                (recoveries(shown))
                @if !rest.is_empty() {
                    details { summary { (rest.len()) " more groups of faults that overlap" } (recoveries(rest)) }
                }
            }
            @for waterfall in &scenario.waterfalls { (way(waterfall)) }
            @if !scenario.assertions.is_empty() {
                @let (reached, all, never) = scenario.assertions_reached();
                details {
                    summary { "Assertions in the code: " (reached) " of " (all) " reached" }
                    @if reached > 0 { p .pass { "In so many of " (scenario.seeds.len()) " seeds: " (hits(&scenario.assertions)) } }
                    @if !never.is_empty() { p .void { "Never: " (never.join(", ")) } }
                }
            }
            @if !scenario.sometimes.is_empty() {
                h3 { "Reached" }
                ul .plain { @for some in &scenario.sometimes { li class=(if some.hits == 0 { "void" } else { "pass" }) { code { (some.that) } " in " (some.hits) " of " (scenario.seeds.len()) " seeds" @if let Some(nearest) = &some.nearest { ": " (nearest) } } } }
            }
        }
    }
}

/// The command that tells why, and what broke, seed by seed.
fn promises_broken(scenario: &Scenario, extra: &Extra) -> Markup {
    let failing: Vec<&Seed> = scenario.seeds.iter().filter(|seed| !seed.violations.is_empty()).collect();
    html! {
        @if !failing.is_empty() { h3 { "Broken promises" } }
        @if let Some(debug) = extra.timelines.as_ref().map(|timelines| &timelines.debug).filter(|debug| !debug.is_empty()) { pre tabindex="0" { (debug) } }
        @if let Some((path, faults)) = &extra.smallest { p { "The smallest plan that shows it has " (faults) @if *faults == 1 { " fault" } @else { " faults" } ": " code { (path) } ", beside this page. " code { "sim" } " and " code { "debug" } " run it with " code { "--plan" } "." } }
        @if !failing.is_empty() {
            @for seed in failing.iter().take(SEEDS_SHOWN) {
                @let shown = shown(&seed.violations, BROKEN_SHOWN);
                details open {
                    summary { "seed " (seed.seed) ": " (seed.violations.len()) " broken" }
                    ol .plain { @for broken in &shown { li { (broken.at_ms) " ms, " strong { (broken.check) } ": " (broken.message) } } }
                    @if seed.violations.len() > shown.len() { p .quiet { "and " (seed.violations.len() - shown.len()) " more, in result.json" } }
                }
            }
            @if failing.len() > SEEDS_SHOWN { p { "and " (failing.len() - SEEDS_SHOWN) " more failing seeds" } }
        }
    }
}

/// `journal.recycled 8, lane.fenced 3`.
fn hits(assertions: &[Assertion]) -> String {
    let reached = assertions.iter().filter(|assertion| assertion.hits > 0);
    reached.map(|assertion| format!("{} {}", assertion.id, assertion.hits)).collect::<Vec<_>>().join(", ")
}

fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "fail",
        Verdict::Void => "void",
        Verdict::Regressed => "worse",
    }
}

/// A cell a seed: its verdict, and its figures where it is pointed at, touched, or reached by keyboard.
fn strip(scenario: &Scenario) -> Markup {
    html! {
        ol .strip aria-label="seeds" {
            @for seed in &scenario.seeds {
                @let told = format!("seed {}: {} packets, lost {}, p99 {} ms", seed.seed, seed.packets, seed.lost, figure(&seed.p99_ms));
                li class=(class(seed.verdict)) tabindex="0" aria-label=(told) data-told=(told) { (seed.seed) }
            }
        }
    }
}

fn legend<'a>(names: impl Iterator<Item = &'a str>) -> Markup {
    html! {
        ul .legend { @for (line, name) in names.enumerate() {
            li { span style={ "color:" (charts::colour(line)) } aria-hidden="true" { "━ " } (name) }
        } }
    }
}

fn bands(timelines: &Timelines) -> String {
    let bands = timelines.run.faults.iter().take(12);
    let told: Vec<String> = bands
        .map(|band| format!("{} {:.1} to {:.1} s", band.fault, band.from_ms as f64 / 1e3, band.to_ms as f64 / 1e3))
        .collect();
    let more = timelines.run.faults.len().saturating_sub(12);
    if more > 0 { format!("{} and {more} more", told.join(", ")) } else { told.join(", ") }
}

fn short(spread: &Figure) -> String {
    match spread {
        Figure::Na { .. } => "–".to_owned(),
        other => figure(other),
    }
}

fn release(comparison: &Comparison) -> Markup {
    html! {
        section id="release" {
            h2 { (chip(comparison.verdict)) " against the baseline" }
            @for loosened in &comparison.loosened {
                p .why { "LOOSENED " (loosened.scenario) " " (loosened.what) ": " (loosened.from) " → " (loosened.to) }
            }
            div .scroll tabindex="0" { table .delta {
                thead { tr { th { "figure" } th { "base" } th { "head" } th { "by" } } }
                tbody { @for scenario in &comparison.scenarios {
                    tr { th colspan="4" {
                        (scenario.id) " " span class=(shade(scenario.word)) { (scenario.word.said()) }
                        @match &scenario.why {
                            Some(why) => { ": " (why) }
                            None if scenario.deltas.is_empty() => { ": none of " (scenario.compared) " figures differs" }
                            None => {}
                        }
                    } }
                    @for delta in scenario.deltas.iter().take(8) { tr class=(shade(delta.word)) {
                        td { (delta.what) } td { (figure(&delta.base)) } td { (figure(&delta.head)) }
                        td { @if let Some(by) = delta.by { (format!("{by:+.3}")) } }
                    } }
                } }
            } }
            @if !comparison.without_base.is_empty() { p .quiet { "Without a baseline: " (comparison.without_base.join(", ")) } }
        }
    }
}

fn shade(word: Word) -> &'static str {
    match word {
        Word::Better | Word::Equivalent => "pass",
        Word::Inconclusive | Word::NotComparable => "void",
        Word::Regressed => "fail",
    }
}

const STYLE: &str = include_str!("style.css");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{Seeds, Tolerance, compare};
    use crate::render::spelled::spelled;
    use crate::sample;
    use crate::series::{SCHEMA, Series};

    fn extras(id: &str) -> BTreeMap<String, Extra> {
        let run = sample::cut(1);
        let timelines = Timelines {
            schema: SCHEMA.into(),
            scenario: id.into(),
            seed: 1,
            debug: "seaworthy debug a<b>.toml --seed 1".into(),
            twin: Some(Series::of(&sample::run(1, |number| Some(5 + number % 7)))),
            run: Series::of(&run),
        };
        let spectrum = vec![("steady/hub.raw".into(), vec![(1.0, 5.0), (2.0, 7.0), (100.0, 12.0)])];
        let smallest = Some(("smallest.plan.json".to_owned(), 1));
        [(id.to_owned(), Extra { spectrum, timelines: Some(timelines), smallest })].into()
    }

    #[test]
    fn what_broke_stands_first_and_open() {
        let page = render(&sample::failing(), &extras("ack_before_commit"), None);
        insta::assert_snapshot!("page_failing", spelled(&page));
    }

    #[test]
    fn of_many_scenarios_those_that_fail_stand_first() {
        let mut file = sample::passing();
        file.scenarios.extend(sample::void().scenarios);
        file.scenarios.extend(sample::failing().scenarios);
        file.judge();
        let page = spelled(&render(&file, &BTreeMap::new(), None));
        let shown: Vec<&str> =
            page.lines().filter(|line| line.starts_with("# ") || line.starts_with("- ")).take(6).collect();
        insta::assert_snapshot!(shown.join("\n"), @r"
        # FAIL 3 scenarios
        - ack_before_commit: seed 5, durability: quake-602 accepted 30.112 s, hub power cut 30.114 s, never visible at hub.raw
        - too_short: proved nothing: cut took effect in no seed
        - 30114 ms, durability: quake-602 accepted 30.112 s, hub power cut 30.114 s, never visible at hub.raw
        - 62000 ms, lost: quake-602 accepted 30.112 s, never visible at hub.raw
        - 1
        ");
        let sections: Vec<&str> = page.lines().filter(|line| line.starts_with("## ")).collect();
        insta::assert_snapshot!(sections.join("\n"), @r"
        ## FAIL ack_before_commit
        ## VOID too_short
        ## PASS uplink_cut
        ");
    }

    #[test]
    fn a_page_does_not_say_pass_of_what_the_gate_objects_to() {
        let page = render(&sample::objecting(), &extras("uplink_cut"), None);
        assert!(page.contains("compare: uplink_cut latency.p99 @steady 5 → 11") && page.contains("LOOSENED scenario"));
        assert!(page.contains(">WORSE</span>") && page.contains(">FAIL</span>") && !page.contains(">PASS</span>"));
    }

    #[test]
    fn a_page_says_everything_and_needs_nothing() {
        let comparison = compare(&sample::passing(), &sample::failing(), &Tolerance::default(), Seeds::Pinned);
        let extras = extras("ack_before_commit");
        let page = render(&sample::failing(), &extras, Some(&comparison));
        for part in [
            "FAIL",
            "seed 5",
            "against the baseline",
            "Phases",
            "recovery",
            "a&lt;b&gt;.toml",
            "Delay by percentile",
            "prefers-color-scheme",
        ] {
            assert!(page.contains(part), "{part}");
        }
        for foreign in ["<script", "http://", "https://", "@import", "url("] {
            let outside = page.matches(foreign).count()
                - page.matches("http://www.w3.org/2000/svg").count() * usize::from(foreign == "http://");
            assert_eq!(outside, 0, "{foreign}");
        }
        assert!(page.matches("<svg").count() == 2 && page.len() < 21_000, "{}", page.len());
        assert_eq!(page, render(&sample::failing(), &extras, Some(&comparison)));
    }
}
