//! Annotations for GitHub Actions: each expectation that fails is shown on its own line of the scenario's file.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::text::figure;
use crate::result::{ResultFile, Scenario, Verdict};

/// Workflow commands, a line each; `paths` are the scenarios' files, by id.
#[must_use]
pub fn github(file: &ResultFile, paths: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    for scenario in &file.scenarios {
        // One variant of a matrix is in the file of all.
        let path = paths.get(&scenario.id).map_or("", |path| path.split('#').next().unwrap_or_default());
        let mut tell = |line: u32, title: &str, message: &str| {
            let (path, title, message) = (property(path), property(title), data(message));
            let _ = writeln!(text, "::error file={path},line={},title={title}::{message}", line.max(1));
        };
        for expectation in scenario.expect.iter().filter(|expectation| expectation.verdict != Verdict::Pass) {
            let what = format!("{} {}", expectation.what, expectation.limit);
            tell(expectation.line, &scenario.id, &format!("{what}: got {}", figure(&expectation.got)));
        }
        for why in &scenario.void {
            tell(1, &scenario.id, &format!("proved nothing: {why}"));
        }
        for (check, (message, seeds)) in broken(scenario) {
            let more = match &seeds[1..] {
                [] => String::new(),
                more => format!(" (also in seeds {})", more.iter().map(u64::to_string).collect::<Vec<_>>().join(" ")),
            };
            tell(1, &scenario.id, &format!("seed {}: {check}: {message}{more}", seeds[0]));
        }
        for objection in file.objections.iter().filter(|objection| objection.scenario == scenario.id) {
            // On the line of the expectation that it speaks of.
            let of = scenario.expect.iter().find(|expectation| objection.what.contains(&expectation.what));
            tell(of.map_or(1, |of| of.line), &scenario.id, &format!("{}: {}", objection.step, objection.what));
        }
    }
    for objection in file.objections_of_none() {
        let title = if objection.scenario.is_empty() { "seaworthy" } else { &objection.scenario };
        let message = data(&format!("{}: {}", objection.step, objection.what));
        let _ = writeln!(text, "::error title={}::{message}", property(title));
    }
    text
}

/// Each check that some seed broke, with what the first says, and the seeds.
fn broken(scenario: &Scenario) -> BTreeMap<&str, (&str, Vec<u64>)> {
    let mut broken: BTreeMap<&str, (&str, Vec<u64>)> = BTreeMap::new();
    for seed in &scenario.seeds {
        for violation in &seed.violations {
            let (_, seeds) = broken.entry(&violation.check).or_insert((&violation.message, Vec::new()));
            if seeds.last() != Some(&seed.seed) {
                seeds.push(seed.seed);
            }
        }
    }
    broken
}

/// A message: what would end the command is escaped.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A property: what would end it, too.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn annotations_of_a_failing_run() {
        let paths = [("ack_before_commit".to_owned(), "scenarios/ack.toml".to_owned())].into();
        insta::assert_snapshot!(github(&sample::failing(), &paths), @r"
        ::error file=scenarios/ack.toml,line=1,title=ack_before_commit::lost == 0: got 1
        ::error file=scenarios/ack.toml,line=1,title=ack_before_commit::seed 5: durability: quake-602 accepted 30.112 s, hub power cut 30.114 s, never visible at hub.raw
        ::error file=scenarios/ack.toml,line=1,title=ack_before_commit::seed 5: lost: quake-602 accepted 30.112 s, never visible at hub.raw
        ");
    }

    #[test]
    fn a_failure_stands_on_its_line() {
        let paths = [("ack_before_commit".to_owned(), "scenarios/a,b.toml#2s".to_owned())].into();
        let text = github(&sample::failing(), &paths);
        assert!(
            text.contains("::error file=scenarios/a%2Cb.toml,line=1,title=ack_before_commit::lost == 0: got 1\n"),
            "{text}"
        );
        assert!(text.contains("seed 5: durability: "), "{text}");
        assert_eq!(github(&sample::passing(), &paths), "");
        let objecting = github(&sample::objecting(), &[("uplink_cut".to_owned(), "a.toml".to_owned())].into());
        assert!(
            objecting.contains("::error file=a.toml,line=13,title=uplink_cut::compare: latency.p99 @steady"),
            "{objecting}"
        );
        assert!(objecting.contains("::error title=smoke::compare: LOOSENED scenario run → gone\n"), "{objecting}");
        assert_eq!(property("50 %\n"), "50 %25%0A");
    }
}
