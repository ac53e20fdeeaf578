//! The lane proxy between a producer and a host that are written by hand against the public protocol.

use super::*;

use std::io;

use bytes::Bytes;
use futures_util::FutureExt;
use seaworthy_engine::env::{Fut, Io, Listener, Stream as ByteStream};
use seaworthy_engine::lane::protocol::v1::{Hello, Opened, Opening};
use tokio::sync::mpsc;

use crate::plan::Dist;
use crate::sim::seed::KeyedSeed;
use crate::sim::{Now, test_world};

const MS: u64 = 1_000_000;
const LATE: Dist = Dist::Constant { ns: 300 * MS };
const ALL_PPM: u32 = 1_000_000;

struct TestClock(Now);

impl Clock for TestClock {
    fn mono(&self) -> u64 {
        (self.0)()
    }
    fn unix_ns(&self) -> i64 {
        self.mono() as i64
    }
    #[expect(clippy::disallowed_methods, reason = "this is the test's clock")]
    fn sleep_until(&self, mono_ns: u64) -> Fut<'static, ()> {
        let wait = std::time::Duration::from_nanos(mono_ns.saturating_sub(self.mono()));
        Box::pin(tokio::time::sleep(wait))
    }
}

#[derive(Default)]
struct TestNet(Mutex<BTreeMap<String, mpsc::UnboundedSender<Box<dyn ByteStream>>>>);

struct TestListener(mpsc::UnboundedReceiver<Box<dyn ByteStream>>);

impl Listener for TestListener {
    fn accept(&mut self) -> Fut<'_, io::Result<Box<dyn ByteStream>>> {
        Box::pin(async { Ok(self.0.recv().await.expect("the net outlives its listeners")) })
    }
}

impl Net for TestNet {
    fn connect(&self, process: &str) -> Io<Box<dyn ByteStream>> {
        let (near, far) = tokio::io::duplex(64 << 10);
        self.0.lock().unwrap()[process].send(Box::new(far)).map_err(|_| "refused").unwrap();
        Box::pin(async move { Ok(Box::new(near) as Box<dyn ByteStream>) })
    }
    fn listen(&self, process: &str) -> Io<Box<dyn Listener>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.0.lock().unwrap().insert(process.to_owned(), sender);
        Box::pin(async move { Ok(Box::new(TestListener(receiver)) as Box<dyn Listener>) })
    }
}

/// Stores what comes next and acks it at once.
#[derive(Clone, Default)]
struct Host(Arc<Mutex<Vec<Bytes>>>);

#[tonic::async_trait]
impl Lane for Host {
    type CarryStream = Pin<Box<dyn Stream<Item = Sent> + Send>>;
    type TakeStream = futures_util::stream::Pending<ToMember>;
    async fn take(&self, _: Request<Streaming<FromMember>>) -> Result<Response<Self::TakeStream>, Status> {
        Ok(Response::new(futures_util::stream::pending()))
    }
    async fn carry(&self, request: Request<Streaming<FromProducer>>) -> Result<Response<Self::CarryStream>, Status> {
        request.extensions().get::<Arc<Line>>().unwrap().greet();
        let (mut inbound, store, mailbox) = (request.into_inner(), self.0.clone(), Mailbox::<Sent>::default());
        let outgoing = mailbox.outgoing(|| 0);
        tokio::spawn(async move {
            while let Ok(Some(message)) = inbound.message().await {
                let channel = String::from("uplink");
                let held = store.lock().unwrap().len() as u64;
                let answer = match message.message.unwrap() {
                    from_producer::Message::Hello(_) => {
                        let channels =
                            vec![Opened { channel, last: held, credits: Some(protocol::CREDITS), lost: false }];
                        from_host::Message::Welcome(Welcome { protocol: 1, process: "hub".into(), channels })
                    }
                    from_producer::Message::Publish(publish) => {
                        assert_eq!(publish.first, held + 1, "the host sees no gap");
                        store.lock().unwrap().extend(publish.packets);
                        let upto = store.lock().unwrap().len() as u64;
                        from_host::Message::Ack(Ack { channel, upto, credits: None })
                    }
                    _ => continue,
                };
                mailbox.push(0, None, Ok(protocol::from_host(answer)));
            }
        });
        Ok(Response::new(Box::pin(outgoing)))
    }
}

