//! Edge and hub in two network namespaces, as on two machines, under TLS, with a link that is cut for a while.
#![expect(clippy::disallowed_methods, reason = "tests of real processes wait for real")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::keys::Keyring;
use super::run::{Running, signal, until};
use super::story::Story;
use super::{frames, not_run};

const HUB: &str = "10.231.77.1";
const EDGE: &str = "10.231.77.2";

/// Two namespaces joined by a pair of virtual cards; gone with this value.
struct Machines {
    hub: String,
    edge: String,
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let said = |output: &std::process::Output| String::from_utf8_lossy(&output.stderr).trim().to_owned();
    match Command::new("ip").args(arguments).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("ip {}: {}", arguments.join(" "), said(&output))),
        Err(error) => Err(format!("ip: {error}")),
    }
}

impl Machines {
    fn make() -> Result<Machines, String> {
        let id = std::process::id();
        let machines = Machines { hub: format!("swh{id}"), edge: format!("swe{id}") };
        let (hub, edge) = (machines.hub.as_str(), machines.edge.as_str());
        ip(&["netns", "add", hub])?;
        ip(&["netns", "add", edge])?;
        ip(&["-n", hub, "link", "add", "lan", "type", "veth", "peer", "name", "lan", "netns", edge])?;
        for (name, address) in [(hub, HUB), (edge, EDGE)] {
            ip(&["-n", name, "addr", "add", &format!("{address}/24"), "dev", "lan"])?;
            ip(&["-n", name, "link", "set", "lan", "up"])?;
            ip(&["-n", name, "link", "set", "lo", "up"])?;
        }
        Ok(machines)
    }

    /// `inner` on one of the machines.
    fn on(name: &str, inner: &Command) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", name]).arg(inner.get_program()).args(inner.get_args());
        command
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for name in [&self.hub, &self.edge] {
            // One that was never made can't be removed either.
            let _ = ip(&["netns", "del", name]);
        }
    }
}

/// A source that has ended long before the hub is there: the edge stays until the hub has everything.
#[test]
fn an_edge_outlives_its_input_until_the_hub_has_it_all() {
    let story = Story::new(1, 100);
    let mut edge = story.command();
    // Free until just now; a stranger who takes it would fail this test, not pass it.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    edge.args(["--only", "edge", "--peer", &format!("hub={address}")]);
    let mut edge = Running::start(edge);
    until(&mut edge, "it finds no hub", |edge| edge.has_said("the lane is down"));
    std::thread::sleep(Duration::from_millis(1_000));
    assert!(!edge.has_ended(), "it left with its outbox full\n{}", edge.said());
    let mut hub = story.command();
    hub.args(["--only", "hub", "--listen", &address.to_string()]);
    let mut hub = Running::start(hub);
    assert_eq!(edge.code(), Some(0), "{}", edge.said());
    let (out, all) = (story.path("out"), (story.expected.quakes(), story.expected.windows()));
    until(&mut hub, "all of it", |_| {
        lines(&out.join("raw.ndjson")) >= all.0 && lines(&out.join("windows.ndjson")) >= all.1
    });
    signal(hub.pid(), Signal::TERM);
    assert_eq!(hub.code(), Some(0), "{}", hub.said());
    story.check_sinks(&out);
}

/// Lines that are there so far.
fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).map_or(0, |text| text.matches('\n').count())
}

#[test]
fn network_namespaces() {
    let machines = match Machines::make() {
        Ok(machines) => machines,
        Err(why) => return not_run("network_namespaces", &why),
    };
    let story = Story::new(1, 4_000);
    let port = 7070;
    let mut hub = story.command();
    hub.args(["--only", "hub", "--listen", &format!("{HUB}:{port}")]);
    let mut refused = Running::start(Machines::on(&machines.hub, &hub));
    assert_eq!(refused.code(), Some(2), "{}", refused.said());
    assert!(refused.has_said("will not carry packets in the clear"), "{}", refused.said());
    let keyring = Keyring::of(&["edge", "hub"]);
    hub.arg("--keys").arg(keyring.dir());
    let mut hub = Running::start(Machines::on(&machines.hub, &hub));
    let mut edge = story.command();
    edge.args(["--only", "edge", "--peer", &format!("hub={HUB}:{port}"), "--keys"]).arg(keyring.dir());
    let mut edge = Running::start(Machines::on(&machines.edge, &edge));
    let raw = story.path("out/raw.ndjson");
    until(&mut hub, "the first quakes", |_| lines(&raw) > 50);
    ip(&["-n", &machines.edge, "link", "set", "lan", "down"]).unwrap();
    std::thread::sleep(Duration::from_millis(1_500));
    ip(&["-n", &machines.edge, "link", "set", "lan", "up"]).unwrap();
    let cut_at = lines(&raw);
    assert_eq!(edge.code(), Some(0), "{}", edge.said());
    let windows = story.path("out/windows.ndjson");
    let all = |_: &mut Running| lines(&raw) >= story.expected.quakes() && lines(&windows) >= story.expected.windows();
    until(&mut hub, "all of it", all);
    signal(hub.pid(), Signal::TERM);
    assert_eq!(hub.code(), Some(0), "{}", hub.said());
    let repeats = story.check_sinks(&story.path("out"));
    let stored = frames::read(&story.path("data/hub")).check_once("channel/uplink");
    eprintln!(
        "network_namespaces: cut for 1.5 s after {cut_at} quakes; 0 of {stored} lost; repeats: {} raw, {} windows",
        repeats.raw, repeats.windows
    );
    assert_eq!(stored, story.expected.quakes());
}
