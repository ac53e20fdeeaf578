//! The lane's two ends against each other over streams that break, and each end against a peer that misbehaves.

mod world;

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tonic::{Request, Response, Status, Streaming};

use super::protocol::v1::{self, RefuseCode, from_host, from_producer, lane_server::Lane};
use super::protocol::{self, PROTOCOL};
use super::{Inlet, LaneError, Mailbox, Outbox, client, server, wire};
use crate::env::Clock;
use crate::packet::Seq;
use world::{Breaks, MS, Source, Store, Tap, Uplink, World, packet, run};

fn host(world: &World, store: &Arc<Store>) -> JoinHandle<()> {
    let inlets: Vec<Arc<dyn Inlet>> = vec![Arc::new(Uplink(store.clone()))];
    let running = server::run(world.env.clone(), "hub".into(), inlets, Vec::new());
    tokio::spawn(async move {
        let Err(error) = running.await;
        panic!("{error}");
    })
}

fn produce(world: &World, source: &Arc<Source>) -> JoinHandle<()> {
    let outboxes: Vec<Arc<dyn Outbox>> = vec![Arc::new(Tap(source.clone()))];
    let running = client::run(world.env.clone(), "hub".into(), "edge".into(), outboxes);
    tokio::spawn(async move { match running.await {} })
}

async fn until_settled(world: &World, source: &Source) {
    while source.settled() < source.end.load(SeqCst) {
        world.sleep_ms(5).await;
    }
}

/// Each packet once, in order, with the epoch in which it entered.
#[track_caller]
fn check_stored(store: &Store, source: &Source) {
    let state = store.state.lock().unwrap();
    assert_eq!(state.packets.len() as u64, source.end.load(SeqCst));
    for (i, (entered, bytes)) in state.packets.iter().enumerate() {
        let seq = Seq(i as u64 + 1);
        assert_eq!((*entered, bytes), (source.entered(seq), &packet(seq)), "packet {seq}");
    }
}

#[test]
fn a_hundred_thousand_packets_pass_through_breaks_restarts_and_full_disks() {
    run(1, |world| async move {
        *world.net.breaks.lock().unwrap() = Breaks::Reset(300_000);
        let store = Store::new(&world, 2 * MS);
        let source = Source::new(&store, 2, 100_000);
        let mut hub = host(&world, &store);
        let _edge = produce(&world, &source);
        let mut turns = 0;
        while until_settled(&world, &source).now_or_never().is_none() {
            world.sleep_ms(47).await;
            turns += 1;
            store.set_full(turns % 5 == 3);
            if turns % 7 == 4 {
                hub.abort();
                store.crash();
                world.sleep_ms(20).await;
                hub = host(&world, &store);
            }
        }
        check_stored(&store, &source);
        let connects = world.net.connects.load(SeqCst);
        assert!(connects > 20 && turns > 10, "only {connects} connections in {turns} turns");
        assert!(world.refusals.count("lane.full") > 0);
    });
}

#[test]
fn what_found_room_is_not_offered_again_with_the_rest() {
    run(9, |world| async move {
        let store = Store::new(&world, 2 * MS);
        let source = Source::new(&store, 1, 2_000);
        store.set_full(true);
        let _hub = host(&world, &store);
        world.sleep_ms(1).await;
        let _edge = produce(&world, &source);
        world.sleep_ms(10_000).await;
        let held = store.state.lock().unwrap().packets.len();
        assert!(held > 3, "{held} packets, one a try");
        store.set_full(false);
        until_settled(&world, &source).await;
        check_stored(&store, &source);
        assert_eq!(store.state.lock().unwrap().again, 0);
        assert_eq!(world.refusals.count("lane.duplicate"), 0);
    });
}

#[test]
fn appends_fly_together_so_that_group_commit_can_work() {
    run(2, |world| async move {
        let store = Store::new(&world, 10 * MS);
        let source = Source::new(&store, 1, 40_960);
        let _hub = host(&world, &store);
        world.sleep_ms(1).await;
        let _edge = produce(&world, &source);
        until_settled(&world, &source).await;
        check_stored(&store, &source);
        // 160 batches of 256 one after the other would take 1,600 ms of commits alone.
        assert!(world.ms() < 250, "{} ms", world.ms());
    });
}