struct Edge {
    mailbox: Mailbox<FromProducer>,
    inbound: Streaming<FromHost>,
    last: u64,
}

impl Edge {
    async fn connect(net: &TestNet, clock: &Arc<dyn Clock>) -> Edge {
        let (mut client, _) = wire::dial(net, clock, "hub").await.unwrap();
        let mailbox = Mailbox::default();
        let channels = vec![Opening { channel: "uplink".into(), epoch: 1, journal: Bytes::new() }];
        let hello =
            Hello { protocol: Some(protocol::PROTOCOL), process: "edge".into(), channels, ..Default::default() };
        mailbox.push(0, None, protocol::from_producer(from_producer::Message::Hello(hello)));
        let mut inbound = client.carry(mailbox.outgoing(|| 0)).await.unwrap().into_inner();
        let welcome = inbound.message().await.unwrap().unwrap().message.unwrap();
        let from_host::Message::Welcome(welcome) = welcome else { panic!("{welcome:?}") };
        Edge { mailbox, inbound, last: welcome.channels[0].last }
    }

    fn publish(&mut self, first: u64, last: u64) {
        let packets = (first..=last).map(|seq| Bytes::copy_from_slice(&[seq as u8])).collect();
        let publish = Publish { channel: "uplink".into(), epoch: 1, entered: 1, first, packets, lost: 0 };
        self.mailbox.push(0, None, protocol::from_producer(from_producer::Message::Publish(publish)));
    }

    async fn ack(&mut self) -> Result<u64, Status> {
        match self.inbound.message().await?.expect("no clean end").message.unwrap() {
            from_host::Message::Ack(ack) => Ok(ack.upto),
            other => panic!("{other:?}"),
        }
    }
}

/// A producer's way to a host, with a proxy in its middle.
struct Setup {
    edge_net: Arc<TestNet>,
    clock: Arc<dyn Clock>,
    faults: Arc<ProxyFaults>,
    host: Host,
}

async fn setup(now: Now) -> Setup {
    let clock: Arc<dyn Clock> = Arc::new(TestClock(now));
    let (edge_net, hub_net) = (Arc::new(TestNet::default()), Arc::new(TestNet::default()));
    let (faults, host) = (Arc::new(ProxyFaults::default()), Host::default());
    let proxy = LaneProxy {
        listen: edge_net.clone(),
        listen_as: "hub".into(),
        connect: hub_net.clone(),
        onward: "hub".into(),
        clock: clock.clone(),
        seed: Arc::new(KeyedSeed(1)),
        faults: faults.clone(),
    };
    tokio::spawn(proxy.run());
    let (served, serving) = (host.clone(), clock.clone());
    tokio::spawn(async move { wire::serve(&*hub_net, &serving, "hub", served).await });
    clock.sleep(MS).await;
    Setup { edge_net, clock, faults, host }
}

#[test]
fn acks_come_late_but_packets_do_not() {
    test_world(|now| async move {
        let world = setup(now).await;
        let mut edge = Edge::connect(&world.edge_net, &world.clock).await;
        world.faults.set("uplink", LaneFault::Delay(LATE), true);
        let began = world.clock.mono();
        edge.publish(1, 3);
        world.clock.sleep(10 * MS).await;
        assert_eq!(world.host.0.lock().unwrap().len(), 3);
        assert_eq!(edge.ack().await.unwrap(), 3);
        let took = (world.clock.mono() - began) / MS;
        assert!((300..310).contains(&took), "{took} ms");
        assert_eq!(world.faults.hits("uplink", LaneFault::Delay(LATE)), 1);
        world.faults.set("uplink", LaneFault::Delay(LATE), false);
        edge.publish(4, 4);
        assert_eq!(edge.ack().await.unwrap(), 4);
        assert_eq!(world.faults.hits("uplink", LaneFault::Delay(LATE)), 1);
    });
}

