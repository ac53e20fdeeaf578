//! A process of a lane by hand, over a real network: it holds somebody's keys and says what it likes.
#![expect(clippy::unwrap_used, reason = "a failure is the test\'s")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use seaworthy_engine::env::os::{Keys, OsClock, OsNet};
use seaworthy_engine::env::{Clock, Net, Probe};
use seaworthy_engine::lane::protocol::v1::{
    FromProducer, Hello, Opening, Ping, Publish, Refuse, from_host, from_producer,
};
use seaworthy_engine::lane::{LaneError, Mailbox, protocol, wire};
use seaworthy_engine::observe::Event;
use tonic::{Code, Status, Streaming};

struct Deaf;

impl Probe for Deaf {
    fn on(&self, _events: &[Event]) {}
}

/// Runs a test's own side of a network.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

pub(crate) fn clock() -> Arc<dyn Clock> {
    Arc::new(OsClock::new())
}

/// The network of `process`, which finds the hub at `hub`; with the keys of a folder, or none.
pub(crate) fn net(process: &str, keys: Option<&Path>, listen: Option<SocketAddr>, hub: Option<SocketAddr>) -> OsNet {
    let net = OsNet::bind(listen, hub.map(|hub| ("hub".to_owned(), hub)).into_iter().collect()).unwrap();
    match keys {
        Some(dir) => net.secured(Keys::load(dir, process).unwrap(), Arc::new(Deaf)),
        None => net,
    }
}

/// A Hello of `process` for the uplink.
pub(crate) fn hello(net: &OsNet, process: &str, epoch: u64) -> Hello {
    let channels = vec![Opening { channel: "uplink".into(), epoch, journal: Bytes::new() }];
    Hello { protocol: Some(protocol::PROTOCOL), process: process.into(), channels, token: net.token() }
}

pub(crate) fn publish(epoch: u64, first: u64, packets: Vec<Bytes>) -> from_producer::Message {
    from_producer::Message::Publish(Publish {
        channel: "uplink".into(),
        epoch,
        entered: epoch,
        first,
        packets,
        lost: 0,
    })
}

/// A producer by hand, on a lane.
pub(crate) struct Peer {
    pub(crate) mailbox: Mailbox<FromProducer>,
    inbound: Streaming<seaworthy_engine::lane::protocol::v1::FromHost>,
    line: Arc<wire::Line>,
}

impl Peer {
    /// Dials and says hello.
    pub(crate) async fn greet(net: &OsNet, hello: Hello) -> Result<Peer, LaneError> {
        let (client, line) = wire::dial(net, &clock(), "hub").await?;
        let mailbox = Mailbox::default();
        mailbox.push(0, None, protocol::from_producer(from_producer::Message::Hello(hello)));
        let mut client = client.max_encoding_message_size(usize::MAX);
        let answered = client.carry(mailbox.outgoing(|| 0)).await.map_err(|status| line.why(status.into()))?;
        Ok(Peer { mailbox, inbound: answered.into_inner(), line })
    }

    pub(crate) fn send(&self, message: from_producer::Message) {
        self.mailbox.push(0, None, protocol::from_producer(message));
    }

    pub(crate) fn ping(&self) {
        self.send(from_producer::Message::Ping(Ping { nonce: 1 }));
    }

    /// The next message that is not a heartbeat; `None` at a clean end.
    pub(crate) async fn next(&mut self) -> Result<Option<from_host::Message>, Status> {
        loop {
            match self.inbound.message().await?.map(|message| message.message.unwrap()) {
                Some(from_host::Message::Ping(_) | from_host::Message::Pong(_)) => {}
                other => return Ok(other),
            }
        }
    }

    /// The last number that the hub holds of it.
    pub(crate) async fn welcomed(&mut self) -> u64 {
        match self.next().await.unwrap() {
            Some(from_host::Message::Welcome(welcome)) => welcome.channels[0].last,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn refused(&mut self) -> Refuse {
        match self.next().await.unwrap() {
            Some(from_host::Message::Refuse(refuse)) => refuse,
            other => panic!("{other:?}"),
        }
    }

    /// How the host ended the stream, or the network the connection.
    pub(crate) async fn ended(&mut self) -> LaneError {
        loop {
            match self.next().await {
                Ok(Some(_)) => {}
                Ok(None) => return Status::new(Code::Ok, "").into(),
                Err(status) => return self.line.why(status.into()),
            }
        }
    }
}
