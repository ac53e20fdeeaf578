//! Worlds beside each other: each item on one thread, the results in the items' order, whatever the number of threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

/// Does `work` on all items, `jobs` at a time; what came of each, in their order.
pub fn in_parallel<T: Sync, R: Send>(items: &[T], jobs: usize, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    in_parallel_then(items, jobs, work, |_, result| result)
}

/// The same, but for what `then` makes of each result, on the calling thread, in the order in which they end: so a large result
/// need not be kept.
///
/// # Panics
/// When `work` does.
pub fn in_parallel_then<T: Sync, R: Send, S>(
    items: &[T],
    jobs: usize,
    work: impl Fn(&T) -> R + Sync,
    mut then: impl FnMut(&T, R) -> S,
) -> Vec<S> {
    let jobs = jobs.clamp(1, items.len().max(1));
    let next = AtomicUsize::new(0);
    // Whoever is ahead waits.
    let (sender, receiver) = mpsc::sync_channel(jobs);
    let mut ended: Vec<(usize, S)> = std::thread::scope(|scope| {
        for _ in 0..jobs {
            let (sender, next, work) = (sender.clone(), &next, &work);
            scope.spawn(move || {
                while let at = next.fetch_add(1, Ordering::Relaxed)
                    && let Some(item) = items.get(at)
                    && sender.send((at, work(item))).is_ok()
                {}
            });
        }
        drop(sender);
        receiver.into_iter().map(|(at, result)| (at, then(&items[at], result))).collect()
    });
    ended.sort_by_key(|(at, _)| *at);
    ended.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_items_order_whatever_the_number_of_threads() {
        let items: Vec<u64> = (0..100).collect();
        for jobs in [0, 1, 3, 200] {
            let mut told = Vec::new();
            let then = |n: &u64, square: u64| {
                told.push(*n);
                (*n, square)
            };
            let squares = in_parallel_then(&items, jobs, |n| n * n, then);
            assert_eq!(squares, items.iter().map(|n| (*n, n * n)).collect::<Vec<_>>());
            told.sort_unstable();
            assert_eq!(told, items, "each once");
        }
        assert!(in_parallel(&[] as &[u64], 2, |n| *n).is_empty());
    }
}
