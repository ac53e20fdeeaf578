//! The store as a `System`: how its hosts boot, how the load asks it, and what it promises.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{Method, StatusCode};
use seaworthy_engine::env::{Env, Fut};
use seaworthy_harness::check::Check;
use seaworthy_harness::sim::recorder::Recorder;
use seaworthy_harness::system::{Boot, BootError, HostSpec, Offer, Offered, System};
use serde_json::json;
use tokio::sync::Notify;

use crate::linear::Linearizable;
use crate::store::{ask, serve};

/// How long the load waits before it asks again, ns.
const AGAIN_NS: u64 = 50_000_000;

pub(crate) struct KvSystem {
    recorder: Arc<Recorder>,
    syncs: bool,
    stop: BTreeMap<&'static str, Arc<Notify>>,
    asked: Arc<AtomicU64>,
}

impl KvSystem {
    pub(crate) fn new(recorder: Arc<Recorder>, syncs: bool) -> KvSystem {
        let stop = ["primary", "backup"].map(|host| (host, Arc::new(Notify::new()))).into();
        KvSystem { recorder, syncs, stop, asked: Arc::default() }
    }
}

impl System for KvSystem {
    fn hosts(&self) -> Vec<HostSpec> {
        ["backup", "primary"].map(|name| HostSpec { name: name.into(), disk_bytes: 16 << 20, cores: 1 }).into()
    }

    fn boot(&self, boot: Boot) -> Fut<'static, Result<(), BootError>> {
        let (stop, syncs) = (self.stop[&*boot.host].clone(), self.syncs);
        Box::pin(async move {
            tokio::select! {
                biased;
                () = stop.notified() => Ok(()),
                served = serve(&boot.env, &boot.host, syncs) => {
                    let message = served.err().map_or_else(|| "it ended".to_owned(), |error| error.to_string());
                    Err(BootError { host: boot.host, message, exit: 74 })
                }
            }
        })
    }

    fn stop(&self, host: &str) {
        self.stop[host].notify_one();
    }

    /// An event of the load is an operation: a third of them write. What was answered becomes an effect, for the check.
    fn offer(&self, env: &Env, offer: Offer) -> Fut<'static, Offered> {
        let (env, recorder, asked) = (env.clone(), self.recorder.clone(), self.asked.clone());
        asked.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            let wanted: serde_json::Value = serde_json::from_slice(&offer.draft.payload).expect("the load makes JSON");
            let key = wanted["key"].as_str().expect("the load has keys").to_owned();
            let id = offer.draft.packet_id.to_string();
            let writes = wanted["op"] == "k0";
            let (method, path, body) = if writes {
                (Method::PUT, format!("/kv/{key}?op={}", offer.seq.0), id.clone())
            } else {
                (Method::GET, format!("/kv/{key}"), String::new())
            };
            let answer = ask(&env, "primary", method, &path, body.into()).await;
            asked.fetch_sub(1, Ordering::Relaxed);
            match answer {
                Ok((StatusCode::OK, body)) => {
                    let value = if writes { id.clone() } else { String::from_utf8_lossy(&body).into_owned() };
                    let seen = json!({"write": writes, "value": value}).to_string();
                    recorder.effect("load.ops", &id, Some(&key), seen.into());
                    Offered::Accepted
                }
                _ => {
                    env.clock.sleep(AGAIN_NS).await;
                    Offered::Indeterminate
                }
            }
        })
    }

    fn checks(&self) -> Vec<Box<dyn Check>> {
        vec![Box::new(Linearizable)]
    }

    fn quiet(&self) -> bool {
        self.asked.load(Ordering::Relaxed) == 0
    }

    fn gauge(&self, _address: &str) -> Option<u64> {
        None
    }
}
