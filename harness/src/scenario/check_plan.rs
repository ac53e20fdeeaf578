//! Checks a plan that somebody wrote or changed: that it belongs to the scenario, and that its world has what it names.

use super::address::{Target, World};
use super::expr::Expr;
use super::kinds::{self, On};
use super::model::Scenario;
use crate::plan::{Action, Ns, Plan, SCHEMA, Start, Step};

/// Everything that is wrong with a plan, each with the number of its step, from 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct PlanProblems(pub Vec<String>);

/// Whether `plan` can be run in the `world` of `scenario`.
///
/// # Errors
/// Everything that stands against it.
pub fn check_plan(scenario: &Scenario, world: &World, plan: &Plan) -> Result<(), PlanProblems> {
    let mut wrong = Vec::new();
    let duration_ns = scenario.sim.duration_ns;
    if plan.schema != SCHEMA {
        wrong.push(format!("its schema is `{}`, not `{SCHEMA}`", plan.schema));
    }
    if plan.scenario != scenario.id {
        wrong.push(format!("it is a plan of the scenario `{}`, not of `{}`", plan.scenario, scenario.id));
    }
    if plan.end_ns.is_some_and(|end_ns| end_ns == 0 || end_ns > duration_ns) {
        wrong.push(format!("end_ns must be from 1 to the scenario's {duration_ns}"));
    }
    let spans = plan.only.iter().flatten();
    if let Some(span) = spans.clone().find(|span| span.first == 0 || span.last < span.first) {
        wrong.push(format!("only: {} to {} are no numbers of events, which count from 1", span.first, span.last));
    }
    wrong.extend(plan.engine.check().err().map(|problem| format!("engine: {problem}")));
    for (number, step) in plan.steps.iter().enumerate() {
        wrong.extend(step_problems(scenario, world, step).into_iter().map(|why| format!("step {number}: {why}")));
    }
    if wrong.is_empty() { Ok(()) } else { Err(PlanProblems(wrong)) }
}

fn step_problems(scenario: &Scenario, world: &World, step: &Step) -> Vec<String> {
    let mut wrong = Vec::new();
    match &step.start {
        Start::At { at_ns } if *at_ns >= scenario.sim.duration_ns => {
            wrong.push(format!("it begins at {at_ns} ns, when the load is over"));
        }
        Start::At { .. } => {}
        Start::When { when } => {
            wrong.extend(Expr::parse(when).err().map(|error| format!("`{when}` is no condition: {}", error.message)));
        }
    }
    let kind = match &step.action {
        Action::Sabotage { breach, .. } => format!("sabotage.{breach}"),
        action => action.kind().to_owned(),
    };
    let may_sabotage = scenario.dir.file_name().is_some_and(|folder| folder == "must_fail");
    match kinds::find(&kind) {
        None => wrong.push(format!("there is no `{kind}`")),
        Some(_) if kind.starts_with("sabotage.") && !may_sabotage => {
            wrong.push(format!("`{kind}` belongs to scenarios in a folder `must_fail`"));
        }
        Some(kind) => {
            let on = step.action.on();
            if !has(world, kind.on, &on) {
                wrong.push(format!("`{on}` is not {} of this graph", kind.on.words()));
            }
        }
    }
    wrong.extend(values(&step.action).map(str::to_owned));
    wrong
}

/// Whether the world has such a place. Plans name a channel by its id alone.
fn has(world: &World, wanted: On, on: &str) -> bool {
    if wanted == On::Channel {
        return world.channels.iter().any(|channel| channel.id == on);
    }
    match (wanted, world.find(on, &(0..0))) {
        (On::Link, Ok(Target::Link(_))) | (On::Host, Ok(Target::Host(_))) => true,
        (On::Node, Ok(Target::Node(node))) => node.handles,
        (On::Sink, Ok(Target::Node(node))) => node.sink,
        (On::Source, Ok(Target::Node(node))) => node.source,
        _ => false,
    }
}

