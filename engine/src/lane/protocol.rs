//! The lane's messages, limits and pure rules; what another implementation needs (`docs/lane.md`).

use std::fmt;

use bytes::Bytes;

use super::LaneError;
use crate::packet::{Epoch, Seq};
use crate::process::CHANNELS_MAX;
use v1::{RefuseCode, from_host, from_producer};

/// Generated from `proto/lane.proto`.
#[allow(missing_docs, clippy::allow_attributes_without_reason, reason = "generated; the .proto holds the docs")]
pub mod v1 {
    tonic::include_proto!("seaworthy.lane.v1");
}

impl fmt::Debug for v1::Hello {
    /// All but the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Hello");
        shown.field("protocol", &self.protocol).field("process", &self.process).field("channels", &self.channels);
        shown.finish_non_exhaustive()
    }
}

impl fmt::Debug for v1::Join {
    /// All but the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Join");
        shown.field("protocol", &self.protocol).field("process", &self.process).field("channel", &self.channel);
        shown.field("group", &self.group).field("credits", &self.credits).field("holding", &self.holding);
        shown.finish_non_exhaustive()
    }
}

/// The protocol versions that this build speaks.
pub const PROTOCOL: v1::ProtocolRange = v1::ProtocolRange { min: 1, max: 2 };
/// The first version in which members take from a channel.
pub const TAKE_SINCE: u32 = 2;
/// Largest gRPC message, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// Most packets in a Publish.
pub const BATCH_PACKETS_MAX: usize = 256;
/// Most bytes of packets in a Publish; a single packet may be larger when it comes alone.
pub const BATCH_BYTES_MAX: usize = 1 << 20;
/// Largest packet, in bytes; leaves room for the rest of its message.
pub const PACKET_BYTES_MAX: usize = MESSAGE_BYTES_MAX - (64 << 10);
/// Longest name of a process or a channel, in bytes.
pub const NAME_BYTES_MAX: usize = 255;
/// Longest access token, in bytes.
pub const TOKEN_BYTES_MAX: usize = 255;
/// Most characters of a peer's own words that are kept.
const WORDS_CHARS_MAX: usize = 200;
/// What a host grants each channel: four batches by bytes, sixteen by packets.
pub const CREDITS: v1::Credits = v1::Credits { packets: 4096, bytes: 4 << 20 };
/// A side that has sent nothing for so long sends a Ping.
pub const IDLE_NS: u64 = 1_000_000_000;
/// A connection is dead once nothing came for so long, not even a part of a message.
pub const SILENCE_NS: u64 = 5_000_000_000;
/// How long connecting may take.
pub const CONNECT_NS: u64 = 2_000_000_000;
/// The wait before the second attempt to connect; doubles with each further one.
pub const BACKOFF_MIN_NS: u64 = 50_000_000;
/// The longest wait between attempts to connect.
pub const BACKOFF_MAX_NS: u64 = 1_000_000_000;
/// How long a host waits before it tries again to store what found no room; doubles with each time that it finds none.
/// Between two segments there is none for a few ms, on a full disk for long.
pub const FULL_RETRY_MIN_NS: u64 = 1_000_000;
/// The longest wait before a host tries again.
pub const FULL_RETRY_MAX_NS: u64 = 100_000_000;

/// Wraps what a producer sends.
#[must_use]
pub fn from_producer(message: from_producer::Message) -> v1::FromProducer {
    v1::FromProducer { message: Some(message) }
}

/// Wraps what a host sends.
#[must_use]
pub fn from_host(message: from_host::Message) -> v1::FromHost {
    v1::FromHost { message: Some(message) }
}

/// The highest version that both ranges hold.
///
/// # Errors
/// [`LaneError::Version`] with both ranges when there is none; a missing range is the empty one, 0 to 0.
pub fn agree(theirs: Option<v1::ProtocolRange>) -> Result<u32, LaneError> {
    let theirs = theirs.unwrap_or_default();
    let highest = PROTOCOL.max.min(theirs.max);
    if highest < PROTOCOL.min.max(theirs.min) || theirs.min == 0 {
        return Err(LaneError::Version { ours: PROTOCOL, theirs });
    }
    Ok(highest)
}

/// As [`agree`], on a version in which members take from a channel.
///
/// # Errors
/// [`LaneError::Version`] when the highest in common is older.
pub fn agree_to_take(theirs: Option<v1::ProtocolRange>) -> Result<u32, LaneError> {
    let agreed = agree(theirs)?;
    if agreed < TAKE_SINCE {
        let ours = v1::ProtocolRange { min: TAKE_SINCE, max: PROTOCOL.max };
        return Err(LaneError::Version { ours, theirs: theirs.unwrap_or_default() });
    }
    Ok(agreed)
}

