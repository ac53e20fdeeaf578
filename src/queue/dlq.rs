//! A dead letter for other programs: `dlq/v1`, a CloudEvent in JSON, as `docs/schema/dlq.v1.schema.json` says.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use seaworthy_engine::journal::letter::{DeadLetter, Failure, Move, Redrive};
use seaworthy_engine::packet::Packet;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// One line of JSON.
pub(super) fn event(letter: &DeadLetter) -> Value {
    let Failure { node, first, last, .. } = &letter.failure;
    let process = &letter.runtime.process;
    let packet = Packet::decode(&letter.packet).ok();
    // A CloudEvent's subject is not empty.
    let subject = packet.as_ref().map(|packet| packet.packet_id.to_string()).filter(|name| !name.is_empty());
    json!({
        "specversion": "1.0",
        "type": "seaworthy.dlq.v1",
        "id": format!("{}/{node}/{last}", letter.identity),
        "source": format!("/{process}/{node}"),
        "subject": subject.unwrap_or_else(|| letter.identity.to_string()),
        "time": rfc3339(*last),
        "datacontenttype": "application/json",
        "dataschema": "https://seaworthy.invalid/schema/dlq.v1.schema.json",
        "data": {
            "packet": packet_of(letter, packet.as_ref()),
            "cursor": letter.source.as_ref().map(|source| json!({"input": *source.input, "seq": source.seq.0})),
            "failure": failure(&letter.failure, *first, *last),
            "runtime": {
                "version": letter.runtime.version,
                "graph_hash": format!("{:016x}", letter.runtime.graph_hash),
                "process": **process,
            },
            "history": letter.history.iter().map(step).collect::<Vec<_>>(),
            "redrive": redrive(letter.redrive),
        },
    })
}

fn packet_of(letter: &DeadLetter, packet: Option<&Packet>) -> Value {
    let sha256: String = letter.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    let identity = letter.identity.to_string();
    let Some(packet) = packet else {
        return json!({"identity": identity, "packet_base64": BASE64_STANDARD.encode(&letter.packet), "sha256": sha256});
    };
    let mut shown = json!({
        "identity": identity,
        "packet_id": packet.packet_id,
        "ts": packet.ts,
        "kind": packet.kind,
        "source_id": packet.source_id,
        "key": packet.key,
        "headers": packet.meta,
        "content_type": packet.content_type,
        "sha256": sha256,
    });
    // Text stays text: a JSON string gives back its bytes one by one, where an object would not.
    match std::str::from_utf8(&packet.payload) {
        Ok(payload) => shown["payload"] = payload.into(),
        Err(_) => shown["payload_base64"] = BASE64_STANDARD.encode(&packet.payload).into(),
    }
    shown
}

fn failure(failure: &Failure, first: i64, last: i64) -> Value {
    json!({
        "class": failure.class,
        "retryable": failure.retryable,
        "node": *failure.node,
        "plugin": failure.plugin,
        "plugin_version": failure.plugin_version,
        "message": failure.message,
        "fingerprint": format!("{:016x}", failure.fingerprint),
        "attempts": failure.attempts,
        "first_unix_ns": first,
        "last_unix_ns": last,
    })
}

fn step(Move { at, state, by }: &Move) -> Value {
    json!({"unix_ns": at, "state": state.name(), "by": **by})
}

fn redrive(Redrive { count, max, state }: Redrive) -> Value {
    json!({"count": count, "max": max, "state": state.name()})
}

/// A time as text; the beginning of 1970 for one that no calendar has.
fn rfc3339(unix_ns: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(unix_ns.into()).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    time.format(&Rfc3339).expect("64 bits of nanoseconds are within the years that RFC 3339 can write")
}
