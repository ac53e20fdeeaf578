//! What one side has yet to send on a connection: a queue that gRPC pulls from, where a newer word replaces the older.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use futures_util::Stream;

/// A queue of outgoing messages. Clones share it; whoever polls it as a stream takes them out.
///
/// It bounds nothing by itself: messages of a slot replace each other, and the others are bounded by credits.
pub struct Mailbox<T>(Arc<Mutex<Inner<T>>>);

struct Inner<T> {
    queue: VecDeque<(Option<u64>, T)>,
    closed: bool,
    waker: Option<Waker>,
    /// When the oldest that waits could first have been taken.
    waiting_since_ns: u64,
}

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        Mailbox(self.0.clone())
    }
}

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        Mailbox(Arc::new(Mutex::new(Inner { queue: VecDeque::new(), closed: false, waker: None, waiting_since_ns: 0 })))
    }
}

impl<T> Mailbox<T> {
    /// Sends `message` at `now_ns`, after all that wait. With a slot, it takes the place of the one of the same slot that
    /// still waits. Nothing happens once closed.
    pub fn push(&self, now_ns: u64, slot: Option<u64>, message: T) {
        let mut inner = self.lock();
        if inner.closed {
            return;
        }
        if inner.queue.is_empty() {
            inner.waiting_since_ns = now_ns;
        }
        match inner.queue.iter_mut().find(|(waiting, _)| slot.is_some() && *waiting == slot) {
            Some((_, waiting)) => *waiting = message,
            None => inner.queue.push_back((slot, message)),
        }
        if let Some(waker) = inner.waker.take() {
            waker.wake();
        }
    }

    /// Ends the stream after what waits.
    pub fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        if let Some(waker) = inner.waker.take() {
            waker.wake();
        }
    }

    /// For how long nothing was taken although something waits; 0 when nothing waits.
    #[must_use]
    pub fn stalled_ns(&self, now_ns: u64) -> u64 {
        let inner = self.lock();
        if inner.queue.is_empty() { 0 } else { now_ns.saturating_sub(inner.waiting_since_ns) }
    }

    /// How many messages wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.lock().queue.len()
    }

    /// The stream that gRPC pulls from; `now_ns` tells it the time of each pull.
    pub fn outgoing(&self, now_ns: impl Fn() -> u64 + Send + Unpin + 'static) -> impl Stream<Item = T> + Send + 'static
    where
        T: Send + 'static,
    {
        Outgoing { mailbox: self.clone(), now_ns }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.0.lock().expect("nothing panics while it holds a mailbox")
    }
}

struct Outgoing<T, N> {
    mailbox: Mailbox<T>,
    now_ns: N,
}

impl<T, N: Fn() -> u64 + Unpin> Stream for Outgoing<T, N> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut inner = self.mailbox.lock();
        match inner.queue.pop_front() {
            Some((_, message)) => {
                inner.waiting_since_ns = (self.now_ns)();
                Poll::Ready(Some(message))
            }
            None if inner.closed => Poll::Ready(None),
            None => {
                inner.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{FutureExt, StreamExt};

    #[test]
    fn a_slot_holds_the_newest_only_and_stalls_are_told() {
        let mailbox = Mailbox::default();
        mailbox.push(10, Some(1), "ack 1");
        mailbox.push(20, None, "refuse");
        mailbox.push(30, Some(1), "ack 2");
        assert_eq!(mailbox.stalled_ns(40), 30);
        let mut outgoing = mailbox.outgoing(|| 35);
        assert_eq!(outgoing.next().now_or_never(), Some(Some("ack 2")));
        assert_eq!(mailbox.stalled_ns(40), 5);
        mailbox.close();
        mailbox.push(50, None, "too late");
        assert_eq!(outgoing.next().now_or_never(), Some(Some("refuse")));
        assert_eq!(outgoing.next().now_or_never(), Some(None));
        assert_eq!(mailbox.stalled_ns(99), 0);
    }
}