/// Checks what can be told of a Hello without knowing the host.
///
/// # Errors
/// A version that isn't spoken here, and names or channels beyond the limits.
pub fn check_hello(hello: &v1::Hello) -> Result<u32, LaneError> {
    let protocol = agree(hello.protocol)?;
    let named = |name: &str| !name.is_empty() && name.len() <= NAME_BYTES_MAX;
    // An `@` would set a journal apart.
    if hello.process.contains('@') {
        return Err(LaneError::Protocol("a process name holds an @"));
    }
    if !named(&hello.process) || !hello.channels.iter().all(|opening| named(&opening.channel)) {
        return Err(LaneError::Protocol("a name is empty or too long"));
    }
    if hello.token.len() > TOKEN_BYTES_MAX {
        return Err(LaneError::Protocol("an access token is too long"));
    }
    if hello.channels.len() > CHANNELS_MAX {
        return Err(LaneError::Protocol("too many channels"));
    }
    if hello.channels.iter().any(|opening| !matches!(opening.journal.len(), 0 | 16)) {
        return Err(LaneError::Protocol("a journal is 16 bytes, or none"));
    }
    let mut names: Vec<&str> = hello.channels.iter().map(|opening| opening.channel.as_str()).collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(LaneError::Protocol("a channel is opened twice"));
    }
    Ok(protocol)
}

/// Checks what can be told of a Publish alone, and returns its bytes of packets.
///
/// # Errors
/// [`LaneError::Protocol`] for an empty batch and one beyond the limits.
pub fn check_publish(publish: &v1::Publish) -> Result<usize, LaneError> {
    let bytes = publish.packets.iter().map(Bytes::len).sum();
    let count = publish.packets.len();
    if count == 0 || count > BATCH_PACKETS_MAX {
        return Err(LaneError::Protocol("a batch holds 1 to 256 packets"));
    }
    if bytes > BATCH_BYTES_MAX && (count > 1 || bytes > PACKET_BYTES_MAX) {
        return Err(LaneError::Protocol("a batch is too large"));
    }
    if publish.first == 0 || publish.first.checked_add(count as u64).is_none() {
        return Err(LaneError::Protocol("sequence numbers begin at 1 and do not wrap"));
    }
    if publish.lost >= publish.first {
        return Err(LaneError::Protocol("more is lost than was before"));
    }
    if publish.entered > publish.epoch {
        return Err(LaneError::Protocol("a packet entered in a later epoch than its connection's"));
    }
    Ok(bytes)
}

/// How long a host waits after it found no room `times` times in a row, from 1.
#[must_use]
pub fn full_retry_ns(times: u32) -> u64 {
    FULL_RETRY_MIN_NS.saturating_mul(1 << times.saturating_sub(1).min(16)).min(FULL_RETRY_MAX_NS)
}

/// True when a batch of `packets` and `bytes` may be sent while the given ones are un-acked. With nothing in flight any
/// batch may, unless the channel is paused.
#[must_use]
pub fn fits(credits: v1::Credits, flying_packets: usize, flying_bytes: usize, packets: usize, bytes: usize) -> bool {
    let within = flying_packets + packets <= credits.packets as usize && (flying_bytes + bytes) as u64 <= credits.bytes;
    credits.packets > 0 && (flying_packets == 0 || within)
}

/// The refusal that tells a producer of an error; `None` for what has no code.
#[must_use]
pub fn refusal(error: &LaneError) -> Option<v1::Refuse> {
    let (channel, code, found, expected) = match error {
        LaneError::OutOfSequence { channel, found, expected } => {
            (channel, RefuseCode::OutOfSequence, found.0, expected.0)
        }
        LaneError::Duplicate { channel, found, expected } => (channel, RefuseCode::Duplicate, found.0, expected.0),
        LaneError::Fenced { channel, epoch, current } => (channel, RefuseCode::Fenced, epoch.0, current.0),
        LaneError::Full { channel, held } => (channel, RefuseCode::Full, held.0, 0),
        LaneError::UnknownChannel { channel } => (channel, RefuseCode::UnknownChannel, 0, 0),
        LaneError::TooMany { channel } => (channel, RefuseCode::TooMany, 0, 0),
        LaneError::Version { ours, .. } => {
            return Some(v1::Refuse {
                code: RefuseCode::Version.into(),
                message: error.to_string(),
                protocol: Some(*ours),
                ..Default::default()
            });
        }
        LaneError::Unauthenticated { why } => {
            let code = RefuseCode::Unauthenticated.into();
            return Some(v1::Refuse { code, message: why.clone(), ..Default::default() });
        }
        _ => return None,
    };
    let (channel, message) = (channel.clone(), error.to_string());
    Some(v1::Refuse { channel, code: code.into(), message, found, expected, protocol: None })
}

