//! A build that sends one message more meets the same seeds: of two results of a scenario no figure differs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use seaworthy_engine::env::{Env, Fut, Stream};
use seaworthy_harness::own;
use seaworthy_harness::parallel::in_parallel_then;
use seaworthy_harness::scenario::{Sources, World, WorldNode, load};
use seaworthy_harness::sim::recorder::Recorder;
use seaworthy_harness::system::{Boot, BootError, HostSpec, Offer, Offered, System};
use seaworthy_reports::compare::{Seeds, Tolerance, Word, compare};
use seaworthy_reports::pool::{Pool, ScenarioMeta};
use seaworthy_reports::result::{ResultFile, Time};
use seaworthy_reports::run::{Answer, AtSink, EventRun, Fate, SeedRun};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Seeds of each build.
const SEEDS: u64 = 200;

const SCENARIO: &str = r#"
why   = "one message more"
graph = "none"
load  = { into = "load.ops", rate = "40/s", json = { a = "key(3)" } }
sim   = { duration = "10s", warmup = "1s" }

[faults.late]
kind = "net.latency"
on   = "load<->server"
at   = "1s"
for  = "6s"
add  = "uniform(1ms, 60ms)"

[faults.lossy]
kind  = "net.loss"
on    = "load<->server"
at    = "4s"
for   = "3s"
ratio = 0.2
"#;

/// What the load and the talker send their messages to, and that answers each.
struct Answers {
    recorder: Arc<Recorder>,
    sends_one_more: bool,
    busy: Arc<AtomicU64>,
}

async fn ask(env: &Env, number: u64) -> std::io::Result<u64> {
    let mut stream = env.net.connect("server").await?;
    stream.write_u64(number).await?;
    stream.read_u64().await
}

async fn answer(mut stream: Box<dyn Stream>) -> std::io::Result<()> {
    let number = stream.read_u64().await?;
    stream.write_u64(number).await
}

impl System for Answers {
    fn hosts(&self) -> Vec<HostSpec> {
        ["server", "talker"].map(|name| HostSpec { name: name.into(), disk_bytes: 1 << 20, cores: 1 }).into()
    }

    fn boot(&self, boot: Boot) -> Fut<'static, Result<(), BootError>> {
        let talks = self.sends_one_more;
        Box::pin(async move {
            let failed =
                |error: std::io::Error| BootError { host: "server".into(), message: error.to_string(), exit: 74 };
            if boot.host == "server" {
                let mut listener = boot.env.net.listen("server").await.map_err(failed)?;
                loop {
                    let stream = listener.accept().await.map_err(failed)?;
                    tokio::spawn(answer(stream));
                }
            }
            if talks {
                boot.env.clock.sleep(2_000_000_000).await;
                ask(&boot.env, 0).await.map_err(failed)?;
            }
            std::future::pending().await
        })
    }

    fn stop(&self, _host: &str) {}

    fn offer(&self, env: &Env, offer: Offer) -> Fut<'static, Offered> {
        let (env, recorder, busy) = (env.clone(), self.recorder.clone(), self.busy.clone());
        busy.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            let answered = ask(&env, offer.seq.0).await;
            busy.fetch_sub(1, Ordering::Relaxed);
            if answered.is_err() {
                return Offered::Indeterminate;
            }
            recorder.effect("load.ops", &offer.draft.packet_id, None, offer.draft.payload);
            Offered::Accepted
        })
    }

    fn quiet(&self) -> bool {
        self.busy.load(Ordering::Relaxed) == 0
    }
}

/// A seed as the reports take it.
fn run(seed: u64, sends_one_more: bool) -> SeedRun {
    let node = WorldNode {
        host: "load".into(),
        node: "ops".into(),
        source: true,
        sink: false,
        handles: false,
        stateful: false,
        plugin_is_here: true,
    };
    let hosts = ["server", "talker", "load"].map(str::to_owned).into();
    let world = World { hosts, nodes: vec![node], channels: Vec::new() };
    let scenario = load(&Sources::new("more.toml", SCENARIO), &world).expect("it is a whole scenario");
    let outcome = own::run(&scenario, seed, |recorder| {
        Box::new(Answers { recorder: recorder.clone(), sends_one_more, busy: Arc::default() })
    });
    assert_eq!(outcome.violations, [], "seed {seed}");
    let history = &outcome.history;
    let events = history.offers.iter().map(|offer| {
        let seen = history.effects.iter().find(|effect| *effect.packet_id == *offer.packet_id);
        let at = AtSink {
            sink: 0,
            fate: if seen.is_some() { Fate::Visible } else { Fate::Lost },
            visible_ns: seen.map(|effect| effect.at_ns),
            expected: 1,
            copies: 1,
            raw_copies: 1,
            planted: false,
            again_ns: None,
        };
        EventRun {
            event: (offer.entry.clone(), offer.seq.0),
            intended_ns: offer.intended_ns,
            accepted_ns: offer.accepted_ns,
            answer: Answer::Accepted,
            at: vec![at],
        }
    });
    SeedRun {
        seed,
        trace_hash: format!("{:?}", outcome.trace.hash),
        warmup_ns: history.warmup_ns,
        load_end_ns: history.load_end_ns,
        end_ns: history.end_ns,
        drained: history.drained,
        batch: 1,
        sinks: vec!["load.ops".into()],
        events: events.collect(),
        ..SeedRun::default()
    }
}

#[test]
fn one_message_more_changes_no_figure_on_the_same_seeds() {
    let result = |sends_one_more| {
        let mut pool = Pool::default();
        let seeds: Vec<u64> = (1..=SEEDS).collect();
        let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        in_parallel_then(&seeds, jobs, |seed| run(*seed, sends_one_more), |_, run| pool.add(&run));
        let meta = ScenarioMeta { id: "more".into(), hash: "0".into(), checks: 1, ..ScenarioMeta::default() };
        ResultFile::new("", Time::Virtual, 1, vec![pool.finish(&meta)])
    };
    let (base, head) = (result(false), result(true));
    let hashes =
        |file: &ResultFile| file.scenarios[0].seeds.iter().map(|seed| seed.trace_hash.clone()).collect::<Vec<_>>();
    assert_ne!(hashes(&base), hashes(&head), "it was not sent");
    let p99: Vec<_> = base.scenarios[0].seeds.iter().map(|seed| &seed.p99_ms).collect();
    assert!(p99.windows(2).any(|two| two[0] != two[1]), "the faults' draws show in nothing: {p99:?}");
    let compared = compare(&base, &head, &Tolerance::default(), Seeds::Pinned);
    let scenario = &compared.scenarios[0];
    assert_eq!((scenario.word, &scenario.deltas[..]), (Word::Equivalent, &[][..]));
    assert!(scenario.compared > 20 && scenario.signs.same == SEEDS, "{scenario:?}");
}
