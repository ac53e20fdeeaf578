//! Programs of others that a step needs: found, or else installed where this user may.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::child;
use crate::outcome::Failed;

/// The first of these programs that is in the path; else `package` of Debian, which brings one of them.
pub(crate) fn debian(programs: &[&str], package: &str) -> Result<PathBuf, Failed> {
    let found = || programs.iter().find_map(|name| in_path(name));
    if let Some(program) = found() {
        return Ok(program);
    }
    let patience = ["-o", "Acquire::http::Timeout=20", "-o", "Acquire::Retries=1"];
    let mut update = Command::new("apt-get");
    update.args(["update", "--quiet"]).args(patience);
    quietly(update)?;
    let mut install = Command::new("apt-get");
    install.args(["install", "--quiet", "--yes", "--no-install-recommends", package]).args(patience);
    install.env("DEBIAN_FRONTEND", "noninteractive");
    quietly(install)?;
    found().ok_or_else(|| Failed::because(format!("apt-get installed no {}", programs[0])))
}

/// An environment for Python at `place` that holds `packages`; its programs are in `bin/`.
pub(crate) fn python(place: &Path, packages: &[&str]) -> Result<(), Failed> {
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv"]).arg(place);
    quietly(venv)?;
    let mut pip = Command::new(place.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check"]).args(packages);
    quietly(pip)
}

/// Runs `command`; a failure holds the last thing that it said.
pub(crate) fn quietly(command: Command) -> Result<(), Failed> {
    let name = command.get_program().to_string_lossy().into_owned();
    let ended = child::run(command)?;
    let said = ended.lines.last().cloned().unwrap_or_default();
    ended.expect_code(0, &name).map_err(|failed| Failed::because(format!("{}: {said}", failed.why)))?;
    Ok(())
}

/// The program of that name, as the shell would find it.
fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|program| program.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_and_failures_are_told_in_one_line() {
        assert!(in_path("sh").is_some());
        assert_eq!(in_path("no-such-program-here"), None);
        let mut command = Command::new("sh");
        command.args(["-c", "echo no network; exit 3"]);
        let why = quietly(command).expect_err("it ended with 3").why;
        assert_eq!(why, "sh: exit 3, expected 0: no network");
    }
}
