//! Escapes: ways in which software on a simulated host could reach the real machine, each planted in a world of its own.
#![expect(clippy::disallowed_methods, reason = "each of these is an escape, planted to be caught")]

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;

use seaworthy_engine::env::{Env, Fut};
use seaworthy_harness::plan::Plan;
use seaworthy_harness::sim::recorder::Recorder;
use seaworthy_harness::system::{Boot, BootError, HostSpec, Offer, Offered, System};
use seaworthy_harness::world::{WorldOptions, run_seed};

use crate::wires;

/// Names the escape that a child of this test is to make.
const WANTED: &str = "SEAWORTHY_ESCAPE";

type Escape = fn() -> Fut<'static, ()>;

fn at_once(escape: impl FnOnce() + Send + 'static) -> Fut<'static, ()> {
    Box::pin(async move { escape() })
}

/// Twenty ways out.
fn escapes() -> BTreeMap<&'static str, Escape> {
    let all: [(&str, Escape); 20] = [
        ("monotonic_clock", || at_once(|| _ = std::time::Instant::now())),
        ("wall_clock", || at_once(|| _ = std::time::SystemTime::now())),
        ("sleep", || at_once(|| std::thread::sleep(std::time::Duration::from_micros(1)))),
        ("thread", || at_once(|| drop(std::thread::spawn(|| {})))),
        ("blocking_task", || Box::pin(async { drop(tokio::task::spawn_blocking(|| {}).await) })),
        ("random_bytes", || at_once(|| drop(proptest::test_runner::TestRunner::default()))),
        ("read_file", || at_once(|| drop(std::fs::read("/etc/hostname")))),
        ("create_file", || at_once(|| drop(std::fs::File::create("/nonexistent/x")))),
        ("async_file", || Box::pin(async { drop(tokio::fs::read("/etc/hostname").await) })),
        ("list_directory", || at_once(|| drop(std::fs::read_dir("/")))),
        ("make_directory", || at_once(|| drop(std::fs::create_dir("/nonexistent/x")))),
        ("rename_file", || at_once(|| drop(std::fs::rename("/nonexistent/x", "/nonexistent/y")))),
        ("remove_file", || at_once(|| drop(std::fs::remove_file("/nonexistent/x")))),
        ("working_directory", || at_once(|| drop(std::env::current_dir()))),
        ("environment", || at_once(|| drop(std::env::var_os("HOME")))),
        ("tcp_connect", || at_once(|| drop(std::net::TcpStream::connect("127.0.0.1:1")))),
        ("async_connect", || Box::pin(async { drop(tokio::net::TcpStream::connect("127.0.0.1:1").await) })),
        ("udp_socket", || at_once(|| drop(std::net::UdpSocket::bind("127.0.0.1:0")))),
        ("look_up_name", || at_once(|| drop(std::net::ToSocketAddrs::to_socket_addrs("localhost:1")))),
        ("process", || at_once(|| drop(Command::new("true").status()))),
    ];
    BTreeMap::from(all)
}

/// Software that leaves its world a moment after its boot.
struct Runaway(Escape);

impl System for Runaway {
    fn hosts(&self) -> Vec<HostSpec> {
        vec![HostSpec { name: "edge".to_owned(), disk_bytes: 1 << 20, cores: 1 }]
    }

    fn boot(&self, boot: Boot) -> Fut<'static, Result<(), BootError>> {
        let escape = self.0;
        Box::pin(async move {
            boot.env.clock.sleep(5_000_000).await;
            // In a task of its own, as most software has some.
            let escaped = tokio::spawn(escape());
            drop(escaped.await);
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

/// Runs in a child of the test below, and not by itself.
#[test]
fn child() {
    let Some(wanted) = std::env::var_os(WANTED) else { return };
    let escapes = escapes();
    let escape = escapes[wanted.to_str().expect("a name of the list")];
    wires::arm();
    let options = WorldOptions { duration_ns: 50_000_000, warmup_ns: 0, ..WorldOptions::new(Recorder::new(1, false)) };
    let plan = Plan { seed: 1, ..Plan::default() };
    drop(run_seed(Box::new(Runaway(escape)), &plan, Vec::new(), options));
}

#[test]
fn every_escape_ends_its_program_with_a_backtrace() {
    let binary = Arc::new(std::env::current_exe().expect("this test is a program"));
    let mut missed = Vec::new();
    for name in escapes().into_keys() {
        let child =
            Command::new(&*binary).args(["--exact", "escapes::child", "--nocapture"]).env(WANTED, name).output();
        let output = child.expect("this program runs again");
        let said = String::from_utf8_lossy(&output.stderr);
        let told = said.contains("tripwire: a simulated host reached") && said.contains("escapes.rs");
        if output.status.success() || !told {
            missed.push(format!("{name}: {}\n{said}", output.status));
        }
    }
    assert!(missed.is_empty(), "{} of 20 were missed:\n{}", missed.len(), missed.join("\n"));
}
