//! Directory entries: the tree that programs see, the tree that survives a power cut, and the changes in between.
//!
//! Each directory's changes become durable in their order. A rename between two directories is one change of both, so
//! making it durable takes along what came before it in either.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A file, whatever it is called.
pub(super) type Ino = u64;

/// Unsynced changes that a disk keeps; past that it commits them by itself, as a kernel does after a while.
const PENDING_MAX: usize = 4096;

/// One change of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Create { path: String, ino: Ino },
    Mkdir { dir: String },
    Rename { from: String, to: String },
    Remove { path: String },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Create { path, .. } => write!(f, "create {path}"),
            Change::Mkdir { dir } => write!(f, "create {dir}/"),
            Change::Rename { from, to } => write!(f, "rename {from} to {to}"),
            Change::Remove { path } => write!(f, "remove {path}"),
        }
    }
}

impl Change {
    /// The directories that hold the entries it changes.
    fn parents(&self) -> (&str, Option<&str>) {
        match self {
            Change::Create { path, .. } | Change::Remove { path } => (parent(path), None),
            Change::Mkdir { dir } => (parent(dir), None),
            Change::Rename { from, to } => (parent(from), Some(parent(to))),
        }
    }

    fn touches(&self, dirs: &BTreeSet<String>) -> bool {
        let (first, second) = self.parents();
        dirs.contains(first) || second.is_some_and(|dir| dirs.contains(dir))
    }

    fn add_parents_to(&self, dirs: &mut BTreeSet<String>) {
        let (first, second) = self.parents();
        dirs.extend([Some(first), second].into_iter().flatten().map(str::to_owned));
    }
}

/// The directory part of a path; `""` is the root.
pub(super) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

#[derive(Clone, Default)]
struct Tree {
    files: BTreeMap<String, Ino>,
    dirs: BTreeSet<String>,
}

impl Tree {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Create { path, ino } => drop(self.files.insert(path.clone(), *ino)),
            Change::Mkdir { dir } => drop(self.dirs.insert(dir.clone())),
            Change::Remove { path } => drop(self.files.remove(path)),
            Change::Rename { from, to } => {
                if let Some(ino) = self.files.remove(from) {
                    self.files.insert(to.clone(), ino);
                }
            }
        }
    }

    /// Drops what hangs below a directory that isn't there.
    fn prune(&mut self) {
        // Sorted, so that a directory is judged before those below it.
        for dir in std::mem::take(&mut self.dirs) {
            if self.is_dir(parent(&dir)) {
                self.dirs.insert(dir);
            }
        }
        let dirs = &self.dirs;
        self.files.retain(|path, _| parent(path).is_empty() || dirs.contains(parent(path)));
    }

    fn is_dir(&self, dir: &str) -> bool {
        dir.is_empty() || self.dirs.contains(dir)
    }
}

/// All names of one disk.
#[derive(Default)]
pub(super) struct Names {
    cached: Tree,
    durable: Tree,
    pending: Vec<Pending>,
    next: u64,
}

struct Pending {
    number: u64,
    change: Change,
}

impl Names {
    pub(super) fn file(&self, path: &str) -> Option<Ino> {
        self.cached.files.get(path).copied()
    }

    pub(super) fn is_dir(&self, dir: &str) -> bool {
        self.cached.is_dir(dir)
    }

    pub(super) fn files(&self) -> impl Iterator<Item = (&String, Ino)> {
        self.cached.files.iter().map(|(path, ino)| (path, *ino))
    }

    /// Names directly in `dir`, sorted.
    pub(super) fn list(&self, dir: &str) -> Vec<String> {
        let prefix = if dir.is_empty() { String::new() } else { format!("{dir}/") };
        let files = self.cached.files.range(prefix.clone()..).map(|(path, _)| path);
        let dirs = self.cached.dirs.range(prefix.clone()..);
        let direct = |path: &String| {
            let name = &path[prefix.len()..];
            (!name.contains('/')).then(|| name.to_owned())
        };
        let mut names: Vec<String> = files.take_while(|path| path.starts_with(&prefix)).filter_map(direct).collect();
        names.extend(dirs.take_while(|path| path.starts_with(&prefix)).filter_map(direct));
        names.sort();
        names
    }

    /// Makes a change, as yet in the cache only.
    pub(super) fn change(&mut self, change: Change) {
        if self.pending.len() >= PENDING_MAX {
            self.commit_all();
        }
        self.cached.apply(&change);
        self.pending.push(Pending { number: self.next, change });
        self.next += 1;
    }

