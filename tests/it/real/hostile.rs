//! Peers that have keys and misuse them, against real processes: nothing is lost, nothing invalid is taken, memory stays.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests of real processes read real files and wait for real; a failure is the test\'s"
)]

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use hyper_util::rt::TokioIo;
use rustix::process::Signal;
use seaworthy_engine::env::Net;
use seaworthy_engine::journal::segment::{self, Sector};
use seaworthy_engine::lane::protocol::v1::lane_client::LaneClient;
use seaworthy_engine::lane::protocol::v1::lane_server::Lane;
use seaworthy_engine::lane::protocol::v1::{
    Ack, FromDesk, FromHost, FromMember, FromProducer, Hello, Opened, ProtocolRange, RefuseCode, Welcome, from_host,
    from_producer,
};
use seaworthy_engine::lane::{Mailbox, protocol, wire};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::transport::Endpoint;
use tonic::{Request, Response, Status, Streaming};

use super::keys::Keyring;
use super::peer::{self, Peer, block_on, publish};
use super::run::{Running, signal, until};
use super::story::Story;
use super::{frames, tls};

/// What a hub that was attacked may have needed at its worst, in KiB; the quakes alone take about a third.
const MEMORY_KIB_MAX: u64 = 192 * 1024;
/// Far more than any of these takes.
const SOON: Duration = Duration::from_secs(30);

async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, work).await.unwrap_or_else(|_| panic!("took too long: {what}"))
}

fn memory_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}

/// All that breaks the protocol before a packet could be taken.
async fn break_the_protocol(keyring: &Keyring, address: SocketAddr) {
    let edge = peer::net("edge", Some(&keyring.dir()), None, Some(address));
    let protocol = Some(ProtocolRange { min: 3, max: 3 });
    let mut later = Peer::greet(&edge, Hello { protocol, ..peer::hello(&edge, "edge", 1) }).await.unwrap();
    let refuse = soon("a refusal", later.refused()).await;
    assert_eq!((refuse.code(), refuse.protocol), (RefuseCode::Version, Some(protocol::PROTOCOL)));
    soon("an end", later.ended()).await;

    let huge = || vec![Bytes::from(vec![0; 64 << 20])];
    let mut large = Peer::greet(&edge, peer::hello(&edge, "edge", 1)).await.unwrap();
    large.welcomed().await;
    large.send(publish(1, 1, huge()));
    let error = soon("an end", large.ended()).await;
    assert!(format!("{error:?}").contains("message length too large"), "{error:?}");

    // Garbage inside TLS and outside.
    let plaintext = peer::net("edge", None, None, Some(address));
    for net in [&edge, &plaintext] {
        let mut stream = net.connect("hub").await.unwrap();
        let _ = stream.write_all(&[0xa5; 4096]).await;
        let _ = stream.flush().await;
        let _ = soon("the end of a line of garbage", stream.read_to_end(&mut Vec::new())).await;
    }
    stop_reading(&edge).await;
}

/// Talks without ever reading an answer, with a window that a few of them fill.
async fn stop_reading(edge: &impl Net) {
    let mut stream = Some(TokioIo::new(edge.connect("hub").await.unwrap()));
    let once =
        tower::service_fn(move |_: http::Uri| std::future::ready(Ok::<_, std::io::Error>(stream.take().unwrap())));
    let endpoint = Endpoint::from_static("http://lane").initial_stream_window_size(200);
    let mut client = LaneClient::new(endpoint.connect_with_connector(once).await.unwrap());
    let mailbox = Mailbox::default();
    let say = |message| mailbox.push(0, None, protocol::from_producer(message));
    let hello =
        Hello { protocol: Some(protocol::PROTOCOL), process: "edge".into(), channels: vec![], token: edge.token() };
    say(from_producer::Message::Hello(hello));
    let mut inbound = client.carry(mailbox.outgoing(|| 0)).await.unwrap().into_inner();
    // Each Ping is answered; the window takes about twenty answers, and then the host has 5 s of patience.
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        say(from_producer::Message::Ping(protocol::v1::Ping { nonce: 1 }));
    }
    let mut read = 0;
    let ended = soon("the end of a peer that doesn't read", async {
        while let Ok(Some(_)) = inbound.message().await {
            read += 1;
        }
    });
    ended.await;
    assert!(read < 40, "{read} messages were kept for it");
}

