//! When to ping a peer, and when to give it up.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::LaneError;
use super::protocol::IDLE_NS;
use super::wire::Line;
use crate::env::{Clock, Fut};

/// The heartbeat of one side of a connection.
pub(super) struct Heartbeat {
    clock: Arc<dyn Clock>,
    line: Arc<Line>,
    sent_ns: u64,
    beats: u64,
    timer: Fut<'static, ()>,
}

impl Heartbeat {
    pub(super) fn new(clock: Arc<dyn Clock>, line: Arc<Line>) -> Self {
        let (sent_ns, timer) = (clock.mono(), clock.sleep(IDLE_NS));
        Heartbeat { clock, line, sent_ns, beats: 0, timer }
    }

    /// Notes that something was sent, and returns the time.
    pub(super) fn sent(&mut self) -> u64 {
        self.sent_ns = self.clock.mono();
        self.sent_ns
    }

    /// Ready at least once in [`IDLE_NS`]; with a nonce when this side was idle and owes a Ping.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<u64>, LaneError>> {
        ready!(self.timer.as_mut().poll(cx));
        if self.line.is_silent() {
            return Poll::Ready(Err(LaneError::Silent));
        }
        let now = self.clock.mono();
        let idle = now.saturating_sub(self.sent_ns) >= IDLE_NS;
        let since = if idle { now } else { self.sent_ns };
        self.timer = self.clock.sleep_until((since + IDLE_NS).min(self.line.silent_at_ns()));
        self.beats += 1;
        Poll::Ready(Ok(idle.then_some(self.beats)))
    }
}
