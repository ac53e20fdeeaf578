//! The canary: a system that is not deterministic on purpose. Two runs of one seed must be told apart by their traces.

use std::sync::Arc;

use bytes::Bytes;
use seaworthy_engine::env::{Env, Fut};

use super::{WorldOptions, run_seed};
use crate::plan::Plan;
use crate::sim::recorder::Recorder;
use crate::sim::trace::{Kind, Trace, first_difference};
use crate::system::{Boot, BootError, HostSpec, Offer, Offered, System};

/// Where a system may take a number from, and where it must not.
#[derive(Clone, Copy)]
enum Number {
    /// The simulated clock.
    Env,
    /// The machine that the simulation runs on.
    RealClock,
    /// The allocator's choice.
    Address,
}

impl Number {
    fn take(self, env: &Env) -> u128 {
        match self {
            Number::Env => env.clock.unix_ns().unsigned_abs().into(),
            Number::RealClock => std::time::UNIX_EPOCH.elapsed().expect("it is past 1970").as_nanos(),
            // Never freed, so the next one lies elsewhere.
            Number::Address => std::ptr::from_ref(Box::leak(Box::new(1_u8))).addr() as u128,
        }
    }
}

/// One host that makes a number visible after a second.
struct Canary(Arc<Recorder>, Number);

impl System for Canary {
    fn hosts(&self) -> Vec<HostSpec> {
        vec![HostSpec { name: "cage".into(), disk_bytes: 1 << 20, cores: 1 }]
    }
    fn boot(&self, boot: Boot) -> Fut<'static, Result<(), BootError>> {
        let (endpoint, number) = (self.0.endpoint("cage.out", "cage", boot.incarnation), self.1);
        Box::pin(async move {
            boot.env.clock.sleep(1_000_000_000).await;
            endpoint.effect("song", None, Bytes::from(number.take(&boot.env).to_string()));
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

fn run(number: Number) -> Trace {
    let recorder = Recorder::new(7, true);
    let plan = Plan { seed: 7, ..Plan::default() };
    let options = WorldOptions { duration_ns: 2_000_000_000, ..WorldOptions::new(recorder.clone()) };
    run_seed(Box::new(Canary(recorder, number)), &plan, vec![], options).trace
}

#[test]
fn a_number_from_outside_the_world_is_caught_where_it_enters() {
    for number in [Number::RealClock, Number::Address] {
        let (one, two) = (run(number), run(number));
        assert_ne!(one.hash, two.hash);
        let (one, two) = first_difference(&one.records, &two.records).expect("the numbers differ");
        let (one, two) = (one.expect("both runs get there"), two.expect("both runs get there"));
        assert_eq!((one.kind, two.kind), (Kind::Effect as u16, Kind::Effect as u16));
        assert_eq!((one.at_ns, one.seq, one.a), (two.at_ns, two.seq, two.a));
        assert_ne!(one.b, two.b);
    }
}

#[test]
fn a_number_from_the_world_is_not() {
    assert_eq!(first_difference(&run(Number::Env).records, &run(Number::Env).records), None);
}
