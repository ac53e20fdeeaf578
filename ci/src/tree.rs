//! Where things are in the tree that is checked.

use std::path::{Path, PathBuf};

use crate::outcome::Failed;

/// A file of the tree, read.
#[derive(Clone, Debug)]
pub(crate) struct File {
    /// From the root, with `/`.
    pub(crate) path: String,
    /// Its text.
    pub(crate) text: String,
}

/// The workspace that holds the current directory.
pub(crate) struct Tree {
    root: PathBuf,
    target: PathBuf,
}

impl Tree {
    /// Looks upward from the current directory for the workspace.
    pub(crate) fn find() -> Result<Self, String> {
        let here = std::env::current_dir().map_err(|error| format!("could not tell the current directory: {error}"))?;
        let is_root = |dir: &&Path| {
            std::fs::read_to_string(dir.join("Cargo.toml"))
                .is_ok_and(|text| text.lines().any(|line| line == "[workspace]"))
        };
        let root = here.ancestors().find(is_root).ok_or(format!("no workspace holds {}", here.display()))?.to_owned();
        // Cargo put this program into target/PROFILE/, wherever target is.
        let program =
            std::env::current_exe().map_err(|error| format!("could not tell this program's path: {error}"))?;
        let target =
            program.ancestors().nth(2).ok_or(format!("{} is in no target directory", program.display()))?.to_owned();
        Ok(Tree { root, target })
    }

    /// A copy of it.
    pub(crate) fn at(&self, root: &Path) -> Tree {
        Tree { root: root.to_owned(), target: self.target.clone() }
    }

    /// The root.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where cargo puts release binaries.
    pub(crate) fn binaries(&self) -> PathBuf {
        self.target.join("release")
    }

    /// For the files that checks make; nothing in it outlives `cargo clean`.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.target.join("ci")
    }

    /// An empty directory for one use.
    pub(crate) fn scratch_for(&self, name: &str) -> Result<PathBuf, Failed> {
        let dir = self.scratch().join(name);
        let emptied = if dir.exists() { std::fs::remove_dir_all(&dir) } else { Ok(()) };
        emptied
            .and_then(|()| std::fs::create_dir_all(&dir))
            .map_err(|error| Failed::because(format!("could not empty {}: {error}", dir.display())))?;
        Ok(dir)
    }

    /// The `.toml` files directly in `dir` (from the root), sorted, as paths from the root. None is a failure.
    pub(crate) fn scenarios_in(&self, dir: &str) -> Result<Vec<String>, Failed> {
        let nothing = || Failed::because(format!("no scenario in {dir}/: nothing was checked"));
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(self.root.join(dir)).map_err(|_| nothing())? {
            let name = entry.map_err(|error| Failed::because(format!("could not list {dir}: {error}")))?.file_name();
            let name = name.to_string_lossy();
            if name.ends_with(".toml") {
                paths.push(format!("{dir}/{name}"));
            }
        }
        paths.sort();
        if paths.is_empty() { Err(nothing()) } else { Ok(paths) }
    }

    /// A file's text, by its path from the root.
    pub(crate) fn read(&self, path: &str) -> Result<String, Failed> {
        std::fs::read_to_string(self.root.join(path))
            .map_err(|error| Failed::because(format!("could not read {path}: {error}")))
    }

    /// Every text file that people wrote, sorted by path.
    pub(crate) fn files(&self) -> Result<Vec<File>, Failed> {
        const ENDINGS: [&str; 5] = ["rs", "toml", "md", "yaml", "proto"];
        let mut paths = Vec::new();
        walk(&self.root, "", &mut paths)
            .map_err(|error| Failed::because(format!("could not walk the tree: {error}")))?;
        paths.retain(|path| {
            Path::new(path).extension().is_some_and(|ending| ENDINGS.iter().any(|known| ending == *known))
        });
        paths.sort();
        paths.into_iter().map(|path| Ok(File { text: self.read(&path)?, path })).collect()
    }
}

fn walk(root: &Path, dir: &str, paths: &mut Vec<String>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(root.join(dir))? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let path = if dir.is_empty() { name.to_string() } else { format!("{dir}/{name}") };
        let built = dir.is_empty() && ["target", "out"].contains(&name.as_ref());
        let hidden = name.starts_with('.') && name != ".cargo";
        if entry.file_type()?.is_dir() {
            if !built && !hidden {
                walk(root, &path, paths)?;
            }
        } else {
            paths.push(path);
        }
    }
    Ok(())
}
