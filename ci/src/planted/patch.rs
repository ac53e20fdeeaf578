//! A planted bug: a patch with a header that says what is wrong with it.

use std::path::{Path, PathBuf};

use crate::outcome::Failed;

/// Keys of the header, each on a line of its own, before the first line of the diff.
const KEYS: [&str; 4] = ["id", "area", "bug", "breaks"];

/// A patch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Patch {
    /// The stem of its file.
    pub(super) id: String,
    /// Where it is.
    pub(super) path: PathBuf,
}

/// Reads the patches of a folder, sorted; each must have its header, and its id must be its file's stem.
pub(super) fn read_all(dir: &Path) -> Result<Vec<Patch>, Failed> {
    let unreadable = |error: std::io::Error| Failed::because(format!("could not read {}: {error}", dir.display()));
    let mut patches = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let text = std::fs::read_to_string(&path).map_err(unreadable)?;
        let header = header(&text).map_err(|why| Failed::because(format!("{}: {why}", path.display())))?;
        let patch = foreign(&path);
        if header[0] != patch.id {
            let why = format!("{}: its id is `{}`", path.display(), header[0]);
            return Err(Failed::because(why));
        }
        patches.push(patch);
    }
    patches.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(patches)
}

/// A patch of somebody else's; a header is welcome, but not needed.
pub(super) fn foreign(path: &Path) -> Patch {
    let id = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    Patch { id, path: path.to_owned() }
}

/// The values of the header, in order of [`KEYS`].
fn header(text: &str) -> Result<[String; 4], String> {
    let head: Vec<&str> = text.lines().take_while(|line| line.starts_with('#')).collect();
    let value = |key: &str| {
        let found = head.iter().find_map(|line| line.strip_prefix(&format!("# {key}: ")));
        found
            .filter(|value| !value.trim().is_empty())
            .map(str::to_owned)
            .ok_or(format!("no line `# {key}: …` at its top"))
    };
    Ok([value(KEYS[0])?, value(KEYS[1])?, value(KEYS[2])?, value(KEYS[3])?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_says_all_four() {
        let text = "# id: a\n# area: lanes\n# bug: b\n# breaks: c\ndiff --git a/x b/x\n# id: not this\n";
        assert_eq!(header(text), Ok(["a", "lanes", "b", "c"].map(str::to_owned)));
        assert_eq!(header("# id: a\ndiff\n"), Err("no line `# area: …` at its top".to_owned()));
    }
}
