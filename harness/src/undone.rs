//! What a host had confirmed and its disk forgot, where commits count before they are synced: by the host's own events, which say
//! up to where its journal was written, and where it went on.

use std::collections::{BTreeMap, BTreeSet};

use seaworthy_engine::observe::{Place, What};
use seaworthy_engine::packet::Seq;

use crate::history::History;
use crate::plan::Ns;

/// What a host has confirmed and not synced.
#[derive(Default)]
struct Host {
    /// Frames: the LSN behind each, and the events of its records.
    frames: Vec<(Seq, Vec<usize>)>,
    /// Packets that it handed out meanwhile.
    granted: Vec<usize>,
    /// Since when, ns.
    since_ns: Ns,
}

/// The events that did not happen after all, by their place in the history.
#[must_use]
pub fn undone(history: &History) -> BTreeSet<usize> {
    let mut undone = BTreeSet::new();
    let mut hosts: BTreeMap<&str, Host> = BTreeMap::new();
    for (at, probed) in history.events.iter().enumerate() {
        let event = &probed.event;
        let host = match event.what {
            What::Confirmed => hosts.entry(&probed.host).or_default(),
            // Where commits are synced, nothing is ever undone.
            _ => match hosts.get_mut(&*probed.host) {
                Some(host) => host,
                None => continue,
            },
        };
        match event.what {
            What::Confirmed => {
                if host.frames.is_empty() {
                    (host.since_ns, host.granted) = (probed.at_ns, vec![]);
                }
                host.frames.push((event.seq, vec![]));
            }
            What::Committed | What::Settled { .. } | What::DeadLettered { .. } => {
                if let Some((_, events)) = host.frames.last_mut() {
                    events.push(at);
                }
            }
            What::Granted { .. } => host.granted.push(at),
            What::Synced => host.frames.retain(|(upto, _)| *upto > event.seq),
            What::Recovered => {
                let Host { frames, granted, since_ns } = std::mem::take(host);
                let forgot =
                    |(of, at_ns): &(String, Ns)| *of == *probed.host && (since_ns..=probed.at_ns).contains(at_ns);
                // A process that ended took nothing with it.
                if !history.forgot.iter().any(forgot) {
                    continue;
                }
                let gone: Vec<usize> =
                    frames.into_iter().filter(|(upto, _)| *upto > event.seq).flat_map(|(_, events)| events).collect();
                let slot = |at: usize| (&history.events[at].event.place, history.events[at].event.seq);
                let committed = gone.iter().filter(|at| history.events[**at].event.what == What::Committed);
                let numbers: BTreeSet<(&Place, Seq)> = committed.map(|at| slot(*at)).collect();
                undone.extend(granted.into_iter().filter(|at| numbers.contains(&slot(*at))));
                undone.extend(gone);
            }
            _ => {}
        }
    }
    undone
}

#[cfg(test)]
mod tests {
    use seaworthy_engine::observe::Event;

    use super::*;
    use crate::history::Probed;

    fn history(events: &[(What, &str, u64)]) -> History {
        let events = events.iter().map(|(what, place, seq)| {
            let (what, place, seq) = (what.clone(), Place::from(*place), Seq(*seq));
            let event = Event { what, place, identity: None, seq, attempt: 0 };
            Probed { at_ns: 0, host: "edge".into(), incarnation: 1, event }
        });
        History { events: events.collect(), forgot: vec![("edge".to_owned(), 0)], ..History::default() }
    }

    #[test]
    fn what_lies_behind_the_lsn_where_a_journal_goes_on_did_not_happen() {
        let settled = || What::Settled { took_effect: false };
        let all = history(&[
            (What::Confirmed, "edge", 2),
            (What::Committed, "channel/up", 1),
            (settled(), "source/feed", 1),
            (What::Synced, "edge", 2),
            (What::Confirmed, "edge", 4),
            (What::Committed, "channel/up", 2),
            (settled(), "source/feed", 2),
            (What::Granted { to: None }, "channel/up", 1),
            (What::Granted { to: None }, "channel/up", 2),
            (What::Confirmed, "edge", 6),
            (settled(), "channel/up", 1),
            (settled(), "source/feed", 3),
            (What::Recovered, "edge", 4),
            (What::Confirmed, "edge", 6),
            (settled(), "source/feed", 4),
        ]);
        assert_eq!(undone(&all).into_iter().collect::<Vec<_>>(), [10, 11]);
        let mut more = all;
        more.events[12].event.seq = Seq(2);
        assert_eq!(undone(&more).into_iter().collect::<Vec<_>>(), [5, 6, 8, 10, 11]);
    }

    #[test]
    fn where_commits_are_synced_or_no_disk_forgot_nothing_is_undone() {
        let synced =
            history(&[(What::Synced, "edge", 2), (What::Committed, "channel/up", 1), (What::Recovered, "edge", 1)]);
        assert!(undone(&synced).is_empty());
        let mut killed =
            history(&[(What::Confirmed, "edge", 2), (What::Committed, "channel/up", 1), (What::Recovered, "edge", 1)]);
        assert_eq!(undone(&killed).len(), 1);
        killed.forgot.clear();
        assert!(undone(&killed).is_empty(), "no disk forgot anything");
    }
}