#[test]
fn a_half_open_connection_is_found_and_replaced() {
    run(3, |world| async move {
        *world.net.breaks.lock().unwrap() = Breaks::Stall(20_000);
        let store = Store::new(&world, MS);
        let source = Source::new(&store, 1, 1_000);
        let _hub = host(&world, &store);
        world.sleep_ms(1).await;
        let _edge = produce(&world, &source);
        world.sleep_ms(2_000).await;
        assert_eq!(world.net.connects.load(SeqCst), 1);
        assert!(source.settled() < 1_000);
        *world.net.breaks.lock().unwrap() = Breaks::Never;
        until_settled(&world, &source).await;
        check_stored(&store, &source);
        assert_eq!(world.net.connects.load(SeqCst), 2);
        assert!((5_000..7_000).contains(&world.ms()), "{} ms", world.ms());
        // An idle connection that pings stays.
        world.sleep_ms(60_000).await;
        assert_eq!(world.net.connects.load(SeqCst), 2);
    });
}

#[test]
fn a_lane_waits_for_its_host_and_carries_what_comes_later() {
    run(4, |world| async move {
        let store = Store::new(&world, MS);
        let source = Source::new(&store, 1, 10);
        let _edge = produce(&world, &source);
        world.sleep_ms(30_000).await;
        let connects = world.net.connects.load(SeqCst);
        assert!((30..70).contains(&connects), "{connects} attempts in 30 s");
        let _hub = host(&world, &store);
        until_settled(&world, &source).await;
        for more in 0..50 {
            source.end.fetch_add(more, SeqCst);
            source.grew.notify_waiters();
            world.sleep_ms(700).await;
        }
        until_settled(&world, &source).await;
        check_stored(&store, &source);
        assert_eq!(world.net.connects.load(SeqCst), connects + 1);
    });
}

#[test]
fn the_same_inputs_put_the_same_bytes_on_the_wire() {
    let bytes = |seed| {
        run(seed, |world| async move {
            *world.net.breaks.lock().unwrap() = Breaks::Reset(100_000);
            let store = Store::new(&world, MS);
            let source = Source::new(&store, 2, 5_000);
            let _hub = host(&world, &store);
            world.sleep_ms(1).await;
            let _edge = produce(&world, &source);
            until_settled(&world, &source).await;
            world.net.tap.lock().unwrap().clone()
        })
    };
    let (one, two) = (bytes(5), bytes(5));
    assert!(one.len() > 100_000);
    assert!(one == two, "{} and {} bytes", one.len(), two.len());
}

/// A peer of the host, by hand.
struct Peer {
    mailbox: Mailbox<v1::FromProducer>,
    inbound: Streaming<v1::FromHost>,
    date: String,
}

impl Peer {
    async fn greet(world: &World, hello: v1::Hello) -> Peer {
        let (client, _) = wire::dial(&*world.net, &world.env.clock, "hub").await.unwrap();
        let mailbox = Mailbox::default();
        mailbox.push(0, None, protocol::from_producer(from_producer::Message::Hello(hello)));
        let mut client = client.max_encoding_message_size(usize::MAX);
        let answered = client.carry(mailbox.outgoing(|| 0)).await.unwrap();
        let date = answered.metadata().get("date").unwrap().to_str().unwrap().to_owned();
        Peer { mailbox, inbound: answered.into_inner(), date }
    }

    fn send(&self, message: from_producer::Message) {
        self.mailbox.push(0, None, protocol::from_producer(message));
    }

    /// The next message that is not a heartbeat; `None` at a clean end.
    async fn next(&mut self) -> Result<Option<from_host::Message>, Status> {
        loop {
            match self.inbound.message().await?.map(|message| message.message.unwrap()) {
                Some(from_host::Message::Ping(_) | from_host::Message::Pong(_)) => {}
                other => return Ok(other),
            }
        }
    }

    async fn welcome(&mut self) -> v1::Welcome {
        match self.next().await.unwrap() {
            Some(from_host::Message::Welcome(welcome)) => welcome,
            other => panic!("{other:?}"),
        }
    }

    async fn refused(&mut self) -> v1::Refuse {
        match self.next().await.unwrap() {
            Some(from_host::Message::Refuse(refuse)) => refuse,
            other => panic!("{other:?}"),
        }
    }

    /// How the host ended the stream.
    async fn ended(&mut self) -> Status {
        loop {
            match self.next().await {
                Ok(Some(_)) => {}
                Ok(None) => return Status::ok(""),
                Err(status) => return status,
            }
        }
    }
}

