//! Exit codes, the same for all subcommands.

use std::process::ExitCode;

use seaworthy_reports::result::Verdict;

/// How a command ended. A machine may rely on the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is well.
    Pass = 0,
    /// An objective or an invariant was broken.
    Failed = 1,
    /// Wrong use, or a file that is wrong.
    Usage = 2,
    /// Nothing is wrong but it got worse than the baseline.
    Regressed = 3,
    /// Nothing was proved.
    Void = 4,
    /// The same seed gave two results.
    Nondeterministic = 5,
    /// The program is wrong.
    Internal = 70,
    /// The machine: I/O, lock, version, full disk.
    Environment = 74,
    /// Ended at once by a second signal.
    Interrupted = 130,
}

impl Exit {
    /// From what outweighs all others down to what outweighs none.
    const BY_WEIGHT: [Exit; 9] = [
        Exit::Interrupted,
        Exit::Internal,
        Exit::Nondeterministic,
        Exit::Usage,
        Exit::Environment,
        Exit::Failed,
        Exit::Void,
        Exit::Regressed,
        Exit::Pass,
    ];

    /// That of something which a gate holds against a build.
    pub(crate) fn of_objection(code: u8) -> Option<Exit> {
        Exit::BY_WEIGHT.into_iter().find(|exit| *exit as u8 == code)
    }

    /// The one to end with where both hold.
    #[must_use]
    pub fn and(self, other: Exit) -> Exit {
        let heavier = Exit::BY_WEIGHT.into_iter().find(|exit| [self, other].contains(exit));
        heavier.expect("every exit has its weight")
    }
}

/// A file that a user names and that is not there, or is no text, is wrong use; all else that can't be read or written is the machine.
impl From<&std::io::Error> for Exit {
    fn from(error: &std::io::Error) -> Exit {
        match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::InvalidData => Exit::Usage,
            _ => Exit::Environment,
        }
    }
}

impl From<Verdict> for Exit {
    fn from(verdict: Verdict) -> Exit {
        match verdict {
            Verdict::Pass => Exit::Pass,
            Verdict::Fail => Exit::Failed,
            Verdict::Void => Exit::Void,
            Verdict::Regressed => Exit::Regressed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heavier_one_counts() {
        for (at, heavy) in Exit::BY_WEIGHT.into_iter().enumerate() {
            for light in &Exit::BY_WEIGHT[at..] {
                assert_eq!((heavy.and(*light), light.and(heavy)), (heavy, heavy));
            }
        }
        assert_eq!(Exit::BY_WEIGHT.map(|exit| exit as u8), [130, 70, 5, 2, 74, 1, 4, 3, 0]);
    }
}
