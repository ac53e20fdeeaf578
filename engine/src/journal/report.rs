//! What an opening found, for programs and for people.

use std::ops::Range;

use super::Lsn;
use super::durability::Durability;
use super::frame::At;

/// What opening found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Records that were read.
    pub records: u64,
    /// The next LSN.
    pub next: Lsn,
    /// This opening's epoch.
    pub epoch: u64,
    /// Which journal it is; drawn once, when it was created.
    pub journal: u128,
    /// True when there was no journal before.
    pub created: bool,
    /// The generation of the checkpoint that reading began at; `None` when everything was read.
    pub checkpoint: Option<u64>,
    /// Bytes of frames that were read.
    pub scanned_bytes: u64,
    /// True when the last one to open it closed it in good order.
    pub closed: bool,
    /// When the last one to open it confirmed its commits.
    pub durability: Durability,
    /// Everything below was synced, by the journal's own word; more may have been.
    pub synced: Lsn,
    /// Confirmed records that the medium destroyed: exact LSNs.
    pub lost: Vec<Range<Lsn>>,
    /// An unconfirmed tail that was cut: from which LSN, and to where as far as the remains tell.
    pub cut: Option<(Lsn, Option<Lsn>)>,
    /// The last segment, where its header was gone and is written again: a power cut took it from the write that began the
    /// segment, or it rotted.
    pub header_again: Option<u64>,
    /// Every place where a frame was expected and none counted, in the order of the journal.
    pub gaps: Vec<Gap>,
    /// The small state before this LSN is gone: the frames that repeat it at the start of the oldest segment are destroyed,
    /// and no later ones make up for it. Cursors, producers and node state begin anew from what can still be read.
    pub state_lost: Option<Lsn>,
}

/// A place where a frame was expected and none counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Where.
    pub at: At,
    /// The LSN that was expected there.
    pub next: Lsn,
    /// What was there instead.
    pub breach: Breach,
    /// What became of it.
    pub outcome: Outcome,
}

/// What stood where a frame was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breach {
    /// Bytes whose checksum is wrong.
    Damaged,
    /// Nothing of this life of the segment.
    Missing,
    /// A frame that is whole, and follows another than the one before it: that one was replaced, or this one is a remnant.
    Unchained,
}

/// What a gap came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Confirmed records are gone.
    Lost(Range<Lsn>),
    /// Only frames without numbered records are gone: marks, or small state.
    Unnumbered,
    /// What follows was never confirmed, and is cut.
    Cut,
}

impl Recovery {
    /// The findings as lines for a person; empty when there is nothing to say.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let lost = |range: &Range<Lsn>| {
            format!("lost.reported {}..{} (confirmed records that the disk destroyed)", range.start, range.end)
        };
        let mut lines: Vec<String> = self.lost.iter().map(lost).collect();
        if let Some(before) = self.state_lost {
            lines.push(format!(
                "lost.reported state before {before} (the disk destroyed it: packets may come again, node state begins anew)"
            ));
        }
        for gap in self.gaps.iter().filter(|gap| gap.outcome == Outcome::Unnumbered) {
            let (At { segment, offset }, next) = (gap.at, gap.next);
            let what = match gap.breach {
                Breach::Damaged => "a frame without records is damaged",
                Breach::Missing => "a frame without records is missing",
                Breach::Unchained => "a frame doesn't follow the one before it, which may be an older one",
            };
            lines.push(format!("gap at {next}, segment {segment} at {offset}: {what}"));
        }
        if let Some(segment) = self.header_again {
            lines.push(format!("the header of segment {segment} was gone, and is written again: no record was in it"));
        }
        if let Some((from, to)) = self.cut {
            let to = to.map_or_else(|| "?".to_owned(), |to| to.to_string());
            lines.push(format!("CUT {from}..{to} (indeterminate: never confirmed)"));
        }
        if !self.created
            && !self.closed
            && let Some(window) = self.durability.loss_window()
        {
            let (durability, synced, next) = (self.durability, self.synced, self.next);
            lines.push(format!(
                "loss window: durability was {durability}, {window}; synced up to {synced}, found up to {next}"
            ));
        }
        lines
    }
}
