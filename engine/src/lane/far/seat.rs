//! A seat for one session: what the host says goes to whoever joined, and what he says to the host.

use std::collections::BTreeSet;
use std::future::pending;
use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};

use crate::channel::kind::{Joining, Settle, ToMember};
use crate::env::Fut;
use crate::lane::LaneError;
use crate::lane::take::Seat;
use crate::packet::Seq;

pub(super) struct FarSeat {
    channel: String,
    joining: Joining,
    told: mpsc::Sender<ToMember>,
    said: Arc<Mutex<mpsc::Receiver<Settle>>>,
}

impl FarSeat {
    pub(super) fn new(
        channel: &str,
        joining: Joining,
        told: mpsc::Sender<ToMember>,
        said: mpsc::Receiver<Settle>,
    ) -> Self {
        FarSeat { channel: channel.to_owned(), joining, told, said: Arc::new(Mutex::new(said)) }
    }
}

impl Seat for FarSeat {
    fn channel(&self) -> &str {
        &self.channel
    }

    fn group(&self) -> &str {
        &self.joining.group
    }

    fn credits(&self) -> u32 {
        self.joining.credits
    }

    fn joining(&self) -> BTreeSet<(u64, Seq)> {
        self.joining.holding.clone()
    }

    fn heard(&self, message: ToMember) -> Result<(), LaneError> {
        // Who reads nothing has stalled; who is gone has closed the session.
        self.told.try_send(message).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => LaneError::Stalled,
            mpsc::error::TrySendError::Closed(_) => LaneError::Closed,
        })
    }

    fn next(&self) -> Fut<'static, Settle> {
        let said = self.said.clone();
        Box::pin(async move {
            match said.lock().await.recv().await {
                Some(settle) => settle,
                // Its end is heard by the connection, which ends with the session.
                None => pending().await,
            }
        })
    }
}
