//! `junit.xml`: a suite a scenario, a case an objective and a seed, as CI systems show them.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::result::{Objection, ResultFile, Scenario, Verdict};

/// The result as JUnit XML. Nothing in it depends on a clock.
///
/// # Panics
/// Never: memory takes all that is written.
#[must_use]
pub fn render(file: &ResultFile) -> String {
    let mut report = Report::new("seaworthy");
    for scenario in &file.scenarios {
        let against = file.objections.iter().filter(|objection| objection.scenario == scenario.id);
        report.add_test_suite(suite(scenario, against));
    }
    let mut gate = TestSuite::new("gate");
    gate.add_test_cases(file.objections_of_none().map(objected));
    if !gate.test_cases.is_empty() {
        report.add_test_suite(gate);
    }
    written(&report)
}

/// A run that ended before it had a result, as one failed case.
///
/// # Panics
/// Never: memory takes all that is written.
#[must_use]
pub fn early(told: &str) -> String {
    let mut report = Report::new("seaworthy");
    let mut suite = TestSuite::new("gate");
    suite.add_test_case(failed("it has a result", "ended", told));
    report.add_test_suite(suite);
    written(&report)
}

fn written(report: &Report) -> String {
    let xml = report.to_string().expect("memory takes all that is written");
    // The schema that Jenkins keeps doesn't know the attribute. In a value its quotes would be escaped.
    let mut xml = xml.replace(" disabled=\"0\"", "");
    // XML has no way to write these.
    xml.retain(|c| !matches!(c, '\u{0}'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}'));
    xml
}

fn suite<'a>(scenario: &Scenario, against: impl Iterator<Item = &'a Objection>) -> TestSuite {
    let mut suite = TestSuite::new(scenario.id.as_str());
    suite.add_property(("hash", scenario.hash.as_str()));
    for why in &scenario.void {
        suite.add_test_case(failed("proved something", "void", why));
    }
    for expectation in &scenario.expect {
        let name = format!("{} {}", expectation.what, expectation.limit);
        let got = super::text::figure(&expectation.got);
        suite.add_test_case(match expectation.verdict {
            Verdict::Pass => TestCase::new(name.as_str(), TestCaseStatus::success()),
            Verdict::Void => failed(&name, "void", &format!("it can't be told: {got}")),
            _ => failed(&name, "objective", &format!("got {got} (line {})", expectation.line)),
        });
    }
    for seed in &scenario.seeds {
        let name = format!("seed {}", seed.seed);
        suite.add_test_case(match seed.violations.first() {
            None => TestCase::new(name.as_str(), TestCaseStatus::success()),
            Some(first) => {
                let mut case = failed(&name, &first.check, &format!("{}: {}", first.check, first.message));
                let all = seed
                    .violations
                    .iter()
                    .map(|broken| format!("{} ms {}: {}\n", broken.at_ms, broken.check, broken.message));
                case.set_system_out(all.collect::<String>());
                case
            }
        });
    }
    suite.add_test_cases(against.map(objected));
    for case in &mut suite.test_cases {
        case.set_classname(scenario.id.as_str());
    }
    suite
}

fn objected(objection: &Objection) -> TestCase {
    let name = format!("{} {}", objection.step, objection.scenario);
    failed(name.trim_end(), &objection.step, &objection.what)
}

fn failed(name: &str, kind: &str, message: &str) -> TestCase {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
    status.set_type(kind).set_message(message);
    TestCase::new(name, status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn junit_of_a_pass_a_failure_and_nothing() {
        insta::assert_snapshot!("junit_failing", render(&sample::failing()));
        let passing = render(&sample::passing());
        assert!(passing.contains("failures=\"0\"") && passing.contains("seed 8"), "{passing}");
        assert!(render(&sample::void()).contains("type=\"void\""));
        let objecting = render(&sample::objecting());
        assert!(objecting.contains("failures=\"2\"") && objecting.contains("LOOSENED scenario"), "{objecting}");
    }
}
