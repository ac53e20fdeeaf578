//! When a commit counts, and what a power cut may then cost.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// When a commit is confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Durability {
    /// Once it is synced. Nothing that was confirmed is lost to a power cut.
    #[default]
    Sync,
    /// Once it is written; what was written is synced after this time. A power cut may cost what was confirmed in it, and in
    /// the sync that was under way.
    Interval {
        /// Milliseconds.
        ms: u32,
    },
    /// Once it is written; when it is synced is up to the operating system.
    Os,
}

impl Durability {
    /// What a power cut may cost, for a person; `None` when that is nothing. A crash of the process costs nothing in any case.
    #[must_use]
    pub fn loss_window(self) -> Option<String> {
        match self {
            Durability::Sync => None,
            Durability::Interval { ms } => {
                Some(format!("what was confirmed in the last {ms} ms that it runs, and during a sync, may be lost to a power cut or a failed sync"))
            }
            Durability::Os => Some(
                "what was confirmed since the operating system last wrote (often 30 s) may be lost to a power cut or a failed sync"
                    .to_owned(),
            ),
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Durability::Sync => f.write_str("sync"),
            Durability::Interval { ms } => write!(f, "interval:{ms}"),
            Durability::Os => f.write_str("os"),
        }
    }
}

impl FromStr for Durability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let interval = |ms: &str| ms.parse().ok().filter(|ms| (1..=60_000).contains(ms));
        match text {
            "sync" => Ok(Durability::Sync),
            "os" => Ok(Durability::Os),
            _ => match text.strip_prefix("interval:").and_then(interval) {
                Some(ms) => Ok(Durability::Interval { ms }),
                None => Err("`sync`, `os`, or `interval:MS` with 1 to 60000 milliseconds".to_owned()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_read() {
        for text in ["sync", "os", "interval:1", "interval:60000"] {
            assert_eq!(text.parse::<Durability>().map(|durability| durability.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "interval", "interval:0", "interval:60001", "interval:-1", "fsync"] {
            assert!(text.parse::<Durability>().is_err(), "{text}");
        }
    }
}
