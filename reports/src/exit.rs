//! Exit codes of every command, and which one wins where several hold.

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything asked for holds.
    Pass,
    /// An objective or an invariant is broken.
    Broken,
    /// Wrong usage, or a file that is wrong.
    Usage,
    /// Worse than the baseline, and nothing else.
    Regressed,
    /// Proved nothing.
    Void,
    /// The same seed came out in two ways.
    Nondeterministic,
    /// The harness itself is wrong.
    Internal,
    /// The machine failed: I/O, a lock, a version, a full disk.
    Environment,
}

/// From the mildest to the one that wins over all.
const RANK: [Exit; 8] = [
    Exit::Pass,
    Exit::Regressed,
    Exit::Void,
    Exit::Broken,
    Exit::Environment,
    Exit::Usage,
    Exit::Nondeterministic,
    Exit::Internal,
];

impl Exit {
    /// The process's exit code.
    #[must_use]
    pub fn code(self) -> i32 {
        match self {
            Exit::Pass => 0,
            Exit::Broken => 1,
            Exit::Usage => 2,
            Exit::Regressed => 3,
            Exit::Void => 4,
            Exit::Nondeterministic => 5,
            Exit::Internal => 70,
            Exit::Environment => 74,
        }
    }

    fn rank(self) -> usize {
        RANK.iter().position(|exit| *exit == self).expect("the rank lists every exit")
    }

    /// The one that wins where several hold: 70 > 5 > 2 > 74 > 1 > 4 > 3 > 0; `Pass` for none at all.
    #[must_use]
    pub fn worst(exits: impl IntoIterator<Item = Exit>) -> Exit {
        exits.into_iter().max_by_key(|exit| exit.rank()).unwrap_or(Exit::Pass)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_exit_wins_in_any_order() {
        let order = [70, 5, 2, 74, 1, 4, 3, 0];
        for (strong, code) in order.iter().enumerate() {
            for weak in &order[strong..] {
                let exit = |code: i32| *RANK.iter().find(|exit| exit.code() == code).unwrap();
                assert_eq!(Exit::worst([exit(*code), exit(*weak)]).code(), *code);
                assert_eq!(Exit::worst([exit(*weak), exit(*code)]).code(), *code);
            }
        }
        assert_eq!(Exit::worst([]), Exit::Pass);
    }
}