#[test]
fn acks_come_twice_and_overtake_each_other() {
    test_world(|now| async move {
        let world = setup(now).await;
        let mut edge = Edge::connect(&world.edge_net, &world.clock).await;
        world.faults.set("uplink", LaneFault::Duplicate(ALL_PPM), true);
        edge.publish(1, 1);
        assert_eq!((edge.ack().await.unwrap(), edge.ack().await.unwrap()), (1, 1));
        world.faults.set("uplink", LaneFault::Duplicate(ALL_PPM), false);
        world.faults.set("uplink", LaneFault::Reorder(ALL_PPM), true);
        edge.publish(2, 2);
        world.clock.sleep(10 * MS).await;
        world.faults.set("uplink", LaneFault::Reorder(ALL_PPM), false);
        edge.publish(3, 3);
        assert_eq!((edge.ack().await.unwrap(), edge.ack().await.unwrap()), (3, 2));
        let hits = |fault| world.faults.hits("uplink", fault);
        assert_eq!((hits(LaneFault::Duplicate(1)), hits(LaneFault::Reorder(1))), (1, 1));
    });
}

#[test]
fn a_lost_ack_takes_its_connection_along_and_the_next_one_tells() {
    test_world(|now| async move {
        let world = setup(now).await;
        let mut edge = Edge::connect(&world.edge_net, &world.clock).await;
        world.faults.set("uplink", LaneFault::Lose(ALL_PPM), true);
        edge.publish(1, 2);
        world.clock.sleep(10 * MS).await;
        world.faults.set("uplink", LaneFault::Lose(ALL_PPM), false);
        edge.publish(3, 3);
        edge.ack().await.expect_err("no ack makes up for the lost one on this connection");
        let edge = Edge::connect(&world.edge_net, &world.clock).await;
        assert_eq!((edge.last, world.faults.hits("uplink", LaneFault::Lose(1))), (3, 1));
    });
}

#[test]
fn a_cut_between_commit_and_ack_leaves_the_host_with_what_the_producer_sends_again() {
    test_world(|now| async move {
        let world = setup(now).await;
        let mut edge = Edge::connect(&world.edge_net, &world.clock).await;
        world.faults.set("uplink", LaneFault::Redeliver(ALL_PPM), true);
        edge.publish(1, 2);
        edge.ack().await.expect_err("the connection is cut in place of the ack");
        world.faults.set("uplink", LaneFault::Redeliver(ALL_PPM), false);
        let edge = Edge::connect(&world.edge_net, &world.clock).await;
        assert_eq!((edge.last, world.faults.hits("uplink", LaneFault::Redeliver(1))), (2, 1));
    });
}

#[test]
fn a_forged_ack_hides_what_the_host_never_saw() {
    test_world(|now| async move {
        let world = setup(now).await;
        let mut edge = Edge::connect(&world.edge_net, &world.clock).await;
        edge.publish(1, 2);
        assert_eq!(edge.ack().await.unwrap(), 2);
        world.faults.set("uplink", LaneFault::Forge, true);
        edge.publish(3, 5);
        assert_eq!(edge.ack().await.unwrap(), 5);
        world.faults.set("uplink", LaneFault::Forge, false);
        edge.publish(6, 7);
        assert_eq!(edge.ack().await.unwrap(), 7);
        let seen: Vec<u8> = world.host.0.lock().unwrap().iter().map(|packet| packet[0]).collect();
        assert_eq!(seen, [1, 2, 6, 7]);
        drop(edge);
        let mut edge = Edge::connect(&world.edge_net, &world.clock).await;
        assert_eq!((edge.last, world.faults.hits("uplink", LaneFault::Forge)), (7, 1));
        edge.publish(8, 8);
        assert_eq!(edge.ack().await.unwrap(), 8);
        assert!(edge.ack().now_or_never().is_none());
    });
}

#[test]
fn numbers_are_mapped_around_what_was_swallowed() {
    let mut swallowed = Swallowed::default();
    swallowed.swallow(3, 5);
    assert_eq!((swallowed.onward(6), swallowed.back(1), swallowed.back(2), swallowed.back(3)), (3, 1, 5, 6));
    swallowed.swallow(6, 6);
    swallowed.swallow(9, 9);
    assert_eq!(swallowed.ranges, BTreeMap::from([(3, 6), (9, 9)]));
    assert_eq!((swallowed.onward(10), swallowed.back(3), swallowed.back(4)), (5, 7, 9));
    // The host lacks 8, which the producer takes for acked: it is gone, too.
    assert_eq!(swallowed.welcome(3), 9);
    assert_eq!(swallowed.ranges, BTreeMap::from([(3, 6), (8, 9)]));
    assert_eq!(swallowed.welcome(3), 9);
    assert_eq!(swallowed.onward(10), 4);
}
