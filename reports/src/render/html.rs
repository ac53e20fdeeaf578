//! `report.html`: one file without network or scripts, for a phone, in the dark, and by keyboard.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::charts;
use super::text::{expected, figure, loud, percent};
use super::{GROUPS_SHOWN, most};
use crate::compare::{Comparison, Word};
use crate::result::{Figure, Phase, Recovery, ResultFile, Scenario, Time, Verdict, Waterfall};
use crate::series::Timelines;

/// What is known of a scenario beside its result.
#[derive(Clone, Debug, Default)]
pub struct Extra {
    /// Points of a percentile spectrum, a line a phase and sink.
    pub spectrum: Vec<(String, Vec<(f64, f64)>)>,
    /// One seed over time.
    pub timelines: Option<Timelines>,
    /// The line that runs the scenario again.
    pub again: String,
}

/// The page. `extra` is asked for what is known of a scenario beside its result.
#[must_use]
pub fn render(file: &ResultFile, extra: &dyn Fn(&str) -> Extra, comparison: Option<&Comparison>) -> String {
    let title = match &file.scenarios[..] {
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
                @if file.scenarios.len() > 1 { (overview(file)) }
                @if let Some(comparison) = comparison { (release(comparison)) }
                main { @for scenario in &file.scenarios { (section(scenario, &extra(&scenario.id))) } }
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

fn phases(phases: &[(&String, &Phase)]) -> Markup {
    html! {
        div .scroll tabindex="0" { table {
            thead { tr { th { "phase" } th .n { "offered" } th .n { "accepted" } th .n { "visible" } th .n { "lost" } th .n { "unresolved" } th .n { "dead" } th .n { "shed" } th .n { "duplicate" } th .n { "replay" } th .n { "p50" } th .n { "p95" } th .n { "p99" } th .n { "p99.9" } th .n { "max ms" } } }
            tbody { @for (name, phase) in phases { (row(name, phase)) } }
        } }
    }
}

fn recoveries(groups: &[&Recovery]) -> Markup {
    html! {
        div .scroll tabindex="0" { table {
            thead { tr { th { "fault" } th .n { "n" } th .n { "first output p95" } th .n { "steady p50" } th .n { "steady p95" } th .n { "drained p95 ms" } th .n { "deficit p95 event s" } } }
            tbody { @for recovery in groups { tr {
                td { (recovery.fault) } td .n { (recovery.n) }
                @for spread in [&recovery.first_output_from_heal_ms.p95, &recovery.steady_from_heal_ms.p50, &recovery.steady_from_heal_ms.p95, &recovery.drained_from_heal_ms.p95, &recovery.deficit.p95] {
                    td .n { (short(spread)) }
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

/// Where the time went on the way to a sink: a bar a stage.
fn way(waterfall: &Waterfall) -> Markup {
    let total: f64 = waterfall.stages.iter().map(|stage| stage.mean_ms.0).sum();
    html! {
        h3 { "Where the time goes, to " code { (waterfall.sink) } }
        p .quiet { "mean of " (waterfall.events) " events, " (format!("{total:.2}")) " ms from due to visible" }
        div .scroll { table .way {
            tbody { @for stage in &waterfall.stages { tr {
                td { (stage.stage) }
                td .n { (format!("{:.2}", stage.mean_ms.0)) " ms" }
                td .bar { span style=(format!("width:{:.1}%", 100.0 * stage.mean_ms.0 / total.max(f64::MIN_POSITIVE))) {} }
            } } }
        } }
    }
}

fn chip(verdict: Verdict) -> Markup {
    html! { span class={ "chip " (class(verdict)) } { (loud(verdict)) } }
}

fn overview(file: &ResultFile) -> Markup {
    html! {
        nav aria-label="scenarios" {
            div .scroll { table {
                thead { tr { th { "scenario" } th { "verdict" } th .n { "seeds" } th .n { "lost" } th .n { "duplicate" } th .n { "replay" } th .n { "p50 ms" } th .n { "p95 ms" } th .n { "p99 ms" } } }
                tbody { @for scenario in &file.scenarios { tr {
                    td { a href={ "#" (scenario.id) } { (scenario.id) } }
                    td { (chip(scenario.verdict)) }
                    td .n { (scenario.seeds.len()) }
                    @if let Some(all) = scenario.phases.get("all") {
                        td .n { (lost(all.lost, all.lost_reported, all.lost_window)) }
                        td .n { (percent(all.duplicate_ratio)) }
                        td .n { (percent(all.replay_ratio)) }
                        td .n { (figure(&all.latency_ms.p50)) }
                        td .n { (figure(&all.latency_ms.p95)) }
                        td .n { (figure(&all.latency_ms.p99)) }
                    }
                } } }
            } }
        }
    }
}

fn section(scenario: &Scenario, extra: &Extra) -> Markup {
    let failing = scenario.seeds.iter().filter(|seed| !seed.violations.is_empty());
    html! {
        section id=(scenario.id) {
            h2 { (chip(scenario.verdict)) " " (scenario.id) }
            @for why in &scenario.void { p .why { "Proved nothing: " (why) } }
            (strip(scenario))
            @if !scenario.not_tested.is_empty() { p { "Not tested, as this binary doesn't hold them and something stood in: " (scenario.not_tested.join(", ")) } }
            @if let Some(us) = scenario.cpu_us() { p { "The processor worked " (us) " µs an event, the load and the recording in it." } }
            @if let Some((seed, instructions)) = scenario.instructions() { p { "The processor worked " (instructions) " instructions an event (seed " (seed) ", the simulation in it)." } }
            @if !scenario.expect.is_empty() {
                h3 { "Expectations" }
                ul .plain { @for expectation in &scenario.expect { li class=(class(expectation.verdict)) { (expected(expectation)) } } }
            }
            @if scenario.seeds.iter().any(|seed| !seed.violations.is_empty()) {
                h3 { "Broken promises" }
                @for seed in failing.take(5) {
                    details open[seed.violations.len() < 10] {
                        summary { "seed " (seed.seed) ": " (seed.violations.len()) " broken" }
                        ol .plain { @for broken in seed.violations.iter().take(20) { li { (broken.at_ms) " ms, " strong { (broken.check) } ": " (broken.message) } } }
                    }
                }
                @if !extra.again.is_empty() { pre tabindex="0" { (extra.again) } }
            }
            @if let Some(timelines) = &extra.timelines {
                h3 { "Seed " (timelines.seed) " over time" }
                figure { (PreEscaped(charts::timeline(&timelines.run, timelines.twin.as_ref()))) figcaption .quiet {
                    (legend(timelines.twin.iter().map(|_| "without faults").chain(["this seed"])))
                    "The longest delay of the events due in each " (timelines.run.moment_ms) " ms. Bands are faults"
                    @if timelines.run.faults.is_empty() { " (none took effect)" } @else { ": " (bands(timelines)) }
                    "; a cross is a moment of which an event never came."
                } }
            }
            @if !extra.spectrum.is_empty() {
                h3 { "Delay by percentile" }
                figure { (PreEscaped(charts::spectrum(extra.spectrum.iter().map(|(_, points)| points.clone()).collect()))) figcaption .quiet { (legend(extra.spectrum.iter().map(|(name, _)| name.as_str()))) "Of the events that came, all seeds together." } }
            }
            h3 { "Phases" }
            @let (shown, rest) = largest(&scenario.phases);
            (phases(&shown))
            @if !rest.is_empty() {
                details { summary { (rest.len()) " smaller phases of faults that overlap" } (phases(&rest)) }
            }
            @if !scenario.recovery.is_empty() {
                h3 { "Recovery from the heal" }
                @let groups = most(&scenario.recovery);
                @let (shown, rest) = groups.split_at(groups.len().min(GROUPS_SHOWN));
                (recoveries(shown))
                @if !rest.is_empty() {
                    details { summary { (rest.len()) " more groups of faults that overlap" } (recoveries(rest)) }
                }
            }
            @for waterfall in &scenario.waterfalls { (way(waterfall)) }
            @if !scenario.assertions.is_empty() {
                @let (reached, all, _) = scenario.assertions_reached();
                details {
                    summary { "Assertions in the code: " (reached) " of " (all) " reached" }
                    ul .plain { @for it in &scenario.assertions { li class=(if it.hits == 0 { "void" } else { "pass" }) { code { (it.id) } " in " (it.hits) " of " (scenario.seeds.len()) " seeds" } } }
                }
            }
            @if !scenario.sometimes.is_empty() {
                h3 { "Reached" }
                ul .plain { @for some in &scenario.sometimes { li class=(if some.hits == 0 { "void" } else { "pass" }) { code { (some.that) } " in " (some.hits) " of " (scenario.seeds.len()) " seeds" } } }
            }
        }
    }
}

fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "fail",
        Verdict::Void => "void",
        Verdict::Regressed => "worse",
    }
}

/// A cell a seed: its verdict, and its p99 when it is looked at.
fn strip(scenario: &Scenario) -> Markup {
    html! {
        ol .strip aria-label="seeds" {
            @for seed in &scenario.seeds {
                @let told = format!("seed {}: {} packets, lost {}, p99 {} ms", seed.seed, seed.packets, seed.lost, figure(&seed.p99_ms));
                li class=(class(seed.verdict)) tabindex="0" title=(told) aria-label=(told) { (seed.seed) }
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

fn row(name: &str, phase: &Phase) -> Markup {
    let lost = lost(phase.lost, phase.lost_reported, phase.lost_window);
    html! { tr {
        td { (name) }
        td .n { (phase.offered) } td .n { (phase.accepted) } td .n { (phase.visible) }
        td.n.fail[phase.lost + phase.lost_reported > 0] { (lost) } td.n.fail[phase.unresolved > 0] { (phase.unresolved) }
        td .n { (phase.dead_lettered) } td .n { (phase.shed) }
        td .n { (percent(phase.duplicate_ratio)) } td .n { (percent(phase.replay_ratio)) }
        @for latency in [&phase.latency_ms.p50, &phase.latency_ms.p95, &phase.latency_ms.p99, &phase.latency_ms.p99_9, &phase.latency_ms.max] {
            td .n { (short(latency)) }
        }
    } }
}

fn release(comparison: &Comparison) -> Markup {
    html! {
        section id="release" {
            h2 { (chip(comparison.verdict)) " against the baseline" }
            @for loosened in &comparison.loosened {
                p .why { "LOOSENED " (loosened.scenario) " " (loosened.what) ": " (loosened.from) " → " (loosened.to) }
            }
            div .scroll tabindex="0" { table {
                thead { tr { th { "scenario" } th { "word" } th { "figure" } th .n { "base" } th .n { "head" } th .n { "by" } } }
                tbody { @for scenario in &comparison.scenarios {
                    @if scenario.deltas.is_empty() {
                        tr { td { (scenario.id) } td class=(shade(scenario.word)) { (scenario.word.said()) } td colspan="4" .quiet { @match &scenario.why { Some(why) => (why), None => { "none of " (scenario.compared) " figures differs" } } } }
                    }
                    @for delta in scenario.deltas.iter().take(8) { tr {
                        td { (scenario.id) } td class=(shade(delta.word)) { (delta.word.said()) } td { (delta.what) }
                        td .n { (figure(&delta.base)) } td .n { (figure(&delta.head)) }
                        td .n { @if let Some(by) = delta.by { (format!("{by:+.3}")) } }
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

const STYLE: &str = "
:root{--ground:#fff;--ink:#1b1f24;--quiet:#5d6672;--line:#d8dde3;--pass:#1a7f4b;--fail:#b3261e;--void:#8a5a00;--worse:#8a3ffc}
@media(prefers-color-scheme:dark){:root{--ground:#14171b;--ink:#e6e9ed;--quiet:#9aa4b0;--line:#323a44;--pass:#4cc38a;--fail:#ff8078;--void:#e0a93b;--worse:#b794ff}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1rem;max-width:72rem;background:var(--ground);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.5rem;margin:.2rem 0}h2{font-size:1.25rem;margin:2.2rem 0 .6rem;border-top:1px solid var(--line);padding-top:1.2rem}h3{font-size:1rem;margin:1.2rem 0 .3rem}
.quiet{color:var(--quiet);font-size:.875rem}
.chip{display:inline-block;padding:0 .5em;border:2px solid currentColor;border-radius:.3em;font-size:.8em;font-weight:700}
.way .bar{width:50%}.way .bar span{display:block;height:.8em;background:var(--worse)}
.pass{color:var(--pass)}.fail{color:var(--fail)}.void{color:var(--void)}.worse{color:var(--worse)}
.why{color:var(--void);font-weight:600}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:.875rem;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .6rem;border-bottom:1px solid var(--line);text-align:left;white-space:nowrap}
.n{text-align:right}
.strip{display:flex;flex-wrap:wrap;gap:3px;list-style:none;padding:0;margin:.4rem 0}
.strip li{min-width:2rem;padding:.1rem .3rem;border:2px solid currentColor;border-radius:.25rem;text-align:center;font-size:.75rem;font-weight:600}
.strip li.fail{background:var(--fail);color:var(--ground);border-color:var(--fail)}
.legend{display:flex;flex-wrap:wrap;gap:1rem;list-style:none;padding:0;margin:0}
.plain{margin:.2rem 0;padding-left:1.2rem}
figure{margin:.4rem 0}svg{width:100%;height:auto;display:block}
pre{overflow-x:auto;padding:.6rem;border:1px solid var(--line);border-radius:.3rem}
:focus-visible{outline:3px solid #2f81f7;outline-offset:2px}
a{color:inherit}
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{Seeds, Tolerance, compare};
    use crate::sample;
    use crate::series::{SCHEMA, Series};

    fn extra(_: &str) -> Extra {
        let run = sample::cut(1);
        let timelines = Timelines {
            schema: SCHEMA.into(),
            scenario: "uplink_cut".into(),
            seed: 1,
            twin: Some(Series::of(&sample::run(1, |number| Some(5 + number % 7)))),
            run: Series::of(&run),
        };
        Extra {
            spectrum: vec![("steady/hub.raw".into(), vec![(1.0, 5.0), (2.0, 7.0), (100.0, 12.0)])],
            timelines: Some(timelines),
            again: "seaworthy sim a<b>.toml".into(),
        }
    }

    #[test]
    fn a_page_does_not_say_pass_of_what_the_gate_objects_to() {
        let page = render(&sample::objecting(), &extra, None);
        assert!(page.contains("compare: uplink_cut latency.p99 @steady 5 → 11") && page.contains("LOOSENED scenario"));
        assert!(page.contains(">WORSE</span>") && page.contains(">FAIL</span>") && !page.contains(">PASS</span>"));
    }

    #[test]
    fn a_page_says_everything_and_needs_nothing() {
        let comparison = compare(&sample::passing(), &sample::failing(), &Tolerance::default(), Seeds::Pinned);
        let page = render(&sample::failing(), &extra, Some(&comparison));
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
        assert!(page.matches("<svg").count() == 2 && page.len() < 400_000, "{}", page.len());
        assert_eq!(page, render(&sample::failing(), &extra, Some(&comparison)));
    }
}