/// What a refusal says, the other way round.
#[must_use]
pub fn refused(refuse: v1::Refuse) -> LaneError {
    let (code, channel) = (refuse.code(), refuse.channel);
    match code {
        RefuseCode::OutOfSequence => {
            LaneError::OutOfSequence { channel, found: Seq(refuse.found), expected: Seq(refuse.expected) }
        }
        RefuseCode::Duplicate => {
            LaneError::Duplicate { channel, found: Seq(refuse.found), expected: Seq(refuse.expected) }
        }
        RefuseCode::Fenced => {
            LaneError::Fenced { channel, epoch: Epoch(refuse.found), current: Epoch(refuse.expected) }
        }
        RefuseCode::Full => LaneError::Full { channel, held: Seq(refuse.found) },
        RefuseCode::UnknownChannel => LaneError::UnknownChannel { channel },
        RefuseCode::TooMany => LaneError::TooMany { channel },
        RefuseCode::Version => LaneError::Version { ours: PROTOCOL, theirs: refuse.protocol.unwrap_or_default() },
        RefuseCode::Unauthenticated => {
            LaneError::Unauthenticated { why: refuse.message.chars().take(WORDS_CHARS_MAX).collect() }
        }
        RefuseCode::Unspecified => LaneError::Protocol("refused for a reason that this version does not know"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_agree_on_the_highest_or_name_both_ranges() {
        let range = |min, max| Some(v1::ProtocolRange { min, max });
        assert_eq!(agree(range(1, 7)).unwrap(), 2);
        assert_eq!(agree(range(1, 1)).unwrap(), 1);
        for theirs in [range(3, 4), range(0, 0), None] {
            let error = agree(theirs).unwrap_err();
            assert!(matches!(error, LaneError::Version { .. }), "{error}");
        }
        let text = agree(range(3, 4)).unwrap_err().to_string();
        assert_eq!(text, "could not agree on a protocol: this side speaks 1 to 2, the peer 3 to 4");
    }

    #[test]
    fn a_refusal_says_the_same_on_both_sides() {
        let channel = || String::from("uplink");
        for error in [
            LaneError::OutOfSequence { channel: channel(), found: Seq(9), expected: Seq(7) },
            LaneError::Duplicate { channel: channel(), found: Seq(3), expected: Seq(7) },
            LaneError::Fenced { channel: channel(), epoch: Epoch(1), current: Epoch(2) },
            LaneError::Full { channel: channel(), held: Seq(3) },
            LaneError::UnknownChannel { channel: channel() },
            LaneError::TooMany { channel: channel() },
            LaneError::Unauthenticated { why: "lab has the certificate of edge".into() },
        ] {
            let there = refused(refusal(&error).unwrap());
            assert_eq!(there.to_string(), error.to_string());
        }
        assert!(refusal(&LaneError::Silent).is_none());
    }

    #[test]
    fn a_token_is_never_shown() {
        let hello = v1::Hello { process: "edge".into(), token: Bytes::from_static(b"secret"), ..Default::default() };
        let shown = format!("{:?}", from_producer(from_producer::Message::Hello(hello)));
        assert!(shown.contains("edge") && !shown.contains("secret"), "{shown}");
        assert!(!shown.contains(&format!("{:?}", b"secret")), "{shown}");
    }

    #[test]
    fn a_publish_beyond_a_limit_is_refused() {
        let publish = |first, packets: Vec<usize>| v1::Publish {
            epoch: 1,
            entered: 1,
            first,
            packets: packets.into_iter().map(|size| Bytes::from(vec![0; size])).collect(),
            ..Default::default()
        };
        assert_eq!(check_publish(&publish(1, vec![1, 2])).unwrap(), 3);
        assert_eq!(check_publish(&publish(1, vec![BATCH_BYTES_MAX + 1])).unwrap(), BATCH_BYTES_MAX + 1);
        check_publish(&publish(1, vec![])).unwrap_err();
        check_publish(&publish(0, vec![1])).unwrap_err();
        check_publish(&publish(u64::MAX, vec![1])).unwrap_err();
        check_publish(&publish(1, vec![0; BATCH_PACKETS_MAX + 1])).unwrap_err();
        check_publish(&publish(1, vec![BATCH_BYTES_MAX, 1])).unwrap_err();
        check_publish(&publish(1, vec![PACKET_BYTES_MAX + 1])).unwrap_err();
        check_publish(&v1::Publish { entered: 2, ..publish(1, vec![1]) }).unwrap_err();
    }

    #[test]
    fn a_host_that_finds_no_room_waits_longer_and_longer() {
        let waits = [1, 2, 3, 7, 8, 1000, u32::MAX].map(full_retry_ns);
        assert_eq!(waits.map(|ns| ns / 1_000_000), [1, 2, 4, 64, 100, 100, 100]);
    }

    #[test]
    fn credits_bound_packets_and_bytes_but_let_one_batch_fly() {
        let credits = v1::Credits { packets: 10, bytes: 100 };
        assert!(fits(credits, 0, 0, 1, 1000));
        assert!(!fits(credits, 1, 50, 1, 51));
        assert!(!fits(credits, 9, 0, 2, 1));
        assert!(fits(credits, 0, 0, 11, 1));
        assert!(!fits(v1::Credits { packets: 0, bytes: 100 }, 0, 0, 1, 1));
    }
}