/// Old epochs and forged packets, once the hub holds `last` of an edge's `journal`.
async fn forge(keyring: &Keyring, address: SocketAddr, journal: u128, last: u64) {
    let edge = peer::net("edge", Some(&keyring.dir()), None, Some(address));
    let hello = |epoch, journal: u128| {
        let mut hello = peer::hello(&edge, "edge", epoch);
        hello.channels[0].journal = Bytes::copy_from_slice(&journal.to_be_bytes());
        hello
    };
    let mut replaced = Peer::greet(&edge, hello(1, journal + 1)).await.unwrap();
    assert_eq!(replaced.welcomed().await, 0, "another journal is another count");
    let mut newer = Peer::greet(&edge, hello(9, journal)).await.unwrap();
    assert_eq!(newer.welcomed().await, last);
    let mut older = Peer::greet(&edge, hello(3, journal)).await.unwrap();
    let refuse = soon("a refusal", older.refused()).await;
    assert_eq!((refuse.code(), refuse.found, refuse.expected), (RefuseCode::Fenced, 3, 9));
    older.send(publish(3, last + 1, vec![Bytes::from_static(b"old")]));
    soon("an end", older.ended()).await;
    newer.ping();
    newer.send(publish(9, last, vec![Bytes::from_static(b"another packet under a number that is taken")]));
    let refuse = soon("a refusal", newer.refused()).await;
    assert_eq!((refuse.code(), refuse.expected), (RefuseCode::Duplicate, last + 1));
    newer.send(publish(9, last + 5, vec![Bytes::from_static(b"gap")]));
    let gap = loop {
        match soon("a refusal", newer.next()).await.unwrap() {
            Some(from_host::Message::Refuse(refuse)) => break refuse,
            Some(from_host::Message::Ack(ack)) => assert_eq!(ack.upto, last),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((gap.code(), gap.found, gap.expected), (RefuseCode::OutOfSequence, last + 5, last + 1));
}

/// Which journal lies in a data directory.
fn journal_of(dir: &Path) -> u128 {
    let headers = fs::read_dir(dir).unwrap().filter_map(|entry| {
        let path = entry.unwrap().path();
        let number = segment::number(path.file_name()?.to_str()?)?;
        match segment::decode(number, &fs::read(path).unwrap().into()) {
            Sector::Header(header) => Some(header.journal),
            Sector::Unused | Sector::Version(_) => None,
        }
    });
    headers.last().unwrap()
}

#[test]
fn a_hub_outlives_peers_that_misuse_their_keys() {
    let story = Story::new(1, 3_000);
    let keyring = Keyring::of(&["edge", "hub"]);
    let (mut hub, address) = tls::hub(&story, Some(&keyring.dir()));
    block_on(break_the_protocol(&keyring, address));
    let mut edge = tls::edge(&story, Some(&keyring.dir()), address);
    assert_eq!(edge.code(), Some(0), "{}", edge.said());
    let stored = story.expected.quakes();
    block_on(forge(&keyring, address, journal_of(&story.path("data/edge")), stored as u64));
    assert!(!hub.has_ended(), "{}", hub.said());
    let memory = memory_kib(hub.pid());
    assert!(memory < MEMORY_KIB_MAX, "the hub needed {memory} KiB");
    let windows = story.path("out/windows.ndjson");
    let lines = || fs::read_to_string(&windows).map_or(0, |text| text.lines().count());
    until(&mut hub, "all windows", |_| lines() >= story.expected.windows());
    signal(hub.pid(), Signal::TERM);
    assert_eq!(hub.code(), Some(0), "{}", hub.said());
    story.check_sinks(&story.path("out"));
    assert_eq!(frames::read(&story.path("data/hub")).check_once("channel/uplink"), stored);
    assert!(!hub.said().contains("panicked"), "{}", hub.said());
}

/// A host that acks whatever it likes.
struct Forger;

#[tonic::async_trait]
impl Lane for Forger {
    type CarryStream = Pin<Box<dyn Stream<Item = Result<FromHost, Status>> + Send>>;
    type TakeStream = futures_util::stream::Pending<Result<FromDesk, Status>>;

    async fn take(&self, _: Request<Streaming<FromMember>>) -> Result<Response<Self::TakeStream>, Status> {
        Ok(Response::new(futures_util::stream::pending()))
    }

    async fn carry(&self, _: Request<Streaming<FromProducer>>) -> Result<Response<Self::CarryStream>, Status> {
        let channel = || "uplink".to_owned();
        let channels = vec![Opened { channel: channel(), last: 0, credits: Some(protocol::CREDITS), lost: false }];
        let welcome = Welcome { protocol: 1, process: "hub".into(), channels };
        let forged = Ack { channel: channel(), upto: 1_000_000, credits: None };
        let messages = [from_host::Message::Welcome(welcome), from_host::Message::Ack(forged)];
        let messages: Vec<_> = messages.into_iter().map(|message| Ok(protocol::from_host(message))).collect();
        Ok(Response::new(Box::pin(futures_util::stream::iter(messages).chain(futures_util::stream::pending()))))
    }
}

#[test]
fn an_edge_does_not_believe_acks_of_what_it_never_sent() {
    let story = Story::new(1, 500);
    let keyring = Keyring::of(&["edge", "hub"]);
    let mut edge = None;
    let address = block_on(async {
        let net = peer::net("hub", Some(&keyring.dir()), Some("127.0.0.1:0".parse().unwrap()), None);
        let (address, clock) = (net.bound().unwrap(), peer::clock());
        edge = Some(tls::edge(&story, Some(&keyring.dir()), address));
        let edge = edge.as_mut().unwrap();
        let began = Instant::now();
        let seen = async {
            while !edge.has_said("acked what was not sent") {
                assert!(began.elapsed() < SOON, "{}", edge.said());
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            biased;
            ended = wire::serve(&net, &clock, "hub", Forger) => panic!("{:?}", ended.map(drop)),
            () = seen => address,
        }
    });
    // The real hub, at the same address, gets everything.
    let mut hub = story.command();
    hub.args(["--only", "hub", "--listen", &address.to_string(), "--keys"]).arg(keyring.dir());
    let mut hub = Running::start(hub);
    let mut edge = edge.unwrap();
    assert_eq!(edge.code(), Some(0), "{}", edge.said());
    let windows = story.path("out/windows.ndjson");
    let lines = || fs::read_to_string(&windows).map_or(0, |text| text.lines().count());
    until(&mut hub, "all windows", |_| lines() >= story.expected.windows());
    signal(hub.pid(), Signal::TERM);
    assert_eq!(hub.code(), Some(0), "{}", hub.said());
    story.check_sinks(&story.path("out"));
}
