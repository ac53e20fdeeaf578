//! The terminal block of a scenario: its verdict, a line of figures, each expectation with its margin, and for a failure
//! what broke, in which seed, and the line to paste.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{GROUPS_SHOWN, most};
use crate::result::{Expectation, Figure, Recovery, ResultFile, Scenario, Time, Verdict, Violation};
use crate::slo::limit_parts;

/// Violations of one seed that are printed; the rest is counted.
const SHOWN_VIOLATIONS: usize = 5;
/// Failing seeds that are printed; the rest is counted.
const SHOWN_SEEDS: usize = 3;

/// What the block says beyond the result.
#[derive(Clone, Debug)]
pub struct Heading<'a> {
    /// The scenario's file, as the user wrote it.
    pub path: &'a str,
    /// The plan that ran in place of a seed's own, if one did.
    pub plan: Option<&'a str>,
    /// How long the load lasts, ms.
    pub duration_ms: u64,
    /// True prints each objective with its margin, false only those that don't pass.
    pub all_expectations: bool,
}

/// The block of one scenario of `file`, ending in a newline.
#[must_use]
pub fn scenario(file: &ResultFile, scenario: &Scenario, heading: &Heading<'_>) -> String {
    let mut text = String::new();
    headline(&mut text, file.time, scenario, heading);
    figures(&mut text, file, scenario);
    for why in &scenario.void {
        line(&mut text, &format!("  proved nothing: {why}"));
    }
    if let Some(part) = &scenario.part {
        line(&mut text, &format!("  of a part: {part}"));
    }
    violations(&mut text, scenario);
    for expectation in &scenario.expect {
        if heading.all_expectations || expectation.verdict != Verdict::Pass {
            line(&mut text, &format!("  {}", expected(expectation)));
        }
    }
    if !scenario.not_tested.is_empty() {
        line(&mut text, &format!("  not tested: {} (a stand-in)", scenario.not_tested.join(", ")));
    }
    let (reached, all, _) = scenario.assertions_reached();
    if all > 0 {
        line(&mut text, &format!("  assertions in the code: {reached} of {all} reached"));
    }
    for sometimes in scenario.sometimes.iter().filter(|sometimes| sometimes.hits == 0) {
        line(&mut text, &format!("  not reached: {}", sometimes.told()));
    }
    if scenario.verdict == Verdict::Fail && file.time == Time::Virtual {
        again(&mut text, scenario, heading);
    }
    text
}

fn line(text: &mut String, line: &str) {
    text.push_str(line.trim_end());
    text.push('\n');
}

/// A verdict as headlines have it.
pub(crate) fn loud(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "PASS",
        Verdict::Fail => "FAIL",
        Verdict::Void => "VOID",
        Verdict::Regressed => "WORSE",
    }
}

fn headline(text: &mut String, time: Time, scenario: &Scenario, heading: &Heading<'_>) {
    let verdict = loud(scenario.verdict);
    let runs = match time {
        Time::Virtual => "seed",
        Time::Wall => "round",
    };
    let seeds = match scenario.seeds.len() {
        1 => format!("1 {runs}"),
        n => format!("{n} {runs}s"),
    };
    let duration = seconds(heading.duration_ms as f64 / 1000.0);
    let mut head = format!("{verdict} {}  {seeds} x {duration} s", scenario.id);
    if let Some(all) = scenario.phases.get("all") {
        let duplicates = percent(all.duplicate_ratio);
        write!(head, "   lost {}  dup {duplicates}  replay {}", all.lost, percent(all.replay_ratio))
            .expect("a String takes all");
        let others = [
            ("lost.reported", all.lost_reported),
            ("lost.window", all.lost_window),
            ("unexpected", all.unexpected),
            ("unresolved", all.unresolved),
            ("rejected", all.rejected),
            ("dead-lettered", all.dead_lettered),
            ("shed", all.shed),
            ("expired", all.expired),
        ];
        for (word, count) in others.iter().filter(|(_, count)| *count > 0) {
            write!(head, "  {word} {count}").expect("a String takes all");
        }
        if all.drop_ratio > 0.0 {
            write!(
                head,
                "  drop {} (lost {}, shed {}, expired {})",
                percent(all.drop_ratio),
                all.lost_all(),
                all.shed,
                all.expired
            )
            .expect("a String takes all");
        }
    }
    if let Some(least) = least_margin(scenario).filter(|_| !heading.all_expectations) {
        write!(head, "   least margin {least}").expect("a String takes all");
    }
    line(text, &head);
}

