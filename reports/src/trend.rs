//! Many results in the order in which they were made: one line a scenario and result, for a spreadsheet or a plot.

use std::fmt::Write;

use crate::render::text::figure;
use crate::result::{Figure, ResultFile};

/// CSV with a header; a comma or quote in a name is quoted. `never` and `n/a` stand where there is no number.
#[must_use]
pub fn csv(results: &[(String, ResultFile)]) -> String {
    let mut text = String::from(
        "file,commit,scenario,verdict,seeds,offered,lost,duplicate_ratio,replay_ratio,p50_ms,p95_ms,p99_ms\n",
    );
    for (name, file) in results {
        for scenario in &file.scenarios {
            let Some(all) = scenario.phases.get("all") else { continue };
            let verdict = scenario.verdict;
            let lost = all.lost_all();
            let latency = [&all.latency_ms.p50, &all.latency_ms.p95, &all.latency_ms.p99].map(figure).join(",");
            let names = [name, &file.commit, &scenario.id].map(|name| quoted(name)).join(",");
            let counts = format!("{},{},{lost}", scenario.seeds.len(), all.offered);
            let _ = writeln!(text, "{names},{verdict},{counts},{},{},{latency}", all.duplicate_ratio, all.replay_ratio);
        }
    }
    text
}

fn quoted(name: &str) -> String {
    if name.contains([',', '"', '\n']) { format!("\"{}\"", name.replace('"', "\"\"")) } else { name.to_owned() }
}

/// The p99 of each scenario over the results, as points of a plot: the how-many-th result, and ms.
#[must_use]
pub fn p99(results: &[(String, ResultFile)]) -> Vec<(String, Vec<(f64, f64)>)> {
    let mut lines: std::collections::BTreeMap<String, Vec<(f64, f64)>> = std::collections::BTreeMap::new();
    for (at, (_, file)) in results.iter().enumerate() {
        for scenario in &file.scenarios {
            if let Some(Figure::V { v }) = scenario.phases.get("all").map(|all| &all.latency_ms.p99) {
                lines.entry(scenario.id.clone()).or_default().push((at as f64 + 1.0, v.0));
            }
        }
    }
    lines.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::spelled::spelled;
    use crate::sample;

    #[test]
    fn the_table_and_the_plot_of_a_failing_run() {
        let results = [("old".to_owned(), sample::failing()), ("new".to_owned(), sample::failing())];
        insta::assert_snapshot!(csv(&results), @r"
        file,commit,scenario,verdict,seeds,offered,lost,duplicate_ratio,replay_ratio,p50_ms,p95_ms,p99_ms
        old,0123abc,ack_before_commit,fail,2,2400,1,0,0.016667,7,2560,6960
        new,0123abc,ack_before_commit,fail,2,2400,1,0,0.016667,7,2560,6960
        ");
        insta::assert_snapshot!(spelled(&crate::render::trend(&p99(&results))), @"[p99 by result, a line a scenario] p99, ms result 1.0 10.0 100.0 1000.0 10000.0 1 2 ack_before_commit");
    }

    #[test]
    fn below_a_trend_stand_whole_results() {
        let below = |results: usize| {
            let points = (1..=results).map(|at| (at as f64, 5.0)).collect();
            let told = spelled(&crate::render::trend(&[("a".to_owned(), points)]));
            // Delays have a decimal.
            told.rsplit_once(".0 ").map(|(_, below)| below.to_owned()).unwrap_or(told)
        };
        assert_eq!(below(1), "1 2 a");
        assert_eq!(below(3), "1 2 3 a");
        assert_eq!(below(10), "1 2 3 4 5 6 7 8 9 10 a");
        assert_eq!(below(37), "5 10 15 20 25 30 35 a");
    }

    #[test]
    fn a_line_a_scenario_and_result() {
        let results = [("a,b".to_owned(), sample::passing()), ("c".to_owned(), sample::failing())];
        let text = csv(&results);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[1].starts_with("\"a,b\",0123abc,uplink_cut,pass,8,9600,0,0,"), "{}", lines[1]);
        assert!(lines[2].starts_with("c,0123abc,ack_before_commit,fail,"), "{}", lines[2]);
        assert!(lines.iter().skip(1).all(|line| line.matches(',').count() >= 11));
        assert_eq!(p99(&results).len(), 2);
    }
}
