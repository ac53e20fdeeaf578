//! Inboxes: the bounded queues between nodes. A full one blocks its senders unless the graph says otherwise.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, Semaphore};

use super::tree::{Done, Item};
use crate::graph::{InboxSpec, Overflow};
use crate::journal::record::Name;

/// A bounded queue of packets with many senders and one taker.
pub(crate) struct Inbox {
    /// Whose it is.
    pub(crate) node: Name,
    queue: Mutex<VecDeque<Item>>,
    /// One permit a free place; fair, so that no sender starves.
    places: Semaphore,
    arrived: Notify,
    senders: AtomicUsize,
    spec: InboxSpec,
    /// What its node had written before the restart: that is not handled again, and takes no place here.
    done: Mutex<Done>,
}

/// Why an item was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turned {
    /// `inbox_overflow: drop_new`.
    DropNew,
    /// `inbox_overflow: drop_oldest`.
    DropOldest,
    /// `inbox_overflow: error`.
    Error,
}

impl Inbox {
    pub(crate) fn new(node: &Name, spec: InboxSpec, done: Done) -> Arc<Self> {
        Arc::new(Inbox {
            node: node.clone(),
            queue: Mutex::new(VecDeque::new()),
            places: Semaphore::new(spec.max),
            arrived: Notify::new(),
            senders: AtomicUsize::new(0),
            spec,
            done: Mutex::new(done),
        })
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, VecDeque<Item>> {
        self.queue.lock().expect("no code panics while it holds an inbox")
    }

    /// Takes out what its node is done with since before the restart.
    pub(crate) fn take_done(&self, items: &mut Vec<Item>) -> Vec<Item> {
        let mut done = self.done.lock().expect("no code panics while it looks what is done");
        if done.is_empty() { Vec::new() } else { items.extract_if(.., |item| done.take(item)).collect() }
    }

    /// Adds a sender; the inbox ends when all have left.
    pub(crate) fn join(&self) {
        self.senders.fetch_add(1, Ordering::Relaxed);
    }

    /// A sender is done.
    pub(crate) fn leave(&self) {
        if self.senders.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.arrived.notify_one();
        }
    }

    /// Puts items in, in order. What a full inbox turns away comes back with the reason; the caller ends those branches.
    pub(crate) async fn push(&self, items: Vec<Item>) -> Vec<(Item, Turned)> {
        let mut turned = Vec::new();
        if self.spec.overflow == Overflow::Block {
            let mut items = items.into_iter();
            while items.len() > 0 {
                let free = self.places.available_permits().clamp(1, items.len());
                let free = u32::try_from(free).expect("an inbox is bounded to fewer than 4 G packets");
                self.places.acquire_many(free).await.expect("an inbox's semaphore is never closed").forget();
                self.queue().extend(items.by_ref().take(free as usize));
                self.arrived.notify_one();
            }
            return turned;
        }
        for item in items {
            match self.places.try_acquire() {
                Ok(permit) => {
                    permit.forget();
                    self.queue().push_back(item);
                }
                Err(_) => match self.spec.overflow {
                    Overflow::DropOldest => {
                        let mut queue = self.queue();
                        let oldest =
                            queue.pop_front().expect("an inbox without a free place holds at least one packet");
                        queue.push_back(item);
                        turned.push((oldest, Turned::DropOldest));
                    }
                    Overflow::DropNew => turned.push((item, Turned::DropNew)),
                    Overflow::Error | Overflow::Block => turned.push((item, Turned::Error)),
                },
            }
        }
        self.arrived.notify_one();
        turned
    }

    /// The next items, at least one and at most `max`; `None` when all senders have left and it is empty.
    pub(crate) async fn take(&self, max: usize) -> Option<Vec<Item>> {
        loop {
            let arrived = self.arrived.notified();
            {
                let mut queue = self.queue();
                if !queue.is_empty() {
                    let count = queue.len().min(max);
                    // Mostly all of it: then the queue itself changes hands.
                    let rest = queue.split_off(count);
                    let items = Vec::from(std::mem::replace(&mut *queue, rest));
                    self.places.add_permits(count);
                    return Some(items);
                }
                if self.senders.load(Ordering::Relaxed) == 0 {
                    return None;
                }
            }
            arrived.await;
        }
    }
}