/// The objective that came nearest to its limit: `31 % of recovery(cut).steady p95`.
fn least_margin(scenario: &Scenario) -> Option<String> {
    let passed = scenario.expect.iter().filter(|expectation| expectation.verdict == Verdict::Pass);
    let margins = passed.filter_map(|Expectation { what, limit, got, .. }| Some((margin(got, limit)?, what)));
    let (percent, what) = margins.min_by(|(a, _), (b, _)| a.total_cmp(b))?;
    Some(format!("{percent} % of {what}"))
}

fn figures(text: &mut String, file: &ResultFile, scenario: &Scenario) {
    let Some(all) = scenario.phases.get("all") else { return };
    let clock = match file.time {
        Time::Virtual => format!("virtual, {} ms floor", file.resolution_ms),
        Time::Wall => "wall".to_owned(),
    };
    let latency = &all.latency_ms;
    let mut figures = format!(
        "  p50 {}  p95 {}  p99 {} ms ({clock})",
        figure(&latency.p50),
        figure(&latency.p95),
        figure(&latency.p99)
    );
    if let Some(replayed) = &all.replay_delay_ms {
        let (p50, max) = (figure(&replayed.p50), figure(&replayed.max));
        write!(figures, "   replay.delay p50 {p50}  max {max} ms").expect("a String takes all");
    }
    // Faults that overlap in any way that seeds come up with make many groups: those with a figure that came most are shown.
    let few = scenario.recovery.len() <= GROUPS_SHOWN;
    let told = |recovery: &&Recovery| few || !matches!(recovery.steady_from_heal_ms.p95, Figure::Na { .. });
    let mut recovery = most(&scenario.recovery);
    recovery.retain(told);
    recovery.truncate(GROUPS_SHOWN);
    let more = scenario.recovery.len() - recovery.len();
    for recovery in recovery {
        let of = if scenario.recovery.len() == 1 { String::new() } else { format!("({})", recovery.fault) };
        let told = |p95: &Figure| match p95 {
            Figure::V { v } => format!("{} s", seconds(v.0 / 1000.0)),
            Figure::Ge { ge } => format!(">= {} s", seconds(ge.0 / 1000.0)),
            Figure::Never { .. } => "never".to_owned(),
            Figure::Na { .. } => "n/a".to_owned(),
        };
        write!(figures, "   recovery{of} p95 {}", told(&recovery.steady_from_heal_ms.p95)).expect("a String takes all");
        let from_start = recovery.steady_from_start_ms.as_ref().map(|steady| &steady.p95);
        if let Some(p95 @ (Figure::V { .. } | Figure::Ge { .. })) = from_start {
            write!(figures, " ({} from the start)", told(p95)).expect("a String takes all");
        }
    }
    if more > 0 {
        write!(figures, "   recovery of {more} groups of faults that overlap: in the report")
            .expect("a String takes all");
    }
    line(text, &figures);
    if let Some((seed, instructions)) = scenario.instructions() {
        line(text, &format!("  cpu {instructions} instructions an event (seed {seed}, the simulation in it)"));
    }
    if file.time == Time::Wall {
        rounds(text, scenario);
    }
}

/// How far the rounds lie apart, and what the processor had to do.
fn rounds(text: &mut String, scenario: &Scenario) {
    let mut p99: Vec<f64> = scenario
        .seeds
        .iter()
        .filter_map(|round| if let Figure::V { v } = round.p99_ms { Some(v.0) } else { None })
        .collect();
    p99.sort_by(f64::total_cmp);
    let mut said = match &p99[..] {
        [] => "  rounds too short for a p99".to_owned(),
        [first, .., last] => format!("  p99 of a round {first} to {last} ms"),
        [only] => format!("  p99 of the round {only} ms"),
    };
    if let Some(us) = scenario.cpu_us() {
        // A run with its own sources and sinks has no load of ours.
        let of_ours = if scenario.processes.is_empty() { "the load and the recording" } else { "the recording" };
        write!(said, "   cpu {us} us an event, {of_ours} in it").expect("a String takes all");
    }
    line(text, &said);
}

/// `pass  latency.p99 @steady <= 400ms   got 212 ms   margin 47 %`.
pub(crate) fn expected(expectation: &Expectation) -> String {
    let Expectation { what, limit, got, verdict, line } = expectation;
    let word = match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "FAIL",
        Verdict::Void => "void",
        Verdict::Regressed => "worse",
    };
    let mut out = format!("{word}  {what} {limit}   got {}", with_unit(got, limit));
    if let Some(margin) = margin(got, limit) {
        write!(out, "   margin {margin} %").expect("a String takes all");
    }
    if *verdict != Verdict::Pass && *line > 0 {
        write!(out, "   (line {line})").expect("a String takes all");
    }
    out
}

