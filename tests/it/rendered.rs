//! Every renderer on the same run: two seeds of a scenario that fails, as a gate writes them. Whatever changes a figure or a word
//! changes a snapshot here; on every machine they are the same.

use serde_json::Value;

use crate::project::Project;

/// 90 quakes, of which an ack that nobody gave swallows some, and a cut that delays others.
const SCENARIO: &str = r#"
why   = "the proxy acks what the hub never got, so the edge forgets it"
graph = "../graphs/edge_hub.yaml"
load  = { into = "edge.feed", rate = "30/s", rows = "../data/quakes.ndjson", repeat = true, key = "net" }
sim   = { duration = "3s", warmup = "500ms" }
seeds = { pr = "1..2", release = "1..2" }

[faults.cut]
kind = "net.cut"
on   = "edge<->hub"
at   = "700ms"
for  = "400ms"

[faults.forge-ack]
kind = "sabotage.forge_ack"
on   = "edge->hub:uplink"
at   = "1500ms"
for  = "200ms"

[expect]
"latency.p95 @all" = "<= 300ms"

[[sometimes]]
that = "edge.uplink.backlog > 1000"
"#;

/// What a run says and writes, without what another build, machine or day would say otherwise.
struct Rendered {
    project: Project,
    commit: String,
}

impl Rendered {
    fn stable(&self, text: &str) -> String {
        let version = format!("seaworthy {}", env!("CARGO_PKG_VERSION"));
        let quoted = format!("\"{}\"", env!("CARGO_PKG_VERSION"));
        let text =
            text.replace(&self.commit, "COMMIT").replace(&version, "seaworthy VERSION").replace(&quoted, "\"VERSION\"");
        // How long it took.
        let words = text.split_inclusive(' ').collect::<Vec<_>>();
        let number = |word: &str| word.trim_end().parse::<u64>().is_ok();
        let took = |at: usize| {
            at > 0 && words[at - 1] == "in " && words.get(at + 1).is_some_and(|next| next.starts_with("s\n"))
        };
        words.iter().enumerate().map(|(at, word)| if number(word) && took(at) { "- " } else { word }).collect()
    }

    fn file(&self, name: &str) -> String {
        self.stable(&self.project.read(&format!("out/gate/{name}")))
    }
}

#[test]
fn every_renderer_on_the_same_run() {
    let project = Project::new();
    project.write("scenarios/must_fail/forged.toml", SCENARIO);
    let said = project.said("gate scenarios/must_fail/forged.toml --no-baseline --annotations --jobs 1", 1);
    let result: Value = serde_json::from_str(&project.read("out/gate/result.json")).expect("it is JSON");
    let commit = result["commit"].as_str().expect("a result names its commit").to_owned();
    let rendered = Rendered { project, commit };
    insta::assert_snapshot!("rendered_text", rendered.stable(&said));
    for (snapshot, file) in [
        ("rendered_result_json", "result.json"),
        ("rendered_summary_md", "summary.md"),
        ("rendered_junit_xml", "junit.xml"),
        ("rendered_metrics_prom", "metrics.prom"),
        ("rendered_latency_hlog", "forged/latency.hlog"),
        ("rendered_timeline_json", "forged/timeline.json"),
        ("rendered_smallest_plan", "forged/smallest.plan.json"),
    ] {
        insta::assert_snapshot!(snapshot, rendered.file(file));
    }
    // One thing a line: what differs is seen.
    let lines = |text: String, between: &str, before: &str| text.replace(between, before);
    insta::assert_snapshot!("rendered_trace_json", lines(rendered.file("forged/trace.json"), "},{", "},\n{"));
    insta::assert_snapshot!("rendered_report_html", lines(rendered.file("report.html"), "><", ">\n<"));
    let history = rendered.file("forged/history.jsonl");
    let first = history.lines().filter(|line| line.contains(r#""packet":"ak18249535"#)).map(|line| format!("{line}\n"));
    insta::assert_snapshot!("rendered_history_of_a_packet", first.collect::<String>());
    let page = rendered.project.said("report out/gate", 0);
    assert_eq!(page, "out/gate/report.html\n");
    insta::assert_snapshot!("rendered_report_html", lines(rendered.file("report.html"), "><", ">\n<"));
}
