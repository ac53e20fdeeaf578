//! The baseline: the accepted result that a gate compares with, and its log, which says who accepted which file and why.

use std::path::Path;

use seaworthy_reports::read::{ReadError, parse};
use seaworthy_reports::render::json;
use seaworthy_reports::result::ResultFile;
use xxhash_rust::xxh3::xxh3_128;

use crate::exit::Exit;
use crate::files::{append_line, read_written};
use crate::pages::write;
use crate::results::{file_in, read};
use crate::show;

/// Where it is unless another file is named.
pub(crate) const USUAL: &str = "ci/baseline.json";

/// A baseline that nobody accepted as it is.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("{path} is not the baseline that was accepted: {why}")]
#[diagnostic(
    code(baseline::unaccepted),
    help(
        "take the accepted one back (`git checkout {path}`), or accept what the build does now: `seaworthy gate --accept REASON` over the same scenarios"
    )
)]
struct Unaccepted {
    path: String,
    why: String,
}

/// The baseline that is named, or the usual one where it is. One that has a log must be the file that was accepted last; `accepting`
/// takes any, or none, as it makes a new one.
pub(crate) fn find(named: Option<&str>, accepting: bool) -> Result<Option<ResultFile>, Exit> {
    let path = file_in(named.unwrap_or(USUAL));
    let is_there = Path::new(&path).exists();
    let why = unaccepted(&path, is_there);
    match why {
        Some(why) if accepting => show::notes(&[format!("{path} is not the baseline that was accepted: {why}")]),
        Some(why) => {
            show::problem(&Unaccepted { path, why });
            return Err(Exit::Usage);
        }
        None => {}
    }
    if accepting && let Some(version) = of_another_version(&path) {
        show::notes(&[format!("{path} is not compared with: {version}")]);
        return Ok(None);
    }
    // The first one is accepted beside none.
    if is_there || named.is_some() && !accepting { read(&path).map(Some) } else { Ok(None) }
}

/// What a result of another version of the program says of itself: its figures mean something else.
fn of_another_version(path: &str) -> Option<ReadError> {
    let error = parse(&read_written(path).ok()?).err()?;
    matches!(error, ReadError::Schema { .. } | ReadError::Semantics { .. }).then_some(error)
}

/// Why a file is not the one that its log speaks of last. A file of no log may be any result, but for the usual one.
fn unaccepted(path: &str, is_there: bool) -> Option<String> {
    let log = match read_written(&format!("{path}.log")) {
        Ok(log) => log,
        Err(_) if is_there && path == USUAL => return Some(format!("{path}.log, which says why, can't be read")),
        Err(_) => return None,
    };
    let last = log.lines().rfind(|line| !line.trim().is_empty())?;
    let accepted = hash_in(last);
    if !is_there {
        return Some(format!("{path}.log speaks of it, and it is gone"));
    }
    // What can't be read is told where it is read.
    let found = read_written(path).ok().map(|text| hash_of(&text))?;
    match accepted {
        Some(accepted) if accepted == found => None,
        Some(accepted) => Some(format!("its hash is {found}, and {path}.log ends with {accepted}")),
        None => Some(format!("its hash is {found}, and {path}.log does not end with a hash")),
    }
}

fn hash_of(text: &str) -> String {
    format!("{:032x}", xxh3_128(text.as_bytes()))
}

/// The hash of a line `COMMIT HASH: REASON`.
fn hash_in(line: &str) -> Option<&str> {
    let (_, hash) = line.split_once(':')?.0.split_once(' ')?;
    (hash.len() == 32 && hash.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(hash)
}

/// Makes `file` the baseline, for a reason. Gives its path back.
pub(crate) fn accept(named: Option<&str>, reason: &str, file: &ResultFile) -> Result<String, Exit> {
    let path = file_in(named.unwrap_or(USUAL));
    let text = json::result(file);
    let line = format!("{} {}: {reason}", crate::worlds::commit(), hash_of(&text));
    // The reason first: no baseline is in force without one.
    append_line(&format!("{path}.log"), &line).map_err(|error| {
        show::notes(&[format!("not accepted: could not write {path}.log: {error}")]);
        Exit::Environment
    })?;
    write(&path, &text)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_log_holds_the_hash_of_its_file() {
        let hash = hash_of("{}\n");
        assert_eq!(hash_in(&format!("0123abc {hash}: a lane asks twice: 2 ms")), Some(hash.as_str()));
        for without in ["unknown: the first baseline", "unknown of old: why", "", &hash] {
            assert_eq!(hash_in(without), None, "{without}");
        }
        assert_ne!(hash, hash_of("{ }\n"));
    }
}
