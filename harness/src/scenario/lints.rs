//! Lints: what a scenario may say, and what will probably disappoint whoever wrote it. None of them stops a run.

use std::ops::Range;

use miette::{Diagnostic, LabeledSpan, NamedSource, Severity, SourceCode};

use super::expect::Metric;
use super::model::{Effect, Fault, Scenario, Schedule};
use super::sources::Sources;
use super::value::show_duration;
use crate::plan::{Action, Ns};

/// A set of seeds in which a fault never begins so often is worth a word.
const NEVER: f64 = 0.1;

/// A note on a scenario, with its line.
#[derive(Debug, Clone)]
pub struct Lint {
    code: &'static str,
    message: String,
    help: String,
    source: NamedSource<String>,
    at: Range<usize>,
}

impl std::fmt::Display for Lint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Lint {}

impl Diagnostic for Lint {
    fn code<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        Some(Box::new(self.code))
    }

    fn severity(&self) -> Option<Severity> {
        Some(Severity::Warning)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        Some(Box::new(&self.help))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(std::iter::once(LabeledSpan::new_with_span(None, self.at.clone()))))
    }
}

/// All notes on a checked scenario, in order of its lines. `arrivals` are those of one seed, in order, virtual ns.
#[must_use]
pub fn lints(sources: &Sources, scenario: &Scenario, arrivals: &[Ns]) -> Vec<Lint> {
    let mut found: Vec<(u32, &'static str, String, String)> = Vec::new();
    let seeds = scenario.seeds.pr.iter().count() as u64;
    for objective in &scenario.expect {
        let Metric::Latency { stat, .. } = &objective.what else { continue };
        let warm = arrivals.iter().filter(|at_ns| **at_ns >= scenario.sim.warmup_ns).count() as u64;
        let (events, needs) = (warm * seeds, stat.percentile().needs());
        if events < needs {
            found.push((
                objective.line,
                "lint::thin_percentile",
                format!("{} needs {needs} events, and {seeds} seeds offer {events} behind the warm-up", objective.text),
                "raise the load, let it last longer, run more seeds, or ask for a lower percentile".to_owned(),
            ));
        }
    }
    let last_ns = arrivals.last().copied().unwrap_or(0);
    for fault in &scenario.faults {
        let mut tell = |code, message: String, help: &str| found.push((fault.line, code, message, help.to_owned()));
        let never = (1.0 - fault.chance).powf(seeds as f64);
        if never > NEVER {
            tell(
                "lint::seldom",
                format!("`{}` begins in none of {seeds} seeds with a probability of {:.0} %", fault.id, never * 100.0),
                "raise `chance`, or run more seeds: a fault that never begins proves nothing",
            );
        }
        let Some((first_ns, _)) = window(fault) else { continue };
        if first_ns > last_ns {
            tell(
                "lint::quiet",
                format!("`{}` begins when the last event has come, at {}", fault.id, show_duration(last_ns)),
                "let the load last (`repeat = true` for rows), or begin earlier",
            );
        }
        // A disk that would tear at a power cut slows nothing before it.
        let is_felt = !matches!(fault.effect, Effect::Act(Action::DiskTorn { .. }));
        if first_ns < scenario.sim.warmup_ns && is_felt {
            tell(
                "lint::no_baseline",
                format!("`{}` may begin in the warm-up, so its recovery has nothing to be compared with", fault.id),
                "begin it behind the warm-up, or make the warm-up shorter",
            );
        }
    }
    found.extend(pairs(&scenario.faults));
    found.sort_by_key(|(line, ..)| *line);
    let lint = |(line, code, message, help)| Lint {
        code,
        message,
        help,
        source: NamedSource::new(sources.path(), sources.own_text().to_owned()),
        at: span_of_line(sources.own_text(), line),
    };
    found.into_iter().map(lint).collect()
}

/// From when to when a fault may be there; `None` for one that waits for its trigger.
fn window(fault: &Fault) -> Option<(Ns, Ns)> {
    let lasts =
        fault.lasts.map(|lasts| lasts.max_ns().unwrap_or(Ns::MAX)).or(fault.effect.own_length()).unwrap_or(Ns::MAX);
    match fault.schedule {
        Schedule::At { at_ns, repeat, every_ns } => {
            let last_ns = at_ns.saturating_add(every_ns.saturating_mul(repeat.saturating_sub(1)));
            Some((at_ns, last_ns.saturating_add(lasts)))
        }
        Schedule::Within { from_ns, to_ns, .. } => Some((from_ns, to_ns)),
        Schedule::When { .. } => None,
    }
}

/// Faults at fixed times that are in each other's way.
fn pairs(faults: &[Fault]) -> Vec<(u32, &'static str, String, String)> {
    let fixed = |fault: &&Fault| matches!(fault.schedule, Schedule::At { repeat: 1, .. });
    let fixed: Vec<&Fault> = faults.iter().filter(fixed).collect();
    let mut found = Vec::new();
    for (at, one) in fixed.iter().enumerate() {
        for other in &fixed[at + 1..] {
            let (Some((a_from, a_to)), Some((b_from, b_to))) = (window(one), window(other)) else { continue };
            let (Effect::Act(a), Effect::Act(b)) = (&one.effect, &other.effect) else { continue };
            if a_from >= b_to || b_from >= a_to || a_from == a_to || b_from == b_to {
                continue;
            }
            if a.kind() == b.kind() && a.on() == b.on() {
                found.push((
                    other.line,
                    "lint::overlap",
                    format!(
                        "`{}` and `{}` are {} of {} at the same time: one hides the other",
                        one.id,
                        other.id,
                        a.kind(),
                        a.on()
                    ),
                    "let one begin when the other is over, or put them on different places".to_owned(),
                ));
            }
            for (down, spoilt, from, to) in [(one, other, b_from, b_to), (other, one, a_from, a_to)] {
                let (Some((down_from, down_to)), Effect::Act(action), Effect::Act(hidden)) =
                    (window(down), &down.effect, &spoilt.effect)
                else {
                    continue;
                };
                if takes_down(action)
                    && hidden.on() == action.on()
                    && down_from <= from
                    && to <= down_to
                    && down.id != spoilt.id
                {
                    found.push((
                        spoilt.line,
                        "lint::down",
                        format!("`{}` can't be felt: `{}` has {} down all that time", spoilt.id, down.id, action.on()),
                        "begin it earlier, or let it last until the host is back".to_owned(),
                    ));
                }
            }
        }
    }
    found
}

fn takes_down(action: &Action) -> bool {
    matches!(
        action,
        Action::HostCrash { .. } | Action::HostPowerCut { .. } | Action::HostStop { .. } | Action::HostWipe { .. }
    )
}

fn span_of_line(text: &str, line: u32) -> Range<usize> {
    let mut start = 0;
    for (number, content) in text.split_inclusive('\n').enumerate() {
        if number as u32 + 1 == line {
            return start..start + content.trim_end().len();
        }
        start += content.len();
    }
    0..0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{World, load};

    fn codes(faults: &str, expect: &str) -> Vec<(String, usize)> {
        let text = format!(
            "why = \"w\"\ngraph = \"g.yaml\"\nseeds = {{ pr = \"1..2\", release = \"1..4\" }}\nload = {{ into = \"edge.feed\", rate = \"10/s\", bytes = \"8\" }}\nsim = {{ duration = \"10s\", warmup = \"1s\" }}\n{faults}\n[expect]\n{expect}\n"
        );
        let sources = Sources::new("s.toml", &text);
        let scenario = load(&sources, &World::of_one_host()).unwrap_or_else(|errors| panic!("{errors:?}"));
        let arrivals: Vec<Ns> = (0..80).map(|n| n * 100_000_000).collect();
        let found = lints(&sources, &scenario, &arrivals);
        found.iter().map(|lint| (lint.code.to_owned(), text[..lint.at.start].lines().count() + 1)).collect()
    }

    #[test]
    fn each_lint_is_found_on_its_line_and_a_good_scenario_has_none() {
        let crash = |id: &str, more: &str| format!("[faults.{id}]\nkind = \"host.crash\"\non = \"edge\"\n{more}\n");
        let full = |id: &str, more: &str| format!("[faults.{id}]\nkind = \"disk.full\"\non = \"edge\"\n{more}\n");
        assert_eq!(codes(&crash("a", "at = \"2s\""), "\"latency.p95 @all\" = \"<= 1s\""), []);
        assert_eq!(codes("", "\"latency.p99.9 @all\" = \"<= 1s\""), [("lint::thin_percentile".to_owned(), 8)]);
        assert_eq!(codes(&crash("a", "at = \"2s\"\nchance = 0.2"), ""), [("lint::seldom".to_owned(), 7)]);
        assert_eq!(codes(&crash("a", "at = \"9s\""), ""), [("lint::quiet".to_owned(), 7)]);
        assert_eq!(codes(&crash("a", "at = \"500ms\""), ""), [("lint::no_baseline".to_owned(), 7)]);
        let twice = full("a", "at = \"2s\"\nfor = \"2s\"") + &full("b", "at = \"3s\"\nfor = \"2s\"");
        assert_eq!(codes(&twice, ""), [("lint::overlap".to_owned(), 12)]);
        let hidden = crash("a", "at = \"2s\"\nrestart = \"3s\"") + &full("b", "at = \"3s\"\nfor = \"1s\"");
        assert_eq!(codes(&hidden, ""), [("lint::down".to_owned(), 12)]);
    }
}
