//! The network's promises, one small script on each of two hosts at a time.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use seaworthy_engine::env::{Env, Fut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{WorldOptions, run_seed};
use crate::plan::{Action, Dist, Link, Ns, Plan, Start, Step};
use crate::sim::recorder::Recorder;
use crate::system::{Boot, BootError, HostSpec, Offer, Offered, System};

pub(super) const MS: Ns = 1_000_000;
pub(super) const SECOND: Ns = 1_000 * MS;

type Script = Arc<dyn Fn(Env, u64, Log) -> Fut<'static, ()> + Send + Sync>;

/// What a script saw, with the world's time in ms.
#[derive(Clone)]
pub(super) struct Log(Arc<Recorder>, Arc<Mutex<Vec<(u64, String)>>>);

impl Log {
    pub(super) fn say(&self, what: impl Into<String>) {
        self.1.lock().unwrap().push((self.0.now_ns() / MS, what.into()));
    }
}

struct Scripts(BTreeMap<&'static str, Script>, Log);

impl System for Scripts {
    fn hosts(&self) -> Vec<HostSpec> {
        self.0.keys().map(|name| HostSpec { name: (*name).into(), disk_bytes: 1 << 20, cores: 1 }).collect()
    }
    fn boot(&self, boot: Boot) -> Fut<'static, Result<(), BootError>> {
        let run = self.0[&*boot.host](boot.env, boot.incarnation, self.1.clone());
        Box::pin(async move {
            run.await;
            std::future::pending().await
        })
    }
    fn stop(&self, _: &str) {}
    fn offer(&self, _: &Env, _: Offer) -> Fut<'static, Offered> {
        Box::pin(async { Offered::Accepted })
    }
    fn quiet(&self) -> bool {
        true
    }
}

/// Runs `a` and `b` under `steps` for `seconds`; what they saw, in order.
#[track_caller]
pub(super) fn run<A, B>(
    seed: u64,
    seconds: u64,
    steps: &[(Ns, Option<Ns>, Action)],
    a: impl Fn(Env, u64, Log) -> A + Send + Sync + 'static,
    b: impl Fn(Env, u64, Log) -> B + Send + Sync + 'static,
) -> Vec<(u64, String)>
where
    A: Future<Output = ()> + Send + 'static,
    B: Future<Output = ()> + Send + 'static,
{
    let recorder = Recorder::new(seed, false);
    let log = Log(recorder.clone(), Arc::default());
    let a: Script = Arc::new(move |env, incarnation, log| Box::pin(a(env, incarnation, log)));
    let b: Script = Arc::new(move |env, incarnation, log| Box::pin(b(env, incarnation, log)));
    let step = |(at_ns, for_ns, action): &(Ns, Option<Ns>, Action)| Step {
        fault: "f".into(),
        start: Start::At { at_ns: *at_ns },
        for_ns: *for_ns,
        action: action.clone(),
    };
    let plan = Plan { seed, steps: steps.iter().map(step).collect(), ..Plan::default() };
    let options = WorldOptions { duration_ns: seconds * SECOND, ..WorldOptions::new(recorder) };
    let outcome =
        run_seed(Box::new(Scripts(BTreeMap::from([("a", a), ("b", b)]), log.clone())), &plan, vec![], options);
    assert_eq!(outcome.violations, []);
    let seen = log.1.lock().unwrap();
    seen.clone()
}

pub(super) fn link() -> Link {
    Link { a: "a".into(), b: "b".into(), one_way: false }
}

pub(super) async fn sleep(env: &Env, ms: u64) {
    env.clock.sleep(ms * MS).await;
}

fn how<T: std::fmt::Debug>(result: io::Result<T>) -> String {
    result.map_or_else(|error| format!("{:?}", error.kind()), |value| format!("{value:?}"))
}

/// Accepts one connection, reads until its end, and tells how it ended.
async fn read_all(env: Env, _: u64, log: Log) {
    let mut stream = env.net.listen("b").await.unwrap().accept().await.unwrap();
    let mut bytes = Vec::new();
    let ended = stream.read_to_end(&mut bytes).await;
    log.say(how(ended));
    std::future::pending::<()>().await;
}

