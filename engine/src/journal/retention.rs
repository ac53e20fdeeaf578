//! How long a segment is kept that nobody needs: for replays. Pure.

/// What is kept for replays; zero keeps nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Horizon {
    /// What was written in the last so many ns.
    pub(super) ns: u64,
    /// So many bytes of the newest segments.
    pub(super) bytes: u64,
}

impl Horizon {
    /// True while a segment is kept that was left at `sealed_at` and has `newer_bytes` of segments behind it.
    pub(super) fn keeps(self, sealed_at: i64, now: i64, newer_bytes: u64) -> bool {
        // A clock that went back makes it younger, and it is kept longer.
        let age = u64::try_from(now.saturating_sub(sealed_at)).unwrap_or(0);
        age < self.ns || newer_bytes < self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_either_bound_asks_for_is_kept() {
        let none = Horizon { ns: 0, bytes: 0 };
        assert!(!none.keeps(5, 5, 0) && !none.keeps(5, 3, 0));
        let both = Horizon { ns: 10, bytes: 100 };
        assert!(both.keeps(5, 14, 1000), "young");
        assert!(both.keeps(5, 1000, 99), "among the newest");
        assert!(!both.keeps(5, 15, 100), "neither");
    }
}