/// What is wrong with the values of an action.
fn values(action: &Action) -> Option<&'static str> {
    const WHOLE: u32 = 1_000_000;
    const LONG_NS: Ns = 86_400_000_000_000;
    match action {
        Action::NetLoss { ratio_ppm, .. }
        | Action::AckDuplicate { ratio_ppm, .. }
        | Action::AckReorder { ratio_ppm, .. }
        | Action::AckLose { ratio_ppm, .. }
        | Action::DeliveryDuplicate { ratio_ppm, .. }
        | Action::PublishDuplicate { ratio_ppm, .. }
        | Action::DiskEio { ratio_ppm, .. }
        | Action::CpuStarve { ratio_ppm, .. }
        | Action::NodePanic { ratio_ppm, .. }
        | Action::LoadPoison { ratio_ppm, .. }
        | Action::SinkReject { ratio_ppm, .. }
        | Action::SinkError { ratio_ppm, .. } => (*ratio_ppm > WHOLE).then_some("a share is more than 1,000,000 ppm"),
        Action::NetBandwidth { bytes_per_s, .. } | Action::DiskThrottle { bytes_per_s, .. } => {
            (*bytes_per_s == 0).then_some("a line that carries 0 bytes a second is a cut")
        }
        Action::NetShortIo { bytes: 0, .. } => Some("reads and writes of 0 bytes never end"),
        Action::HostCrash { restart_ns, .. }
        | Action::HostPowerCut { restart_ns, .. }
        | Action::HostStop { restart_ns, .. }
        | Action::HostWipe { restart_ns, .. } => {
            (*restart_ns > LONG_NS).then_some("a host is away for more than a day")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Span;
    use crate::scenario::load;

    fn scenario() -> Scenario {
        let text = "why = \"w\"\ngraph = \"g.yaml\"\nload = { into = \"edge.feed\", rate = \"1/s\", bytes = \"8\" }\nsim = { duration = \"10s\", warmup = \"1s\" }\n";
        load(&crate::scenario::Sources::new("s.toml", text), &World::of_one_host()).unwrap()
    }

    fn plan(step: &str) -> Plan {
        let text = format!(r#"{{"schema": "{SCHEMA}", "scenario": "s", "seed": 1, "steps": [{step}]}}"#);
        serde_json::from_str(&text).unwrap()
    }

    fn problems(plan: &Plan) -> Vec<String> {
        check_plan(&scenario(), &World::of_one_host(), plan).map_or_else(|problems| problems.0, |()| Vec::new())
    }

    #[test]
    fn a_plan_that_fits_is_fine() {
        let crash = r#"{"fault": "f", "start": {"at": {"at_ns": 5}}, "action": {"kind": "host.crash", "host": "edge", "restart_ns": 1}}"#;
        assert_eq!(problems(&plan(crash)), Vec::<String>::new());
    }

    #[test]
    fn each_thing_that_does_not_fit_is_told() {
        let of = |start: &str, action: &str| {
            problems(&plan(&format!(r#"{{"fault": "f", "start": {start}, "action": {action}}}"#))).join("; ")
        };
        let now = r#"{"at": {"at_ns": 0}}"#;
        for (start, action, why) in [
            (r#"{"at": {"at_ns": 10000000000}}"#, r#"{"kind": "disk.full", "host": "edge"}"#, "when the load is over"),
            (r#"{"when": {"when": "edge >"}}"#, r#"{"kind": "disk.full", "host": "edge"}"#, "is no condition"),
            (now, r#"{"kind": "disk.full", "host": "hub"}"#, "`hub` is not a host"),
            (now, r#"{"kind": "sink.error", "sink": "edge.feed", "ratio_ppm": 1}"#, "is not a sink"),
            (now, r#"{"kind": "sink.error", "sink": "edge.raw", "ratio_ppm": 1000001}"#, "a share is more"),
            (now, r#"{"kind": "ack.lose", "channel": "up", "ratio_ppm": 1}"#, "is not a channel"),
            (now, r#"{"kind": "sabotage", "breach": "panic", "on": "edge"}"#, "belongs to scenarios in"),
            (now, r#"{"kind": "sabotage", "breach": "wish", "on": "edge"}"#, "there is no `sabotage.wish`"),
        ] {
            let told = of(start, action);
            assert!(told.contains(why), "{told}");
        }
        let foreign = Plan {
            scenario: "other".into(),
            end_ns: Some(0),
            only: Some(vec![Span { first: 2, last: 1 }]),
            ..plan("")
        };
        assert_eq!(problems(&foreign).len(), 3, "{:?}", problems(&foreign));
    }
}
