//! Taking from a channel as a member of a group, over a lane or within the host's own process.
//!
//! ```text
//!  host: Desk ── Session ──► server ═══ rpc Take ═══► client ──► Seat :member
//!          └──── Session ──────────── here ───────────────────► Seat
//! ```
//! The host decides: who holds what, and since when. The member only says what became of it, and what it still holds when it
//! comes again.

pub mod client;
pub(crate) mod server;
mod wire;

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::LaneError;
pub use crate::channel::terms::{Settle, ToMember};
use crate::env::Fut;
use crate::packet::Seq;

/// Most answers that wait for a member, beside those about what it holds when it joins: any of that may be over. One that lets
/// more gather has stalled, and its session ends.
pub const ANSWERS_MAX: usize = 1024;

/// A member's side: what it holds, and what it has to say. Lives as long as the member's engine, over many sessions.
pub trait Seat: Send + Sync {
    /// The channel's name.
    fn channel(&self) -> &str;
    /// The group's name.
    fn group(&self) -> &str;
    /// Most packets that it wants to hold at a time.
    fn credits(&self) -> u32;
    /// A session is about to begin: gives what is still held, lease and packet. Nothing is told until it is heard to be in.
    fn joining(&self) -> BTreeSet<(u64, Seq)>;
    /// Takes in what the host said.
    ///
    /// # Errors
    /// When the session can't go on; it is tried again.
    fn heard(&self, message: ToMember) -> Result<(), LaneError>;
    /// What the host is to be told next; waits until there is something. Dropping it loses nothing that `joining` can't say.
    fn next(&self) -> Fut<'static, Settle>;
}

/// The host's side of one group.
pub trait Desk: Send + Sync {
    /// The channel's name.
    fn channel(&self) -> &str;
    /// The group's name.
    fn group(&self) -> &str;
    /// Lets a member in, ending its older session; its packets come by the session from then on.
    ///
    /// # Errors
    /// [`LaneError::UnknownChannel`] for who is no member of the group.
    fn join(
        &self,
        member: &str,
        credits: u32,
        holding: BTreeSet<(u64, Seq)>,
    ) -> Fut<'static, Result<Session, LaneError>>;
}

/// What a session tells its desk.
#[derive(Debug)]
pub enum ToDesk {
    /// A member came.
    Join {
        /// Who.
        member: Arc<str>,
        /// Most packets that it wants to hold.
        credits: u32,
        /// What it still holds.
        holding: BTreeSet<(u64, Seq)>,
        /// Where its answers go.
        out: mpsc::Sender<ToMember>,
        /// Where its session's number goes.
        session: tokio::sync::oneshot::Sender<u64>,
    },
    /// A member settles.
    Settle {
        /// Who.
        member: Arc<str>,
        /// In which session.
        session: u64,
        /// What.
        settle: Settle,
    },
}

/// A member's session at a desk. Dropping it ends the session; what the member holds stays its own until it expires.
#[derive(Debug)]
pub struct Session {
    /// Who.
    pub member: Arc<str>,
    /// Which session of its.
    pub session: u64,
    /// What the host tells. Ends when the session was ended from there.
    pub heard: mpsc::Receiver<ToMember>,
    /// To the desk.
    pub desk: mpsc::Sender<ToDesk>,
}

impl Session {
    /// Tells the desk; waits while it has too much to do.
    ///
    /// # Errors
    /// [`LaneError::Closed`] when the desk is gone.
    pub async fn settle(&self, settle: Settle) -> Result<(), LaneError> {
        let (member, session) = (self.member.clone(), self.session);
        self.desk.send(ToDesk::Settle { member, session, settle }).await.map_err(|_| LaneError::Closed)
    }
}

/// Joins a seat to a desk of the same process, again whenever a session ends, until dropped.
///
/// # Errors
/// When the desk refuses, or is gone.
pub async fn here(
    seat: Arc<dyn Seat>,
    desk: Arc<dyn Desk>,
    member: &str,
) -> Result<std::convert::Infallible, LaneError> {
    loop {
        let mut session = desk.join(member, seat.credits(), seat.joining()).await?;
        let mut next = seat.next();
        loop {
            tokio::select! {
                biased;
                heard = session.heard.recv() => match heard.map(|heard| seat.heard(heard)) {
                    Some(Ok(())) => {}
                    // The desk let it go, or it could not go on as it was.
                    Some(Err(_)) | None => break,
                },
                settle = &mut next => {
                    session.settle(settle).await?;
                    next = seat.next();
                }
            }
        }
        // What keeps it from going on needs the others to run.
        tokio::task::yield_now().await;
    }
}