fn with_unit(got: &Figure, limit: &str) -> String {
    let unit = limit_parts(limit).map_or("", |(_, _, unit)| unit);
    let show = |v: f64| match unit {
        "%" => percent(v),
        "" => format!("{v}"),
        "ms" if v >= 1000.0 => format!("{} s", v / 1000.0),
        "ms" => format!("{v} ms"),
        other => format!("{v}{other}"),
    };
    match got {
        Figure::V { v } => show(v.0),
        Figure::Ge { ge } => format!(">= {}", show(ge.0)),
        Figure::Never { .. } => "never".to_owned(),
        Figure::Na { na } => format!("n/a ({na})"),
    }
}

/// How much of an upper limit is left, in whole percent of it.
fn margin(got: &Figure, limit: &str) -> Option<f64> {
    let (op, value, _) = limit_parts(limit)?;
    let Figure::V { v } = got else { return None };
    (op.starts_with('<') && value > 0.0).then(|| ((1.0 - v.0 / value) * 100.0).floor())
}

fn violations(text: &mut String, scenario: &Scenario) {
    let failing: Vec<_> = scenario.seeds.iter().filter(|seed| !seed.violations.is_empty()).collect();
    for seed in failing.iter().take(SHOWN_SEEDS) {
        let shown = shown(&seed.violations, SHOWN_VIOLATIONS);
        for Violation { check, message, .. } in &shown {
            line(text, &format!("  {check} (seed {}): {message}", seed.seed));
        }
        if seed.violations.len() > shown.len() {
            line(text, &format!("  and {} more in seed {}", seed.violations.len() - shown.len(), seed.seed));
        }
    }
    if failing.len() > SHOWN_SEEDS {
        let rest: Vec<String> = failing[SHOWN_SEEDS..].iter().take(20).map(|seed| seed.seed.to_string()).collect();
        line(text, &format!("  and {} more failing seeds: {}", failing.len() - SHOWN_SEEDS, rest.join(" ")));
    }
}

/// The first few, in order of time, and in any case the first of each check.
pub(super) fn shown(violations: &[Violation], few: usize) -> Vec<&Violation> {
    let mut named: BTreeSet<&str> = BTreeSet::new();
    let firsts = violations.iter().map(|violation| named.insert(&violation.check)).collect::<Vec<_>>();
    let picked = violations.iter().zip(firsts).enumerate().filter(|(at, (_, first))| *first || *at < few);
    picked.map(|(_, (violation, _))| violation).collect()
}

/// The line that shows the failure again, with its first failing seed.
fn again(text: &mut String, scenario: &Scenario, heading: &Heading<'_>) {
    if let Some(plan) = heading.plan {
        line(text, &format!("  again: seaworthy sim {} --plan {plan}", heading.path));
        return;
    }
    let mut seeds = scenario.seeds.iter();
    let failing = seeds.clone().find(|seed| !seed.violations.is_empty()).or_else(|| {
        // An objective fails over the pool, and no seed broke a promise: one with a loss shows that, others need all seeds.
        let lost = scenario.expect.iter().any(|found| found.verdict == Verdict::Fail && found.what == "lost");
        seeds.find(|seed| lost && seed.lost > 0)
    });
    let seed = failing.map_or(String::new(), |seed| format!(" --seed {}", seed.seed));
    line(text, &format!("  again: seaworthy sim {}{seed}", heading.path));
}

/// A figure without its unit: `212`, `>= 60000`, `never`, `n/a`. Three decimals at most, and six below a tenth, as ratios have.
#[must_use]
pub fn figure(figure: &Figure) -> String {
    match figure {
        Figure::V { v } => format!("{}", rounded(v.0)),
        Figure::Ge { ge } => format!(">= {}", rounded(ge.0)),
        Figure::Never { .. } => "never".to_owned(),
        Figure::Na { .. } => "n/a".to_owned(),
    }
}

fn rounded(v: f64) -> f64 {
    if v.abs() < 0.1 { (v * 1e6).round() / 1e6 } else { (v * 1e3).round() / 1e3 }
}

/// One decimal, none when it is whole.
fn seconds(s: f64) -> String {
    let tenths = (s * 10.0).round() / 10.0;
    format!("{tenths}")
}

