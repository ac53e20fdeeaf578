//! The two threads of a disk, one that writes and one that reads, and the order between them.
//!
//! A call queues its job before it returns, so dropping its future cancels nothing. A full queue makes the caller wait:
//! whoever has [`QUEUE_MAX`] operations outstanding has nothing better to do.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;

use tokio::sync::oneshot;

use crate::env::Io;

/// Jobs that wait for one thread at most.
pub(super) const QUEUE_MAX: usize = 1024;

type Job = Box<dyn FnOnce() + Send>;

/// Which thread does a job.
#[derive(Clone, Copy)]
pub(super) enum Lane {
    Read,
    Write,
}

/// The two threads; they end once all handles are dropped and their queues are empty.
pub(super) struct Queues {
    /// Held while a job gets its turn and its place, so that turns grow along each queue.
    lanes: Mutex<[SyncSender<Job>; 2]>,
}

impl Queues {
    pub(super) fn start() -> io::Result<Queues> {
        Ok(Queues { lanes: Mutex::new([worker("disk-read")?, worker("disk-write")?]) })
    }

    /// Queues `job`; what comes back waits for its answer.
    pub(super) fn issue<T: Send + 'static>(
        &self,
        lane: Lane,
        job: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Io<T> {
        let lanes = lock(&self.lanes);
        Self::send(&lanes, lane, job)
    }

    /// Queues `job` behind all that was issued on `turns`, whichever thread does it.
    pub(super) fn issue_in_turn<T: Send + 'static>(
        &self,
        lane: Lane,
        turns: &Arc<Turns>,
        job: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Io<T> {
        let lanes = lock(&self.lanes);
        let turn = turns.take();
        Self::send(&lanes, lane, move || turn.run(job))
    }

    fn send<T: Send + 'static>(
        lanes: &[SyncSender<Job>; 2],
        lane: Lane,
        job: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Io<T> {
        let (answer, answered) = oneshot::channel();
        // The caller may have stopped waiting; the job is done all the same.
        let job = Box::new(move || drop(answer.send(job())));
        let sent = lanes[lane as usize].send(job);
        Box::pin(async move {
            sent.map_err(|_| ended())?;
            answered.await.map_err(|_| ended())?
        })
    }
}

fn worker(name: &str) -> io::Result<SyncSender<Job>> {
    let (jobs, queue): (_, Receiver<Job>) = sync_channel(QUEUE_MAX);
    Builder::new().name(name.to_owned()).spawn(move || queue.into_iter().for_each(|job| job()))?;
    Ok(jobs)
}

fn ended() -> io::Error {
    io::Error::other("the disk's thread has ended")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The order of one file's operations. Each waits only for earlier ones, and those are ahead in their queues.
#[derive(Default)]
pub(super) struct Turns {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    taken: u64,
    done: u64,
}

struct Turn {
    turns: Arc<Turns>,
    number: u64,
}

impl Turns {
    fn take(self: &Arc<Self>) -> Turn {
        let mut state = lock(&self.state);
        state.taken += 1;
        Turn { turns: self.clone(), number: state.taken - 1 }
    }
}

impl Turn {
    fn run<T>(self, job: impl FnOnce() -> T) -> T {
        let early = |state: &mut State| state.done < self.number;
        drop(self.turns.changed.wait_while(lock(&self.turns.state), early).unwrap_or_else(PoisonError::into_inner));
        let result = job();
        lock(&self.turns.state).done += 1;
        self.turns.changed.notify_all();
        result
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[tokio::test]
    async fn a_file_s_operations_keep_their_order_across_threads() {
        let queues = Queues::start().unwrap();
        let turns = Arc::new(Turns::default());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let mut last = None;
        for number in 0..3 * QUEUE_MAX {
            let lane = if number % 3 == 0 { Lane::Read } else { Lane::Write };
            let seen = seen.clone();
            last = Some(queues.issue_in_turn(lane, &turns, move || {
                lock(&seen).push(number);
                Ok(number)
            }));
        }
        assert_eq!(last.unwrap().await.unwrap(), 3 * QUEUE_MAX - 1);
        assert!(lock(&seen).iter().copied().eq(0..3 * QUEUE_MAX));
    }

    thread_local! {
        static ENDS: RefCell<Option<oneshot::Sender<()>>> = const { RefCell::new(None) };
    }

    #[tokio::test]
    async fn jobs_run_though_nobody_waits_and_threads_end_with_their_handles() {
        let queues = Queues::start().unwrap();
        let (sender, ended) = oneshot::channel();
        drop(queues.issue(Lane::Write, move || {
            ENDS.set(Some(sender));
            Ok(())
        }));
        drop(queues);
        ended.await.expect_err("the thread drops what it holds when it ends");
    }
}