fn hello(epoch: u64) -> v1::Hello {
    let channels = vec![v1::Opening { channel: "uplink".into(), epoch, journal: Bytes::new() }];
    v1::Hello { protocol: Some(PROTOCOL), process: "edge".into(), channels, token: Bytes::new() }
}

fn publish(epoch: u64, first: u64, packets: Vec<Bytes>) -> from_producer::Message {
    from_producer::Message::Publish(v1::Publish {
        channel: "uplink".into(),
        epoch,
        entered: epoch,
        first,
        packets,
        lost: 0,
    })
}

/// A running host, and a peer of it that was welcomed in epoch 1.
async fn welcomed(world: &World) -> (Arc<Store>, JoinHandle<()>, Peer) {
    let store = Store::new(world, MS);
    let hub = host(world, &store);
    world.sleep_ms(1).await;
    let mut peer = Peer::greet(world, hello(1)).await;
    assert_eq!(peer.welcome().await.channels[0].last, 0);
    (store, hub, peer)
}

#[test]
fn the_date_header_is_the_clocks() {
    run(6, |world| async move {
        let (_, _hub, peer) = welcomed(&world).await;
        assert_eq!(peer.date, "Sun, 06 Nov 1994 08:49:37 GMT");
    });
}

#[test]
fn duplicates_are_told_and_gaps_end_the_connection() {
    run(7, |world| async move {
        let (store, _hub, mut peer) = welcomed(&world).await;
        let packets = |from: u64, to: u64| (from..=to).map(|seq| packet(Seq(seq))).collect::<Vec<_>>();
        peer.send(publish(1, 1, packets(1, 5)));
        world.sleep_ms(5).await;
        peer.send(publish(1, 4, packets(4, 7)));
        let ack = |upto| v1::Ack { channel: "uplink".into(), upto, credits: Some(protocol::CREDITS) };
        assert_eq!(peer.next().await.unwrap(), Some(from_host::Message::Ack(ack(5))));
        let refuse = peer.refused().await;
        assert_eq!((refuse.code(), refuse.found, refuse.expected), (RefuseCode::Duplicate, 4, 6));
        peer.send(publish(1, 9, packets(9, 9)));
        let last = loop {
            match peer.next().await.unwrap() {
                Some(from_host::Message::Refuse(refuse)) => break refuse,
                Some(from_host::Message::Ack(ack)) => assert!(ack.upto <= store.durable()),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!((last.code(), last.found, last.expected), (RefuseCode::OutOfSequence, 9, 8));
        assert_eq!(peer.ended().await.code(), tonic::Code::Ok);
        world.sleep_ms(5).await;
        check_stored(&store, &Source::new(&store, 1, 7));
    });
}

#[test]
fn an_older_epoch_is_fenced_and_does_not_disturb_the_newer() {
    run(8, |world| async move {
        let (store, _hub, mut older) = welcomed(&world).await;
        let mut newer = Peer::greet(&world, hello(2)).await;
        newer.welcome().await;
        assert_eq!(older.ended().await.code(), tonic::Code::Unknown, "the newer connection cuts the older");
        let mut late = Peer::greet(&world, hello(1)).await;
        let refuse = late.refused().await;
        assert_eq!((refuse.code(), refuse.found, refuse.expected), (RefuseCode::Fenced, 1, 2));
        assert_eq!(late.welcome().await.channels, []);
        late.send(publish(1, 1, vec![packet(Seq(1))]));
        assert!(late.ended().await.message().contains("not open"));
        newer.send(publish(2, 1, vec![packet(Seq(1))]));
        assert!(matches!(newer.next().await.unwrap(), Some(from_host::Message::Ack(_))));
        assert_eq!(store.durable(), 1);
    });
}

#[test]
fn a_peer_that_breaks_the_protocol_is_told_and_cut() {
    let check = |messages: Vec<from_producer::Message>, expected: &str| {
        run(9, |world| async move {
            let (store, _hub, mut peer) = welcomed(&world).await;
            messages.into_iter().for_each(|message| peer.send(message));
            let status = peer.ended().await;
            assert!(status.message().contains(expected), "{status}");
            assert_eq!(store.durable(), 0);
        });
    };
    check(vec![from_producer::Message::Hello(hello(1))], "a second Hello");
    check(vec![publish(1, 1, vec![])], "1 to 256 packets");
    check(vec![publish(3, 1, vec![packet(Seq(1))])], "another epoch");
    check(vec![publish(1, 1, vec![vec![0; 5 << 20].into()])], "message length too large");
    let flood = (0..17).map(|i| publish(1, 1 + i * 256, vec![Bytes::from_static(b"x"); 256])).collect();
    check(flood, "beyond the credits");
}

#[test]
fn a_peer_without_a_common_version_learns_both_ranges() {
    run(10, |world| async move {
        let store = Store::new(&world, MS);
        let _hub = host(&world, &store);
        world.sleep_ms(1).await;
        let protocol = Some(v1::ProtocolRange { min: 3, max: 4 });
        let mut peer = Peer::greet(&world, v1::Hello { protocol, ..hello(1) }).await;
        let refuse = peer.refused().await;
        assert_eq!((refuse.code(), refuse.protocol), (RefuseCode::Version, Some(PROTOCOL)));
        assert!(refuse.message.contains("1 to 2, the peer 3 to 4"), "{}", refuse.message);
        assert_eq!(peer.ended().await.code(), tonic::Code::Ok);
    });
}

#[test]
fn a_peer_that_says_nothing_or_garbage_is_cut() {
    run(11, |world| async move {
        let (_, _hub, mut good) = welcomed(&world).await;
        let _pinging = tokio::spawn(keep_pinging(world.env.clock.clone(), good.mailbox.clone()));
        let mut mute = crate::env::Net::connect(&*world.net, "hub").await.unwrap();
        let began = world.ms();
        let mut rest = Vec::new();
        let _ = mute.read_to_end(&mut rest).await;
        assert!((5_000..7_000).contains(&(world.ms() - began)), "{} ms", world.ms() - began);
        let mut garbage = crate::env::Net::connect(&*world.net, "hub").await.unwrap();
        let began = world.ms();
        garbage.write_all(&[0xa5; 4096]).await.unwrap();
        let _ = garbage.read_to_end(&mut rest).await;
        assert!(world.ms() - began < 7_000, "{} ms", world.ms() - began);
        assert!(good.next().now_or_never().is_none(), "others go on");
    });
}

#[test]
fn a_peer_that_stops_reading_is_cut_although_it_still_talks() {
    run(12, |world| async move {
        let store = Store::new(&world, MS);
        let _hub = host(&world, &store);
        world.sleep_ms(1).await;
        let mut stream = Some(TokioIo::new(crate::env::Net::connect(&*world.net, "hub").await.unwrap()));
        // A window that a few unread messages fill.
        let endpoint = tonic::transport::Endpoint::from_static("http://lane").initial_stream_window_size(200);
        let once = tower::service_fn(move |_| std::future::ready(Ok::<_, std::io::Error>(stream.take().unwrap())));
        let channel = endpoint.connect_with_connector(once).await.unwrap();
        let mailbox = Mailbox::default();
        mailbox.push(0, None, protocol::from_producer(from_producer::Message::Hello(hello(1))));
        let mut client = v1::lane_client::LaneClient::new(channel);
        let mut inbound = client.carry(mailbox.outgoing(|| 0)).await.unwrap().into_inner();
        let talking = tokio::spawn(keep_pinging(world.env.clock.clone(), mailbox.clone()));
        world.sleep_ms(60_000).await;
        let (mut read, mut failed) = (0, false);
        while !failed {
            match inbound.message().await {
                Ok(Some(_)) => read += 1,
                Ok(None) => panic!("a host that can't be heard can't end in good order"),
                Err(_) => failed = true,
            }
        }
        assert!(read < 40, "{read} messages were kept for it");
        assert!(!talking.is_finished());
    });
}

async fn keep_pinging(clock: Arc<dyn Clock>, mailbox: Mailbox<v1::FromProducer>) {
    loop {
        clock.sleep(500 * MS).await;
        mailbox.push(0, None, protocol::from_producer(from_producer::Message::Ping(v1::Ping { nonce: 1 })));
    }
}

/// A host by hand: answers the Hello with what it is given.
struct Script(Vec<from_host::Message>);

#[tonic::async_trait]
impl Lane for Script {
    type CarryStream = std::pin::Pin<Box<dyn Stream<Item = Result<v1::FromHost, Status>> + Send>>;
    type TakeStream = futures_util::stream::Pending<Result<v1::FromDesk, Status>>;
    async fn take(&self, _: Request<Streaming<v1::FromMember>>) -> Result<Response<Self::TakeStream>, Status> {
        Ok(Response::new(futures_util::stream::pending()))
    }
    async fn carry(&self, _: Request<Streaming<v1::FromProducer>>) -> Result<Response<Self::CarryStream>, Status> {
        let answers = self.0.clone().into_iter().map(|message| Ok(protocol::from_host(message)));
        Ok(Response::new(Box::pin(
            futures_util::stream::iter(answers.collect::<Vec<_>>()).chain(futures_util::stream::pending()),
        )))
    }
}

#[test]
fn a_client_ends_typed_when_the_host_misbehaves() {
    let check = |script: Vec<from_host::Message>, reason: &str| {
        run(13, |world| async move {
            let env = world.env.clone();
            tokio::spawn(async move { wire::serve(&*env.net, &env.clock, "hub", Script(script)).await });
            world.sleep_ms(1).await;
            let store = Store::new(&world, MS);
            let source = Source::new(&store, 1, 10);
            source.floor.store(3, SeqCst);
            let outboxes: Vec<Arc<dyn Outbox>> = vec![Arc::new(Tap(source))];
            let Err(error) = client::connection(&world.env, "hub", "edge", &outboxes, &mut false).await;
            assert_eq!(error.name(), reason, "{error}");
            error
        })
    };
    let welcome = |process: &str, last| {
        let channels =
            vec![v1::Opened { channel: "uplink".into(), last, credits: Some(protocol::CREDITS), lost: false }];
        from_host::Message::Welcome(v1::Welcome { protocol: 1, process: process.into(), channels })
    };
    let theirs = v1::ProtocolRange { min: 4, max: 5 };
    let version = LaneError::Version { ours: theirs, theirs: PROTOCOL };
    let refuse = from_host::Message::Refuse(protocol::refusal(&version).unwrap());
    let error = check(vec![refuse], "lane.version");
    assert!(error.to_string().ends_with("this side speaks 1 to 2, the peer 4 to 5"), "{error}");
    check(vec![welcome("lab", 3)], "lane.wrong_peer");
    check(vec![welcome("hub", 3), welcome("hub", 3)], "lane.protocol");
    let forged = v1::Ack { channel: "uplink".into(), upto: 99, credits: None };
    check(vec![welcome("hub", 3), from_host::Message::Ack(forged)], "lane.protocol");
    check(vec![], "lane.silent");
}

#[test]
fn a_host_that_forgot_what_it_acked_is_reported_and_not_trusted() {
    run(14, |world| async move {
        let store = Store::new(&world, MS);
        let source = Source::new(&store, 1, 10);
        source.floor.store(5, SeqCst);
        let _hub = host(&world, &store);
        let _edge = produce(&world, &source);
        world.sleep_ms(3_000).await;
        assert!(world.refusals.count("lane.forgot") > 0);
        assert_eq!((store.durable(), source.settled()), (0, 5));
    });
}

#[test]
fn a_host_whose_medium_destroyed_what_it_acked_takes_what_comes_next() {
    run(14, |world| async move {
        let store = Store::new(&world, MS);
        store.set_lost();
        let source = Source::new(&store, 1, 10);
        source.floor.store(5, SeqCst);
        let _hub = host(&world, &store);
        let _edge = produce(&world, &source);
        until_settled(&world, &source).await;
        assert_eq!((world.refusals.count("lane.forgot"), world.refusals.count("lane.lost")), (0, 1));
        assert_eq!((store.durable(), source.settled()), (10, 10), "it sends again what it has");
    });
}

#[test]
fn a_producer_that_lost_its_end_does_not_hand_numbers_out_again() {
    run(15, |world| async move {
        let store = Store::new(&world, MS);
        let source = Source::new(&store, 1, 10);
        let _hub = host(&world, &store);
        let edge = produce(&world, &source);
        until_settled(&world, &source).await;
        edge.abort();
        let shorter = Source::new(&store, 2, 7);
        let _edge = produce(&world, &shorter);
        world.sleep_ms(3_000).await;
        assert!(world.refusals.count("lane.ahead") > 0);
        assert_eq!((store.durable(), shorter.settled()), (10, 0));
    });
}