    /// The number that the next change gets: all changes so far are below it.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Makes the changes below `upto` of `dir` durable, and those that must come before them.
    pub(super) fn commit(&mut self, dir: &str, upto: u64) {
        let mut dirs = BTreeSet::from([dir.to_owned()]);
        let mut chosen = BTreeSet::new();
        for Pending { number, change } in self.pending.iter().rev().filter(|pending| pending.number < upto) {
            if change.touches(&dirs) {
                change.add_parents_to(&mut dirs);
                chosen.insert(*number);
            }
        }
        let durable = &mut self.durable;
        self.pending.retain(|pending| {
            let keep = !chosen.contains(&pending.number);
            if !keep {
                durable.apply(&pending.change);
            }
            keep
        });
    }

    /// Makes every change durable.
    pub(super) fn commit_all(&mut self) {
        for pending in self.pending.drain(..) {
            self.durable.apply(&pending.change);
        }
    }

    /// The power goes: of each directory's unsynced changes a prefix survives, as `keeps` (asked with the change's number)
    /// says. Returns what was undone, in words.
    pub(super) fn power_cut(&mut self, mut keeps: impl FnMut(u64) -> bool) -> Vec<String> {
        let mut broken = BTreeSet::new();
        let mut undone = Vec::new();
        for Pending { number, change } in self.pending.drain(..) {
            if !change.touches(&broken) && keeps(number) {
                self.durable.apply(&change);
            } else {
                change.add_parents_to(&mut broken);
                undone.push(change.to_string());
            }
        }
        self.durable.prune();
        self.cached = self.durable.clone();
        undone
    }

    /// Files that have a name, or may get one back in a power cut.
    pub(super) fn reachable(&self) -> BTreeSet<Ino> {
        let created = self.pending.iter().filter_map(|pending| match pending.change {
            Change::Create { ino, .. } => Some(ino),
            _ => None,
        });
        self.cached.files.values().chain(self.durable.files.values()).copied().chain(created).collect()
    }

    /// Files that have a name now.
    pub(super) fn named(&self) -> BTreeSet<Ino> {
        self.cached.files.values().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(path: &str, ino: Ino) -> Change {
        Change::Create { path: path.into(), ino }
    }
    fn rename(from: &str, to: &str) -> Change {
        Change::Rename { from: from.into(), to: to.into() }
    }

    fn after_losing_all(names: &mut Names) -> Vec<(String, Ino)> {
        names.power_cut(|_| false);
        names.files().map(|(path, ino)| (path.clone(), ino)).collect()
    }

    #[test]
    fn a_sync_takes_along_what_came_before_in_either_directory() {
        let mut names = Names::default();
        names.change(Change::Mkdir { dir: "a".into() });
        names.change(Change::Mkdir { dir: "b".into() });
        names.commit_all();
        names.change(create("a/x", 1));
        names.change(create("b/y", 2));
        names.change(rename("a/x", "b/y"));
        names.change(create("a/x", 3));
        names.commit("b", names.next());
        assert_eq!(after_losing_all(&mut names), [("b/y".into(), 1)]);
    }

    #[test]
    fn a_sync_leaves_other_directories_and_later_changes_alone() {
        let mut names = Names::default();
        names.change(Change::Mkdir { dir: "a".into() });
        names.commit_all();
        names.change(create("a/x", 1));
        names.change(create("y", 2));
        let upto = names.next();
        names.change(create("z", 3));
        names.commit("", upto);
        assert_eq!(after_losing_all(&mut names), [("y".into(), 2)]);
    }

    #[test]
    fn a_file_goes_with_its_unsynced_directory() {
        let mut names = Names::default();
        names.change(Change::Mkdir { dir: "a".into() });
        names.change(create("a/x", 1));
        names.commit("a", names.next());
        assert_eq!(names.list("a"), ["x"]);
        assert_eq!(after_losing_all(&mut names), []);
        assert!(!names.is_dir("a"));
    }

    #[test]
    fn a_prefix_of_each_directory_survives() {
        let mut names = Names::default();
        for (number, path) in ["p", "q", "r"].into_iter().enumerate() {
            names.change(create(path, number as Ino));
        }
        // Change 2 would be kept, but change 1 of the same directory wasn't.
        assert_eq!(names.power_cut(|number| number != 1).len(), 2);
        assert_eq!(names.list(""), ["p"]);
    }
}
