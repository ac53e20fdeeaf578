//! A network without a wire: processes of one test reach each other by name, over streams in memory.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use seaworthy_engine::env::{Fut, Io, Listener, Net, Stream};
use tokio::sync::mpsc;

/// Bytes that may be under way in one direction.
const STREAM_BYTES: usize = 64 << 10;
/// Connections that may wait to be accepted.
const BACKLOG: usize = 16;

/// The network. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Wires(Arc<Mutex<Listeners>>);

/// Where connections go, by process.
type Listeners = BTreeMap<String, mpsc::Sender<Box<dyn Stream>>>;

impl Wires {
    fn listeners(&self) -> MutexGuard<'_, Listeners> {
        self.0.lock().expect("no code panics while it holds the listeners")
    }
}

impl Net for Wires {
    fn connect(&self, process: &str) -> Io<Box<dyn Stream>> {
        let (near, far) = tokio::io::duplex(STREAM_BYTES);
        let taken = self.listeners().get(process).is_some_and(|listener| listener.try_send(Box::new(far)).is_ok());
        Box::pin(async move {
            if taken { Ok(Box::new(near) as Box<dyn Stream>) } else { Err(io::ErrorKind::ConnectionRefused.into()) }
        })
    }

    fn listen(&self, process: &str) -> Io<Box<dyn Listener>> {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        self.listeners().insert(process.to_owned(), sender);
        Box::pin(async { Ok(Box::new(Ear(receiver)) as Box<dyn Listener>) })
    }
}

struct Ear(mpsc::Receiver<Box<dyn Stream>>);

impl Listener for Ear {
    fn accept(&mut self) -> Fut<'_, io::Result<Box<dyn Stream>>> {
        Box::pin(async { self.0.recv().await.ok_or_else(|| io::ErrorKind::ConnectionAborted.into()) })
    }
}
