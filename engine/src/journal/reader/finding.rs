//! What a reader found wrong or worth a word, with its place and its LSNs.

use std::fmt;
use std::ops::Range;

use crate::journal::Lsn;
use crate::journal::frame::At;
use crate::journal::segment;
use crate::packet::Seq;

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Bytes that are no frame, though later frames say that a frame was durable there.
    Damaged {
        /// Where they begin.
        at: At,
        /// How many there are.
        bytes: u64,
        /// The records that are gone with them; empty where it held only a mark or small state.
        lost: Range<Lsn>,
        /// True when a repair has moved the bytes into a side file.
        quarantined: bool,
    },
    /// Whole segments are not there.
    Missing {
        /// Their numbers, both ends included.
        segments: (u64, u64),
        /// The records that are gone with them.
        lost: Range<Lsn>,
    },
    /// A segment's header sector is damaged. What it said is known from the first frame.
    Headless {
        /// The segment.
        segment: u64,
        /// True when it is the last segment, whose header the next opening writes again: a power cut may have torn the write that
        /// began it, and nothing is lost.
        last: bool,
        /// True when a repair has moved the sector into a side file.
        quarantined: bool,
    },
    /// A segment's footer is not what its frames say. After a power cut it may be torn, which is no damage: it is never needed.
    Footer {
        /// Where it is.
        at: At,
        /// What is wrong, as the end of a sentence about it.
        why: &'static str,
        /// True where the frames themselves are others than they were.
        damage: bool,
    },
    /// A file that belongs to no journal, or to another one.
    Foreign {
        /// Its name.
        name: String,
        /// What shows it.
        why: String,
        /// True when it is a whole segment of another journal, which can be moved out of the way.
        is_segment: bool,
    },
    /// A frame is whole, but a record in it can't be read by this version.
    Unreadable {
        /// The frame.
        at: At,
        /// The decoder's words.
        why: String,
    },
    /// The end was never confirmed, and the next opening cuts it. After a crash that is how it should be; beside a writer it
    /// is what the writer is writing.
    Cut {
        /// Where it begins.
        at: At,
        /// The first record that may or may not have been there.
        from: Lsn,
        /// The first one after them, as far as the remains tell.
        to: Option<Lsn>,
    },
    /// The writer gave a segment back while it was being read: all in it was settled.
    Recycled {
        /// The segment.
        segment: u64,
    },
    /// A file of a segment's name with nothing of this journal in it; the next opening makes it a spare, or removes it.
    Leftover {
        /// Its name.
        name: String,
    },
    /// Numbers of a channel that a group has not settled, and no segment holds.
    Gone {
        /// The channel, as `channel/ID` or `stage/NODE`.
        input: String,
        /// The group.
        group: String,
        /// The first and the last of them.
        numbers: (Seq, Seq),
        /// True where damage that was dealt with explains it.
        known: bool,
    },
}

impl Finding {
    /// True when something is wrong that was right once, and nobody has dealt with it.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Finding::Damaged { quarantined, .. } => !quarantined,
            Finding::Headless { quarantined, last, .. } => !quarantined && !last,
            Finding::Footer { damage, .. } => *damage,
            Finding::Gone { known, .. } => !known,
            Finding::Missing { .. } | Finding::Foreign { .. } | Finding::Unreadable { .. } => true,
            Finding::Cut { .. } | Finding::Recycled { .. } | Finding::Leftover { .. } => false,
        }
    }

    /// A short name for programs, e.g. `damaged`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Finding::Damaged { .. } => "damaged",
            Finding::Missing { .. } => "missing",
            Finding::Headless { .. } => "headless",
            Finding::Footer { .. } => "footer",
            Finding::Foreign { .. } => "foreign",
            Finding::Unreadable { .. } => "unreadable",
            Finding::Cut { .. } => "cut",
            Finding::Recycled { .. } => "recycled",
            Finding::Leftover { .. } => "leftover",
            Finding::Gone { .. } => "gone",
        }
    }

    /// The records that are lost, exactly; empty when none are.
    #[must_use]
    pub fn lost(&self) -> Range<Lsn> {
        match self {
            Finding::Damaged { lost, .. } | Finding::Missing { lost, .. } => lost.clone(),
            _ => Lsn(0)..Lsn(0),
        }
    }
}

struct Lost<'a>(&'a Range<Lsn>);

impl fmt::Display for Lost<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Range { start, end } = self.0;
        if start == end { f.write_str("no record is lost") } else { write!(f, "records {start}..{end} are lost") }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moved = |quarantined: &bool| if *quarantined { "; they are in a quarantine file" } else { "" };
        match self {
            Finding::Damaged { at, bytes, lost, quarantined } => write!(
                f,
                "{} at {}: {bytes} bytes are no frame, though one was durable there; {}{}",
                segment::name(at.segment),
                at.offset,
                Lost(lost),
                moved(quarantined)
            ),
            Finding::Missing { segments: (first, last), lost } if first == last => {
                write!(f, "{} is missing; {}", segment::name(*first), Lost(lost))
            }
            Finding::Missing { segments: (first, last), lost } => {
                write!(f, "{} to {} are missing; {}", segment::name(*first), segment::name(*last), Lost(lost))
            }
            Finding::Headless { segment, last: true, .. } => write!(
                f,
                "{}: the header is torn, as a power cut may leave it; the next opening writes it again",
                segment::name(*segment)
            ),
            Finding::Headless { segment, quarantined, .. } => write!(
                f,
                "{}: the header is damaged; what it said is known from the first frame{}",
                segment::name(*segment),
                moved(quarantined)
            ),
            Finding::Footer { at, why, .. } => {
                write!(f, "{} at {}: the footer {why}", segment::name(at.segment), at.offset)
            }
            Finding::Foreign { name, why, .. } => write!(f, "{name} doesn't belong here: {why}"),
            Finding::Unreadable { at, why } => {
                write!(f, "{} at {}: the frame is whole, but {why}", segment::name(at.segment), at.offset)
            }
            Finding::Cut { at, from, to } => {
                let to = to.map_or_else(|| "?".to_owned(), |to| to.to_string());
                let name = segment::name(at.segment);
                write!(f, "{name} at {}: CUT {from}..{to} (indeterminate: never confirmed)", at.offset)
            }
            Finding::Recycled { segment } => {
                write!(f, "{} was given back while it was read: all in it is settled", segment::name(*segment))
            }
            Finding::Gone { input, group, numbers: (from, to), known } => {
                let why = if *known { "; damage that was quarantined explains it" } else { "" };
                write!(f, "{input} {from}..={to}: not settled by {group}, and in no segment{why}")
            }
            Finding::Leftover { name } => {
                write!(f, "{name} holds nothing of this journal; the next opening makes it a spare, or removes it")
            }
        }
    }
}
