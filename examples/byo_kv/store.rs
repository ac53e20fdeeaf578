//! The store: a primary that logs a write, has the backup log it, and only then answers. A read sees what both have.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{Method, Request, StatusCode};
use axum::routing::{get, post};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use seaworthy_engine::env::{Env, File, Open};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

/// How long a request may take, ns.
const PATIENCE_NS: u64 = 500_000_000;

/// One write.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    op: u64,
    key: String,
    value: String,
}

/// The log of one host, and what it comes to.
struct Log {
    env: Env,
    file: Arc<dyn File>,
    end: u64,
    syncs: bool,
    records: Vec<Record>,
    known: BTreeSet<u64>,
    /// How many of the records the backup has, too; the primary's map holds just those.
    replicated: usize,
    map: BTreeMap<String, String>,
}

/// A log that handlers share.
type Shared = Arc<Mutex<Log>>;

impl Log {
    async fn open(env: &Env, syncs: bool) -> io::Result<Log> {
        let file = env.disk.open("log", Open::CreateOrWrite).await?;
        env.disk.sync_dir("").await?;
        let mut bytes = file.read_at(0, file.len().await? as usize).await?;
        let (mut end, mut records) = (0, Vec::new());
        // What is torn was never answered.
        while bytes.len() >= 12 {
            let (length, sum) = (bytes.get_u32() as usize, bytes.get_u64());
            if length > bytes.len() || xxhash_rust::xxh3::xxh3_64(&bytes[..length]) != sum {
                break;
            }
            let body = bytes.split_to(length);
            let Ok(record) = serde_json::from_slice::<Record>(&body) else { break };
            records.push(record);
            end += 12 + length as u64;
        }
        let known = records.iter().map(|record| record.op).collect();
        Ok(Log { env: env.clone(), file, end, syncs, records, known, replicated: 0, map: BTreeMap::new() })
    }

    /// Writes records behind the others; each once.
    async fn append(&mut self, records: Vec<Record>) -> io::Result<()> {
        let mut bytes = BytesMut::new();
        let fresh: Vec<Record> = records.into_iter().filter(|record| !self.known.contains(&record.op)).collect();
        for record in &fresh {
            let body = serde_json::to_vec(record)?;
            bytes.put_u32(body.len() as u32);
            bytes.put_u64(xxhash_rust::xxh3::xxh3_64(&body));
            bytes.put_slice(&body);
        }
        if fresh.is_empty() {
            return Ok(());
        }
        let length = bytes.len() as u64;
        let bytes = vec![bytes.freeze()];
        if self.syncs {
            self.file.write_sync(self.end, bytes).await?
        } else {
            self.file.write_at(self.end, bytes).await?
        }
        self.end += length;
        self.known.extend(fresh.iter().map(|record| record.op));
        self.records.extend(fresh);
        Ok(())
    }

    /// Gives the backup all that it lacks, and makes it readable here.
    async fn replicate(&mut self) -> io::Result<()> {
        loop {
            let missing = serde_json::to_vec(&self.records[self.replicated..])?;
            let path = format!("/append?at={}", self.replicated);
            let (status, body) = ask(&self.env, "backup", Method::POST, &path, missing.into()).await?;
            let has: usize = String::from_utf8_lossy(&body).parse().map_err(io::Error::other)?;
            if status != StatusCode::OK {
                // It has fewer than was thought: from there, then.
                self.replicated = has.min(self.replicated);
                self.map.clear();
                let records = self.records[..self.replicated].to_vec();
                records.into_iter().for_each(|record| drop(self.map.insert(record.key, record.value)));
                continue;
            }
            for record in &self.records[self.replicated..] {
                self.map.insert(record.key.clone(), record.value.clone());
            }
            self.replicated = self.records.len();
            return Ok(());
        }
    }
}

#[derive(Deserialize)]
struct Op {
    op: u64,
}

#[derive(Deserialize)]
struct At {
    at: usize,
}

type Answer = (StatusCode, String);

fn unavailable(error: &io::Error) -> Answer {
    (StatusCode::SERVICE_UNAVAILABLE, error.to_string())
}

async fn put(State(log): State<Shared>, Path(key): Path<String>, Query(Op { op }): Query<Op>, value: String) -> Answer {
    let mut log = log.lock().await;
    let written = async {
        log.append(vec![Record { op, key, value }]).await?;
        log.replicate().await
    };
    match written.await {
        Ok(()) => (StatusCode::OK, String::new()),
        Err(error) => unavailable(&error),
    }
}

async fn read(State(log): State<Shared>, Path(key): Path<String>) -> Answer {
    let mut log = log.lock().await;
    // After a start the log may hold what was answered and what was not: both are told to the backup before anything is read.
    match log.replicate().await {
        Ok(()) => (StatusCode::OK, log.map.get(&key).cloned().unwrap_or_default()),
        Err(error) => unavailable(&error),
    }
}

async fn take(State(log): State<Shared>, Query(At { at }): Query<At>, body: Bytes) -> Answer {
    let mut log = log.lock().await;
    let Ok(records) = serde_json::from_slice::<Vec<Record>>(&body) else {
        return (StatusCode::BAD_REQUEST, log.records.len().to_string());
    };
    if at > log.records.len() {
        return (StatusCode::CONFLICT, log.records.len().to_string());
    }
    match log.append(records).await {
        Ok(()) => (StatusCode::OK, log.records.len().to_string()),
        Err(error) => unavailable(&error),
    }
}

/// Runs one host of the store until it ends.
pub(crate) async fn serve(env: &Env, host: &str, syncs: bool) -> io::Result<()> {
    let log: Shared = Arc::new(Mutex::new(Log::open(env, syncs).await?));
    let routes = Router::new().route("/kv/{key}", get(read).put(put)).route("/append", post(take)).with_state(log);
    let mut listener = env.net.listen(host).await?;
    loop {
        let stream = TokioIo::new(listener.accept().await?);
        let service = TowerToHyperService::new(routes.clone());
        tokio::spawn(async move {
            // No `date`: hyper would take it from the real clock.
            let served =
                hyper::server::conn::http1::Builder::new().auto_date_header(false).serve_connection(stream, service);
            // Who asked has gone; nothing is owed to them.
            let _ = served.await;
        });
    }
}

/// One request over a connection of its own, with an end to its patience.
pub(crate) async fn ask(
    env: &Env,
    host: &str,
    method: Method,
    path: &str,
    body: Bytes,
) -> io::Result<(StatusCode, Bytes)> {
    let asked = async {
        let stream = TokioIo::new(env.net.connect(host).await?);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.map_err(io::Error::other)?;
        let request = Request::builder().method(method).uri(path).header("host", host).body(Full::new(body));
        let request = request.map_err(io::Error::other)?;
        let answered = async {
            let response = sender.send_request(request).await.map_err(io::Error::other)?;
            let status = response.status();
            let body = response.into_body().collect().await.map_err(io::Error::other)?;
            Ok((status, body.to_bytes()))
        };
        tokio::pin!(connection);
        tokio::select! {
            biased;
            answer = answered => answer,
            ended = &mut connection => Err(ended.map_or_else(io::Error::other, |()| io::ErrorKind::UnexpectedEof.into())),
        }
    };
    tokio::select! {
        biased;
        answer = asked => answer,
        () = env.clock.sleep(PATIENCE_NS) => Err(io::ErrorKind::TimedOut.into()),
    }
}
