//! Where members of a group join: what they say goes to the group's dispatcher, and what it says to them.

use std::collections::BTreeSet;

use tokio::sync::{mpsc, oneshot};

use crate::channel::lease::MemberName;
use crate::env::Fut;
use crate::lane::LaneError;
use crate::lane::take::{ANSWERS_MAX, Desk, Session, ToDesk};
use crate::packet::Seq;
use crate::process::GroupPlan;

/// Where members of a group join.
pub(super) struct GroupDesk {
    channel: String,
    group: GroupPlan,
    messages: mpsc::Sender<ToDesk>,
}

impl GroupDesk {
    pub(super) fn new(channel: &str, group: &GroupPlan, messages: mpsc::Sender<ToDesk>) -> Self {
        GroupDesk { channel: channel.to_owned(), group: group.clone(), messages }
    }
}

impl Desk for GroupDesk {
    fn channel(&self) -> &str {
        &self.channel
    }

    fn group(&self) -> &str {
        &self.group.id
    }

    fn join(
        &self,
        member: &str,
        credits: u32,
        holding: BTreeSet<(u64, Seq)>,
    ) -> Fut<'static, Result<Session, LaneError>> {
        let known = self.group.members.iter().any(|known| known == member);
        let (channel, desk, member): (_, _, MemberName) = (self.channel.clone(), self.messages.clone(), member.into());
        Box::pin(async move {
            if !known {
                return Err(LaneError::UnknownChannel { channel });
            }
            let (out, heard) = mpsc::channel(ANSWERS_MAX + holding.len());
            let (session, numbered) = oneshot::channel();
            let join = ToDesk::Join { member: member.clone(), credits, holding, out, session };
            desk.send(join).await.map_err(|_| LaneError::Closed)?;
            let session = numbered.await.map_err(|_| LaneError::Closed)?;
            Ok(Session { member, session, heard, desk })
        })
    }
}
