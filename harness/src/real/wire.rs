//! Connections between the hosts' threads, over loopback: plain ones, or ones whose bytes a fault can hold back.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use seaworthy_engine::env::os::OsNet;
use seaworthy_engine::env::{Io, Listener, Net, Seed, Stream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use xxhash_rust::xxh3::xxh3_64;

use crate::plan::{Dist, Link};
use crate::sim::seed::KeyedSeed;

/// Bytes that are taken from a connection at once.
const CHUNK_BYTES: usize = 64 << 10;
/// Chunks that are under way in one direction of a connection.
const UNDER_WAY: usize = 1024;

/// What hinders the bytes from one host to another.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Hindrance {
    cut: bool,
    add: Option<Dist>,
}

/// One direction between two hosts.
#[derive(Clone)]
struct Way {
    hindrance: watch::Sender<Hindrance>,
    /// Of the round and the direction.
    seed: KeyedSeed,
    chunks: Arc<AtomicU64>,
    /// Chunks that were held back.
    cut_hits: Arc<AtomicU64>,
    late_hits: Arc<AtomicU64>,
}

/// Every direction between hosts, by from and to.
#[derive(Clone, Default)]
pub(super) struct Ways(Arc<BTreeMap<(String, String), Way>>);

impl Ways {
    /// All directions between these hosts in a round, free.
    pub fn between(hosts: &[String], seed: &KeyedSeed) -> Ways {
        let pairs = hosts.iter().flat_map(|from| hosts.iter().map(move |to| (from.clone(), to.clone())));
        let way = |(from, to): &(String, String)| Way {
            hindrance: watch::Sender::default(),
            seed: KeyedSeed(seed.draw("real.way", &[xxh3_64(from.as_bytes()), xxh3_64(to.as_bytes())])),
            chunks: Arc::default(),
            cut_hits: Arc::default(),
            late_hits: Arc::default(),
        };
        Ways(Arc::new(pairs.map(|pair| (pair.clone(), way(&pair))).collect()))
    }

    fn of(&self, link: &Link) -> impl Iterator<Item = &Way> {
        let (there, back) = ((link.a.clone(), link.b.clone()), (link.b.clone(), link.a.clone()));
        let back = if link.one_way { None } else { self.0.get(&back) };
        self.0.get(&there).into_iter().chain(back)
    }

    /// Stops the bytes on a link, or lets them go on.
    pub fn set_cut(&self, link: &Link, cut: bool) {
        self.of(link).for_each(|way| way.hindrance.send_modify(|hindrance| hindrance.cut = cut));
    }

    /// Makes new bytes on a link come later by a draw.
    pub fn set_latency(&self, link: &Link, add: Option<Dist>) {
        self.of(link).for_each(|way| way.hindrance.send_modify(|hindrance| hindrance.add = add));
    }

    /// How many chunks a cut of the link has held back.
    pub fn cut_hits(&self, link: &Link) -> u64 {
        self.of(link).map(|way| way.cut_hits.load(Ordering::Relaxed)).sum()
    }

    /// How many chunks came later.
    pub fn late_hits(&self, link: &Link) -> u64 {
        self.of(link).map(|way| way.late_hits.load(Ordering::Relaxed)).sum()
    }
}

/// A host's network. A port was taken before anybody knew of it, so listening and connecting are two.
pub(super) struct Wire {
    /// The host whose network it is.
    pub host: String,
    pub door: OsNet,
    pub net: Arc<OsNet>,
    /// What faults can hinder; `None` leaves connections alone.
    pub ways: Option<Ways>,
}

impl Wire {
    /// Takes a port of the loopback interface, or that one.
    pub fn door(address: SocketAddr) -> std::io::Result<OsNet> {
        OsNet::bind(Some(address), BTreeMap::new())
    }
}

impl Net for Wire {
    fn connect(&self, process: &str) -> Io<Box<dyn Stream>> {
        let connecting = self.net.connect(process);
        let way = |from: &str, to: &str| self.ways.as_ref()?.0.get(&(from.to_owned(), to.to_owned())).cloned();
        let (Some(there), Some(back)) = (way(&self.host, process), way(process, &self.host)) else { return connecting };
        Box::pin(async move {
            there.open().await;
            back.open().await;
            let stream = connecting.await?;
            let (near, far) = tokio::io::duplex(CHUNK_BYTES);
            let ((from_near, to_near), (from_far, to_far)) = (tokio::io::split(far), tokio::io::split(stream));
            tokio::spawn(there.carry(from_near, to_far));
            tokio::spawn(back.carry(from_far, to_near));
            Ok(Box::new(near) as Box<dyn Stream>)
        })
    }

    fn listen(&self, process: &str) -> Io<Box<dyn Listener>> {
        self.door.listen(process)
    }
}

impl Way {
    /// Waits until it is not cut.
    async fn open(&self) {
        let mut seen = self.hindrance.subscribe();
        if seen.borrow_and_update().cut {
            self.cut_hits.fetch_add(1, Ordering::Relaxed);
            // The sender is `self`.
            let _ = seen.wait_for(|hindrance| !hindrance.cut).await;
        }
    }

    /// When a chunk that comes now is due.
    fn due(&self) -> Instant {
        let number = self.chunks.fetch_add(1, Ordering::Relaxed);
        let draw = |add: Dist| add.draw(self.seed.draw("late", &[number]));
        let late = self.hindrance.borrow().add.map(draw);
        self.late_hits.fetch_add(u64::from(late.is_some()), Ordering::Relaxed);
        Instant::now() + Duration::from_nanos(late.unwrap_or(0))
    }

    /// Carries bytes in order until one side ends, then ends the other.
    async fn carry(self, mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
        let (sent, mut under_way) = mpsc::channel::<(Instant, Bytes)>(UNDER_WAY);
        let take = async {
            let mut buffer = BytesMut::new();
            loop {
                buffer.reserve(CHUNK_BYTES);
                if !matches!(from.read_buf(&mut buffer).await, Ok(1..)) {
                    break;
                }
                if sent.send((self.due(), buffer.split().freeze())).await.is_err() {
                    break;
                }
            }
            drop(sent);
        };
        let give = async {
            while let Some((due, bytes)) = under_way.recv().await {
                tokio::time::sleep_until(due.into()).await;
                self.open().await;
                if to.write_all(&bytes).await.is_err() {
                    break;
                }
            }
            // A cut holds back the end, too.
            self.open().await;
            // That the other side is gone already is no matter.
            let _ = to.shutdown().await;
            drop(under_way);
        };
        tokio::join!(take, give);
    }
}
