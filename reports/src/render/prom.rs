//! `metrics.prom`: the figures of a result as Prometheus text, for a node exporter's textfile collector or a push gateway.

use std::fmt::Write;

use crate::result::{Figure, ResultFile, Verdict};

/// The result in the text format of Prometheus, version 0.0.4. What can't be told has no sample; what never comes is +Inf.
#[must_use]
pub fn render(file: &ResultFile) -> String {
    let mut text = String::new();
    let mut family = |name: &str, help: &str, samples: Vec<(String, f64)>| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (labels, value) in samples {
            let value = if value.is_infinite() { "+Inf".to_owned() } else { value.to_string() };
            let labels = if labels.is_empty() { labels } else { format!("{{{labels}}}") };
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    let scenarios = &file.scenarios;
    let each = |figure: &dyn Fn(&crate::result::Scenario) -> f64| {
        scenarios.iter().map(|s| (format!("scenario=\"{}\"", label(&s.id)), figure(s))).collect::<Vec<_>>()
    };
    family(
        "seaworthy_passed",
        "1 when the scenario passed, else 0.",
        each(&|s| f64::from(u8::from(s.verdict == Verdict::Pass))),
    );
    let passed = f64::from(u8::from(file.verdict == Verdict::Pass));
    family(
        "seaworthy_all_passed",
        "1 when all passed, and the gate holds nothing against it, else 0.",
        vec![(String::new(), passed)],
    );
    family("seaworthy_seeds", "Seeds that ran.", each(&|s| s.seeds.len() as f64));
    let mut events = Vec::new();
    let mut ratios = Vec::new();
    let mut latencies = Vec::new();
    let mut recoveries = Vec::new();
    // What can't be told has no sample.
    let seconds = |figure: &Figure| match figure {
        Figure::V { v } => Some(v.0 / 1000.0),
        Figure::Ge { .. } | Figure::Never { .. } => Some(f64::INFINITY),
        Figure::Na { .. } => None,
    };
    for scenario in scenarios {
        for recovery in &scenario.recovery {
            for (part, spread) in recovery.parts().into_iter().filter(|(part, _)| *part != "deficit") {
                let (until, from) = match part.strip_suffix("_from_start") {
                    Some(until) => (until, "start"),
                    None => (part, if part == "detect" { "start" } else { "heal" }),
                };
                let of = format!("scenario=\"{}\",fault=\"{}\"", label(&scenario.id), label(&recovery.fault));
                for (quantile, figure) in [("0.5", &spread.p50), ("0.95", &spread.p95), ("1", &spread.max)] {
                    let labels = format!("{of},until=\"{until}\",from=\"{from}\",quantile=\"{quantile}\"");
                    recoveries.extend(seconds(figure).map(|seconds| (labels, seconds)));
                }
            }
        }
        for (name, phase) in &scenario.phases {
            let at = format!("scenario=\"{}\",phase=\"{}\"", label(&scenario.id), label(name));
            for (fate, count) in [
                ("offered", phase.offered),
                ("accepted", phase.accepted),
                ("recovered", phase.recovered),
                ("visible", phase.visible),
                ("absorbed", phase.absorbed),
                ("folded", phase.folded),
                ("lost", phase.lost_all()),
                ("unresolved", phase.unresolved),
                ("rejected", phase.rejected),
                ("indeterminate", phase.indeterminate),
                ("dead_lettered", phase.dead_lettered),
                ("shed", phase.shed),
                ("expired", phase.expired),
                ("unexpected", phase.unexpected),
            ] {
                events.push((format!("{at},fate=\"{fate}\""), count as f64));
            }
            for (of, ratio) in
                [("drop", phase.drop_ratio), ("duplicate", phase.duplicate_ratio), ("replay", phase.replay_ratio)]
            {
                ratios.push((format!("{at},of=\"{of}\""), ratio));
            }
            let latency = &phase.latency_ms;
            for (quantile, figure) in
                [("0.5", &latency.p50), ("0.95", &latency.p95), ("0.99", &latency.p99), ("0.999", &latency.p99_9)]
            {
                let labels = format!("{at},quantile=\"{quantile}\"");
                latencies.extend(seconds(figure).map(|seconds| (labels, seconds)));
            }
        }
    }
    family("seaworthy_events", "Events by what became of them.", events);
    family("seaworthy_ratio", "Shares: dropped, duplicate, replayed.", ratios);
    family("seaworthy_latency_seconds", "Latency over all offered events, of the worst sink.", latencies);
    family(
        "seaworthy_recovery_seconds",
        "Recoveries over seeds, from the start of the faults or from their heal.",
        recoveries,
    );
    text
}

/// A label's value, escaped.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn prometheus_text_of_a_failing_run() {
        insta::assert_snapshot!("prom_failing", render(&sample::failing()));
    }

    #[test]
    fn what_the_gate_objects_to_has_not_passed() {
        let text = render(&sample::objecting());
        assert!(text.contains("seaworthy_passed{scenario=\"uplink_cut\"} 0\n"), "{text}");
        assert!(text.contains("\nseaworthy_all_passed 0\n"), "{text}");
        assert!(render(&sample::passing()).contains("\nseaworthy_all_passed 1\n"));
    }

    #[test]
    fn labels_are_escaped() {
        assert_eq!(label("a\"b\\c\n"), "a\\\"b\\\\c\\n");
    }
}
