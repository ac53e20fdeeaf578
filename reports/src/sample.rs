//! Small handmade runs for the tests of this crate.

use crate::histogram::Percentile;
use crate::phases::Phase;
use crate::pool::{Pool, ScenarioMeta};
use crate::result::{Objection, ResultFile, Time};
use crate::run::{Answer, AtSink, Broken, EventRun, Fate, FaultRun, Kind, SeedRun, Stage, Waterfall, Work};
use crate::slo::{Count, Limit, Metric, Objective, Op, Part, Ratio, Since, Unit};

pub(crate) const MS: u64 = 1_000_000;

/// 60 s at 20 events a second; `delay_ms` says how late each comes, by its number; `None` loses it.
pub(crate) fn run(seed: u64, delay_ms: impl Fn(u64) -> Option<u64>) -> SeedRun {
    let event = |number: u64| {
        let intended_ns = number * 50 * MS;
        let visible_ns = delay_ms(number).map(|ms| intended_ns + ms * MS);
        let at = AtSink {
            sink: 0,
            fate: if visible_ns.is_some() { Fate::Visible } else { Fate::Lost },
            visible_ns,
            expected: 1,
            copies: u32::from(visible_ns.is_some()),
            raw_copies: u32::from(visible_ns.is_some()),
            planted: false,
            again_ns: number.is_multiple_of(60).then_some(intended_ns + MS),
        };
        EventRun {
            event: ("edge.feed".into(), number),
            intended_ns,
            accepted_ns: Some(intended_ns),
            answer: Answer::Accepted,
            at: vec![at],
        }
    };
    SeedRun {
        seed,
        trace_hash: format!("{seed:016x}"),
        cpu_ns: None,
        warmup_ns: 5_000 * MS,
        load_end_ns: 60_000 * MS,
        end_ns: 62_000 * MS,
        drained: true,
        batch: 4,
        sinks: vec!["hub.raw".into()],
        events: (0..1200).map(event).collect(),
        work: (0..1200).map(|number| Work { first_ns: number * 50 * MS, again: u32::from(number % 60 == 0) }).collect(),
        assertions: vec![
            ("journal.recycled".into(), 3),
            ("lane.ack_was_lost".into(), u64::from(seed == 2)),
            ("member.known".into(), 0),
        ],
        sometimes: vec![("at(cut).backlog > 200".into(), u64::from(seed == 2)), ("at(cut).backlog > 9000".into(), 0)],
        waited: ["at(cut).backlog > 200", "at(cut).backlog > 9000"]
            .map(|that| (that.into(), "at(cut).backlog was 0 to 112".into()))
            .into(),
        ..SeedRun::default()
    }
}

/// An uplink cut from 20 s to 28 s, behind which events wait, and which is worked off in half a second a seed.
pub(crate) fn cut(seed: u64) -> SeedRun {
    let mut run = run(seed, |number| match number * 50 {
        ms @ 20_000..28_000 => Some(28_000 - ms + 10),
        ms if (28_000..28_000 + 500 * seed).contains(&ms) => Some(300),
        ms => Some(5 + ms % 7),
    });
    run.faults = vec![FaultRun { id: "cut".into(), from_ns: 20_000 * MS, to_ns: 28_000 * MS }];
    run.fault_order = vec!["cut".into()];
    let stage = |(stage, kind, ms): (&str, Kind, u64)| Stage { stage: stage.into(), kind, ns: 1200 * ms * MS };
    let stages = [
        ("edge.feed", Kind::Queue, 1),
        ("edge.strong", Kind::Service, 2),
        ("hub.uplink stored", Kind::Link, 3),
        ("hub.uplink stored", Kind::Retry, 4),
        ("hub.raw", Kind::Service, 2),
    ];
    let stages = stages.into_iter().map(stage).collect();
    run.waterfalls = vec![Waterfall { sink: "hub.raw".into(), events: 1200, stages }];
    run
}

pub(crate) fn meta(id: &str) -> ScenarioMeta {
    let objective = |what: &str, metric, op, value, unit, line| Objective {
        what: what.into(),
        metric,
        limit: Limit { op, value, unit },
        line,
    };
    ScenarioMeta {
        id: id.into(),
        hash: "00c0ffee".into(),
        faults: vec!["cut".into()],
        checks: 12,
        objectives: vec![
            objective("lost", Metric::Count(Count::Lost, Phase::All), Op::Equal, 0.0, Unit::Count, 0),
            objective(
                "duplicate.ratio",
                Metric::Ratio(Ratio::Duplicate, Phase::All),
                Op::AtMost,
                0.005,
                Unit::Ratio,
                12,
            ),
            objective(
                "latency.p99 @steady",
                Metric::Latency(Percentile::P99, Phase::Steady),
                Op::AtMost,
                400.0,
                Unit::Ms,
                13,
            ),
            objective(
                "recovery(cut).steady p95",
                Metric::Recovery { faults: vec!["cut".into()], part: Part::Steady(Since::Heal), over: Percentile::P95 },
                Op::AtMost,
                6000.0,
                Unit::Ms,
                14,
            ),
        ],
        promise: [("backlog_max".to_owned(), "<= 1000".to_owned()), ("ordering".to_owned(), "per_key".to_owned())]
            .into(),
        cpu: None,
        not_tested: Vec::new(),
    }
}

fn file(meta: &ScenarioMeta, runs: impl IntoIterator<Item = SeedRun>) -> ResultFile {
    let mut pool = Pool::default();
    runs.into_iter().for_each(|run| pool.add(&run));
    ResultFile::new("0123abc", Time::Virtual, 1, vec![pool.finish(meta)])
}

pub(crate) fn of_seeds<const N: usize>(seeds: [u64; N]) -> ResultFile {
    file(&meta("uplink_cut"), seeds.map(cut))
}

pub(crate) fn passing() -> ResultFile {
    of_seeds([1, 2, 3, 4, 5, 6, 7, 8])
}

/// One that passes by itself, and that the gate holds two things against.
pub(crate) fn objecting() -> ResultFile {
    let mut file = passing();
    file.object([("uplink_cut", 3, "latency.p99 @steady 5 → 11"), ("smoke", 2, "LOOSENED scenario run → gone")].map(
        |(scenario, exit, what)| Objection {
            scenario: scenario.into(),
            step: "compare".into(),
            exit,
            what: what.into(),
        },
    ));
    file
}

pub(crate) fn failing() -> ResultFile {
    ResultFile::new("0123abc", Time::Virtual, 1, vec![failing_pool().finish(&meta("ack_before_commit"))])
}

pub(crate) fn failing_pool() -> Pool {
    let mut bad = run(5, |number| (number != 602).then_some(7));
    bad.faults = vec![FaultRun { id: "cut".into(), from_ns: 30_114 * MS, to_ns: 32_114 * MS }];
    bad.fault_order = vec!["cut".into()];
    bad.violations = vec![
        Broken {
            check: "durability".into(),
            message: "quake-602 accepted 30.112 s, hub power cut 30.114 s, never visible at hub.raw".into(),
            at_ns: 30_114 * MS,
        },
        Broken {
            check: "lost".into(),
            message: "quake-602 accepted 30.112 s, never visible at hub.raw".into(),
            at_ns: 62_000 * MS,
        },
    ];
    let mut pool = Pool::default();
    [cut(1), bad].iter().for_each(|run| pool.add(run));
    pool
}

pub(crate) fn void() -> ResultFile {
    let mut few = run(1, |_| Some(7));
    few.events.truncate(150);
    file(&meta("too_short"), [few])
}
