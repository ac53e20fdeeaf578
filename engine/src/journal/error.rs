//! Why a journal can't be opened or can't go on.

use std::io;
use std::sync::Arc;

/// Why a journal can't be opened or can't go on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    /// Somebody else has it open.
    #[error(
        "could not lock the journal: another process uses this data directory; stop it, or name another --data-dir"
    )]
    Locked,
    /// Something in the directory isn't ours.
    #[error(
        "could not open the journal: `{name}` doesn't belong to it ({why}); move it elsewhere, or name another --data-dir"
    )]
    Foreign {
        /// The file.
        name: String,
        /// What shows it.
        why: String,
    },
    /// Written by another version.
    #[error(
        "could not open the journal: `{name}` has format version {found}, this binary reads up to {supported}; use the release that wrote it"
    )]
    Version {
        /// The file.
        name: String,
        /// Its version.
        found: u16,
        /// The newest that this binary reads.
        supported: u16,
    },
    /// No room for the first segment.
    #[error(
        "could not create the journal: the disk has no room for {bytes} bytes; free some, or choose smaller segments"
    )]
    NoRoom {
        /// What was needed.
        bytes: u64,
    },
    /// The disk failed.
    #[error("could not {what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The disk's answer.
        source: Arc<io::Error>,
    },
    /// The disk did not give a segment.
    #[error(
        "could not read {name}: {source}; where that stays so, `seaworthy queue fsck --repair` moves what can't be read out of the way, and says what is lost"
    )]
    Unread {
        /// The file.
        name: String,
        /// The disk's answer.
        source: Arc<io::Error>,
    },
    /// A transaction larger than a frame.
    #[error("could not append {bytes} bytes in one transaction: the limit is {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// `frame_bytes_max`.
        limit: usize,
    },
    /// The small state has outgrown the segments.
    #[error(
        "could not begin a segment: cursors and node state take {bytes} bytes, at most {limit} fit; choose larger segments"
    )]
    StateTooLarge {
        /// What it takes.
        bytes: u64,
        /// Half a segment.
        limit: u64,
    },
    /// A write or sync failed earlier; nothing is taken any more.
    #[error("the journal stopped: {cause}; restart to recover what is durable")]
    Stopped {
        /// The first failure.
        cause: String,
    },
}

impl JournalError {
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> JournalError {
        move |source| JournalError::Io { what: what.into(), source: Arc::new(source) }
    }

    pub(super) fn unread(name: &str) -> impl FnOnce(io::Error) -> JournalError {
        move |source| JournalError::Unread { name: name.to_owned(), source: Arc::new(source) }
    }
}

/// True for "no space left on device" and for an exceeded quota.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        || error.raw_os_error() == Some(28)
}
