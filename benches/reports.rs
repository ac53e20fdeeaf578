//! How fast the reports are: an event into a histogram, a seed into the pool, shards into one result, a release beside its
//! baseline, and a page of ten million latencies, whose size is printed and must stay below 2 MiB.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput};
use seaworthy_reports::compare::{Seeds, Tolerance, compare};
use seaworthy_reports::histogram::Latency;
use seaworthy_reports::merge::merge;
use seaworthy_reports::pool::{Pool, ScenarioMeta};
use seaworthy_reports::render::html::{self, Extra};
use seaworthy_reports::render::{hlog, json};
use seaworthy_reports::result::{ResultFile, Scenario, Time};
use seaworthy_reports::run::{Answer, AtSink, Delay, EventRun, Fate, SeedRun};
use seaworthy_reports::series::{SCHEMA, Series, Timelines};

const MS: u64 = 1_000_000;
/// Seeds and events of the page: ten million latencies.
const PAGE: (u64, u64) = (100, 100_000);
/// The largest that the page may be.
const PAGE_BYTES_MAX: usize = 2 << 20;
/// Scenarios and seeds of a release.
const RELEASE: (u64, u64) = (36, 64);

/// A seed whose events come every 5 ms, each as late as a mix of its number says: most soon, few very late.
fn run(seed: u64, events: u64) -> SeedRun {
    let event = |number: u64| {
        let intended_ns = number * 5 * MS;
        let mix = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed.wrapping_mul(0xbf58_476d_1ce4_e5b9)) >> 40;
        let late_ns = MS * (1 + 4_000 / (1 + mix % 2_000));
        let at = AtSink {
            sink: 0,
            fate: Fate::Visible,
            visible_ns: Some(intended_ns + late_ns),
            expected: 1,
            copies: 1,
            raw_copies: 1,
            planted: false,
            again_ns: None,
        };
        EventRun {
            event: ("edge.feed".into(), number),
            intended_ns,
            accepted_ns: Some(intended_ns),
            answer: Answer::Accepted,
            at: vec![at],
        }
    };
    let load_end_ns = events * 5 * MS;
    SeedRun {
        seed,
        trace_hash: format!("{seed:016x}"),
        warmup_ns: load_end_ns / 10,
        load_end_ns,
        end_ns: load_end_ns + 10_000 * MS,
        drained: true,
        batch: 256,
        sinks: vec!["hub.raw".into()],
        events: (0..events).map(event).collect(),
        ..SeedRun::default()
    }
}

fn pooled(seeds: u64, events: u64) -> Pool {
    let mut pool = Pool::default();
    (1..=seeds).for_each(|seed| pool.add(&run(seed, events)));
    pool
}

fn meta(id: &str) -> ScenarioMeta {
    ScenarioMeta { id: id.into(), hash: "00c0ffee".into(), checks: 12, ..ScenarioMeta::default() }
}

fn file(scenarios: Vec<Scenario>) -> ResultFile {
    ResultFile::new("0123abc", Time::Virtual, 1, scenarios)
}

fn main() {
    let mut criterion = Criterion::default().sample_size(20).configure_from_args();

    let delays: Vec<Delay> =
        (0..100_000_u64).map(|number| Delay::After(number.wrapping_mul(7_919) % (9_000 * MS))).collect();
    let mut group = criterion.benchmark_group("reports");
    group.throughput(Throughput::Elements(delays.len() as u64));
    group.bench_function("record", |bencher| {
        bencher.iter_batched_ref(
            Latency::default,
            |latency| delays.iter().for_each(|delay| latency.record(*delay)),
            BatchSize::SmallInput,
        );
    });
    let seed = run(1, 12_000);
    group.throughput(Throughput::Elements(seed.events.len() as u64));
    group.bench_function("pool", |bencher| {
        bencher.iter_batched_ref(Pool::default, |pool| pool.add(&seed), BatchSize::SmallInput);
    });

    let (scenarios, seeds) = RELEASE;
    let one = pooled(seeds, 400).finish(&meta("one"));
    let all: Vec<Scenario> = (0..scenarios).map(|at| Scenario { id: format!("s{at:02}"), ..one.clone() }).collect();
    let release = file(all.clone());
    let shards: Vec<(String, ResultFile)> = all
        .chunks(all.len().div_ceil(3))
        .enumerate()
        .map(|(at, part)| (format!("{at}"), file(part.to_vec())))
        .collect();
    group.throughput(Throughput::Elements(scenarios * seeds));
    group.bench_function("merge", |bencher| bencher.iter(|| merge(black_box(&shards)).expect("shards of one run")));
    group.bench_function("compare", |bencher| {
        bencher.iter(|| compare(black_box(&release), black_box(&release), &Tolerance::default(), Seeds::Pinned));
    });
    group.bench_function("result.json", |bencher| bencher.iter(|| json::result(black_box(&release))));

    let (seeds, events) = PAGE;
    let pool = pooled(seeds, events);
    let result = file(vec![pool.finish(&meta("page"))]);
    let series = Series::of(&run(1, events));
    let timelines = Timelines {
        schema: SCHEMA.into(),
        scenario: "page".into(),
        seed: 1,
        debug: String::new(),
        run: series.clone(),
        twin: Some(series),
    };
    let page = || {
        let log = hlog::render(&pool, "page");
        let tags = hlog::parse(&log, &result.scenarios[0]).expect("what was just written can be read");
        let spectrum: Vec<_> =
            tags.iter().take(5).map(|(tag, histogram)| (tag.clone(), hlog::spectrum(histogram))).collect();
        let extra = Extra { spectrum, timelines: Some(timelines.clone()), smallest: None };
        html::render(&result, &[("page".to_owned(), extra)].into(), None)
    };
    let bytes = page().len();
    println!("a page of {} latencies: {} KiB", seeds * events, bytes / 1024);
    assert!(bytes < PAGE_BYTES_MAX, "the page has {bytes} bytes, {PAGE_BYTES_MAX} are allowed");
    group.throughput(Throughput::Elements(seeds * events));
    group.sample_size(10);
    group.bench_function("page of 10 M", |bencher| bencher.iter(page));
    group.finish();
    criterion.final_summary();
}