/// Connects, and keeps the connection without a word.
async fn hold(env: Env, incarnation: u64, log: Log) {
    if incarnation == 1 {
        let mut stream = env.net.connect("b").await.unwrap();
        log.say("connected");
        let answer = stream.read_u8().await;
        log.say(how(answer));
    }
    std::future::pending::<()>().await;
}

#[test]
fn bytes_survive_cuts_and_latency_in_order_and_the_window_holds() {
    const BYTES: usize = 3 << 20;
    let byte = |i: usize| (i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()[0];
    let add = Dist::Uniform { from_ns: 0, to_ns: 30 * MS };
    let mut steps = vec![(500 * MS, Some(2 * SECOND), Action::NetLatency { link: link(), add })];
    steps.extend((1..8).map(|i| (i * 300 * MS, Some(170 * MS), Action::NetCut { link: link() })));
    for seed in 1..10 {
        let seen = run(
            seed,
            6,
            &steps,
            move |env, _, log| async move {
                let mut stream = env.net.connect("b").await.unwrap();
                let bytes: Vec<u8> = (0..BYTES).map(byte).collect();
                let mut sent = 0;
                while sent < BYTES {
                    sent += stream.write(&bytes[sent..BYTES.min(sent + 1 + sent % 100_000)]).await.unwrap();
                    if env.clock.mono() < 200 * MS {
                        assert!(sent <= 256 * 1024, "{sent} bytes are out before the first was read");
                    }
                }
                stream.shutdown().await.unwrap();
                // The other direction lives on.
                log.say(how(stream.read_u8().await));
            },
            move |env, _, _| async move {
                let mut stream = env.net.listen("b").await.unwrap().accept().await.unwrap();
                sleep(&env, 200).await;
                let (mut got, mut buf) = (0, vec![0; 50_000]);
                loop {
                    let n = stream.read(&mut buf[..1 + got % 49_999]).await.unwrap();
                    if n == 0 {
                        break;
                    }
                    assert!((0..n).all(|i| buf[i] == byte(got + i)), "wrong bytes behind {got}");
                    got += n;
                }
                assert_eq!(got, BYTES);
                stream.write_u8(7).await.unwrap();
            },
        );
        assert_eq!(seen.iter().map(|(_, what)| &**what).collect::<Vec<_>>(), ["7"]);
    }
}

#[test]
fn connects_are_refused_hang_or_time_out() {
    let dial = |env: Env, _, log: Log| async move {
        log.say(how(env.net.connect("b").await.map(|_| ())));
        sleep(&env, 1000).await;
        log.say(how(env.net.connect("b").await.map(|_| ())));
    };
    let late = |env: Env, _, _| async move {
        sleep(&env, 100).await;
        let mut listener = env.net.listen("b").await.unwrap();
        while listener.accept().await.is_ok() {}
    };
    let seen = run(1, 10, &[(500 * MS, Some(2 * SECOND), Action::NetCut { link: link() })], dial, late);
    assert_eq!(seen, [(2, "ConnectionRefused".into()), (2502, "()".into())]);
    let seen = run(1, 40, &[(500 * MS, Some(30 * SECOND), Action::NetCut { link: link() })], dial, late);
    assert_eq!(seen[1], (21_002, "TimedOut".into()));
}

#[test]
fn a_killed_process_says_goodbye_through_the_gates() {
    let crash = (SECOND, None, Action::HostCrash { host: "a".into(), restart_ns: 100 * MS });
    let seen = run(1, 4, std::slice::from_ref(&crash), hold, read_all);
    assert_eq!(seen[1..], [(1001, "0".into())]);
    let cut = (900 * MS, Some(SECOND), Action::NetCut { link: link() });
    let seen = run(1, 4, &[cut, crash], hold, read_all);
    assert_eq!(seen[1..], [(1900, "0".into())]);
}

#[test]
fn what_a_cut_holds_back_outlives_its_process_but_not_the_power() {
    let send = |env: Env, incarnation, _| async move {
        if incarnation == 1 {
            let mut stream = env.net.connect("b").await.unwrap();
            sleep(&env, 1500).await;
            stream.write_u8(7).await.unwrap();
            std::future::pending::<()>().await;
        }
    };
    let receive = |env: Env, _, log: Log| async move {
        let mut stream = env.net.listen("b").await.unwrap().accept().await.unwrap();
        log.say(how(stream.read_u8().await));
    };
    let cut = (SECOND, Some(2 * SECOND), Action::NetCut { link: link() });
    let (host, restart_ns) = ("a".to_owned(), SECOND);
    let killed = (2 * SECOND, None, Action::HostCrash { host: host.clone(), restart_ns });
    let off = (2 * SECOND, None, Action::HostPowerCut { host, restart_ns });
    assert_eq!(run(1, 5, &[cut.clone(), killed], send, receive), [(3000, "7".into())]);
    assert_eq!(run(1, 5, &[cut, off], send, receive), []);
}

#[test]
fn after_a_power_cut_only_who_speaks_learns_of_it() {
    let cut = |ms| (SECOND, None, Action::HostPowerCut { host: "a".into(), restart_ns: ms * MS });
    let seen = run(1, 40, &[cut(100)], hold, read_all);
    assert_eq!(seen.len(), 1, "a listener hears nothing: {seen:?}");
    let talk = |env: Env, _, log: Log| async move {
        let mut stream = env.net.listen("b").await.unwrap().accept().await.unwrap();
        sleep(&env, 1500).await;
        stream.write_u8(1).await.unwrap();
        let answer = stream.read_u8().await;
        log.say(how(answer));
        log.say(how(stream.write_u8(1).await));
    };
    let reset = [(1506, "ConnectionReset".to_owned()), (1506, "ConnectionReset".to_owned())];
    assert_eq!(run(1, 10, &[cut(100)], hold, talk)[1..], reset);
    // While the machine is still off, the bytes wait for it, as long as the sender's patience.
    assert_eq!(run(1, 10, &[cut(5000)], hold, talk)[1].0, 6001);
    assert_eq!(run(1, 40, &[cut(35_000)], hold, talk)[1], (21_504, "TimedOut".into()));
}

#[test]
fn closing_over_unread_bytes_resets() {
    let rude = |env: Env, _, _| async move {
        let mut stream = env.net.connect("b").await.unwrap();
        sleep(&env, 100).await;
        stream.write_u8(1).await.unwrap();
    };
    let greet = |env: Env, _, log: Log| async move {
        let mut stream = env.net.listen("b").await.unwrap().accept().await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        log.say(how(stream.read_u8().await));
        log.say(how(stream.read_u8().await));
    };
    let seen: Vec<String> = run(1, 2, &[], rude, greet).into_iter().map(|(_, what)| what).collect();
    assert_eq!(seen, ["1", "ConnectionReset"]);
}

#[test]
fn a_route_puts_another_host_between_and_keeps_the_link() {
    let recorder = Recorder::new(1, false);
    let log = Log(recorder.clone(), Arc::default());
    let script = |name: &'static str| -> Script {
        Arc::new(move |env, _, log| {
            Box::pin(async move {
                if name == "a" {
                    sleep(&env, 1500).await;
                    let mut stream = env.net.connect("b").await.unwrap();
                    log.say(how(stream.read_u8().await));
                    return;
                }
                let mut listener = env.net.listen(name).await.unwrap();
                listener.accept().await.unwrap().write_u8(name.as_bytes()[0]).await.unwrap();
            })
        })
    };
    let scripts = ["a", "b", "middle"].map(|name| (name, script(name))).into();
    let start = Start::At { at_ns: SECOND };
    let cut = Step { fault: "f".into(), start, for_ns: Some(SECOND), action: Action::NetCut { link: link() } };
    let plan = Plan { seed: 1, steps: vec![cut], ..Plan::default() };
    let route = crate::sim::net::Route { from: "a".into(), to: "b".into(), via: "middle".into() };
    let options = WorldOptions { duration_ns: 3 * SECOND, routes: vec![route], ..WorldOptions::new(recorder) };
    let outcome = run_seed(Box::new(Scripts(scripts, log.clone())), &plan, vec![], options);
    assert_eq!(outcome.history.applied[0].hits, 1);
    let seen = log.1.lock().unwrap();
    assert!(matches!(&seen[..], [(2000..2010, byte)] if byte == "109"), "`m`, after the cut of a<->b: {seen:?}");
}