/// `0`, `1.8 %`, and `< 0.01 %` for what rounding would hide.
pub(crate) fn percent(ratio: f64) -> String {
    let hundredths = (ratio * 10_000.0).round() / 100.0;
    match ratio {
        0.0 => "0".to_owned(),
        _ if hundredths == 0.0 => "< 0.01 %".to_owned(),
        _ => format!("{hundredths} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn block(file: &ResultFile) -> String {
        let path = format!("scenarios/{}.toml", file.scenarios[0].id);
        let heading = Heading { path: &path, plan: None, duration_ms: 60_000, all_expectations: true };
        scenario(file, &file.scenarios[0], &heading)
    }

    #[test]
    fn a_pass_is_two_lines_its_expectations_and_what_was_not_reached() {
        insta::assert_snapshot!(block(&sample::passing()), @r"
        PASS uplink_cut  8 seeds x 60 s   lost 0  dup 0  replay 1.67 %
          p50 9  p95 5260  p99 7460 ms (virtual, 1 ms floor)   replay.delay p50 8  max 7009 ms   recovery p95 4.1 s (12.1 s from the start)
          pass  lost == 0   got 0
          pass  duplicate.ratio <= 0.5%   got 0   margin 100 %
          pass  latency.p99 @steady <= 400ms   got 11 ms   margin 97 %
          pass  recovery(cut).steady p95 <= 6s   got 4.1 s   margin 31 %
          assertions in the code: 2 of 3 reached
          not reached: at(cut).backlog > 9000 (in seed 1 at(cut).backlog was 0 to 112)
        ");
    }

    #[test]
    fn a_pass_of_many_says_what_came_nearest_to_its_limit() {
        let file = sample::passing();
        let heading = Heading { path: "a.toml", plan: None, duration_ms: 60_000, all_expectations: false };
        let block = scenario(&file, &file.scenarios[0], &heading);
        let first = block.lines().next().unwrap();
        assert!(first.ends_with("replay 1.67 %   least margin 31 % of recovery(cut).steady p95"), "{first}");
    }

    #[test]
    fn what_was_not_tested_is_said() {
        let mut file = sample::passing();
        file.scenarios[0].not_tested = vec!["edge.camera".into(), "edge.detect".into()];
        assert!(block(&file).contains("\n  not tested: edge.camera, edge.detect (a stand-in)\n"), "{}", block(&file));
    }

    #[test]
    fn a_failure_names_what_broke_where_and_how_to_see_it_again() {
        insta::assert_snapshot!(block(&sample::failing()), @r"
        FAIL ack_before_commit  2 seeds x 60 s   lost 1  dup 0  replay 1.67 %  drop 0.04 % (lost 1, shed 0, expired 0)
          p50 7  p95 2560  p99 6960 ms (virtual, 1 ms floor)   replay.delay p50 6  max 7009 ms   recovery p95 0.6 s (8.6 s from the start)
          durability (seed 5): quake-602 accepted 30.112 s, hub power cut 30.114 s, never visible at hub.raw
          lost (seed 5): quake-602 accepted 30.112 s, never visible at hub.raw
          FAIL  lost == 0   got 1
          pass  duplicate.ratio <= 0.5%   got 0   margin 100 %
          pass  latency.p99 @steady <= 400ms   got 11 ms   margin 97 %
          pass  recovery(cut).steady p95 <= 6s   got 600 ms   margin 90 %
          assertions in the code: 1 of 3 reached
          not reached: at(cut).backlog > 200 (in seed 1 at(cut).backlog was 0 to 112)
          not reached: at(cut).backlog > 9000 (in seed 1 at(cut).backlog was 0 to 112)
          again: seaworthy sim scenarios/ack_before_commit.toml --seed 5
        ");
    }

    #[test]
    fn a_void_says_why_it_proved_nothing() {
        insta::assert_snapshot!(block(&sample::void()), @r"
        VOID too_short  1 seed x 60 s   lost 0  dup 0  replay 1.67 %
          p50 7  p95 n/a  p99 n/a ms (virtual, 1 ms floor)   replay.delay p50 6  max 6 ms
          proved nothing: cut took effect in no seed
          proved nothing: latency.p99 @steady can't be told: n < 299
          proved nothing: recovery(cut).steady p95 can't be told: n < 1
          pass  lost == 0   got 0
          pass  duplicate.ratio <= 0.5%   got 0   margin 100 %
          void  latency.p99 @steady <= 400ms   got n/a (n < 299)   (line 13)
          void  recovery(cut).steady p95 <= 6s   got n/a (n < 1)   (line 14)
          assertions in the code: 1 of 3 reached
          not reached: at(cut).backlog > 200 (in seed 1 at(cut).backlog was 0 to 112)
          not reached: at(cut).backlog > 9000 (in seed 1 at(cut).backlog was 0 to 112)
        ");
    }

    #[test]
    fn rounding_hides_no_duplicate() {
        assert_eq!(figure(&Figure::v(0.301_884_692_729_253)), "0.302");
        assert_eq!(figure(&Figure::v(0.000_012)), "0.000012");
        assert_eq!(percent(0.0), "0");
        assert_eq!(percent(0.000001), "< 0.01 %");
        assert_eq!(percent(0.018), "1.8 %");
    }
}
