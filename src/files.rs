//! The files that a user names on the command line, read whole.
#![expect(clippy::disallowed_methods, reason = "the command reads its arguments' files; the engine asks env.disk")]

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use seaworthy_engine::graph::FILE_BYTES_MAX;

/// Bytes of a result or log at most: a release's, many times over.
const RESULT_BYTES_MAX: u64 = 256 << 20;

/// A text that a run wrote. What lies behind the last byte that is read makes it a broken one.
pub(crate) fn read_written(path: &str) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(RESULT_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// A text; what lies behind the first byte too many is not read, so that the reader can refuse the file.
pub(crate) fn read_text(path: &str) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}

/// Writes a file that must not be there yet. Makes the folders that it needs.
pub(crate) fn write_new(path: &str, text: &str) -> io::Result<()> {
    if let Some(folder) = Path::new(path).parent() {
        fs::create_dir_all(folder)?;
    }
    File::create_new(path)?.write_all(text.as_bytes())
}

/// The files of a folder whose names end so, in order of their names.
pub(crate) fn list(folder: &str, ending: &str) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path().to_string_lossy().into_owned();
        if path.ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Removes a folder with all that is in it, if it is `ours`; one of somebody else must be empty or not there.
pub(crate) fn make_room(folder: &str, ours: bool) -> io::Result<()> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(_) if ours => fs::remove_dir_all(folder),
        Ok(entries) => match entries.count() {
            0 => Ok(()),
            _ => Err(io::Error::new(io::ErrorKind::AlreadyExists, "it holds other files; name another folder")),
        },
    }
}

/// Adds a line to the end of a file, which is made when it isn't there, with the folders that it needs.
pub(crate) fn append_line(path: &str, line: &str) -> io::Result<()> {
    if let Some(folder) = Path::new(path).parent() {
        fs::create_dir_all(folder)?;
    }
    File::options().create(true).append(true).open(path)?.write_all(format!("{line}\n").as_bytes())
}

/// Writes bytes, in place of what was there. Makes the folders that it needs.
pub(crate) fn write_bytes(path: &str, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = Path::new(path).parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, bytes)
}

/// Writes a file whole or not at all: beside it first, under a name of this process, then in its place. A link is followed,
/// and what is no file, such as a terminal, is written to. Makes the folders that it needs.
pub(crate) fn write_whole(path: &str, text: &str) -> io::Result<()> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| PathBuf::from(path));
    if fs::metadata(&path).is_ok_and(|there| !there.is_file() && !there.is_dir()) {
        return File::options().write(true).open(&path)?.write_all(text.as_bytes());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut beside = path.clone().into_os_string();
    beside.push(format!(".{}.partial", std::process::id()));
    let written = fs::write(&beside, text).and_then(|()| fs::rename(&beside, &path));
    if written.is_err() {
        // What could not be put in its place is of no use; the first error tells more than a second would.
        let _ = fs::remove_file(&beside);
    }
    written
}

/// Makes a folder, and makes sure that files can be written there.
pub(crate) fn make_writable(folder: &str) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let probe = Path::new(folder).join(format!(".{}.partial", std::process::id()));
    File::create_new(&probe)?;
    fs::remove_file(&probe)
}

/// Removes the files of a folder with these names, and those named `below` of each folder in it, which goes when it is empty then.
/// A folder in it that has one of the first is another's whole, and is left alone.
pub(crate) fn remove_named(folder: &str, here: &[&str], below: &[&str]) -> io::Result<()> {
    let folder = Path::new(folder);
    let entries = match fs::read_dir(folder) {
        Err(error) if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&error.kind()) => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        // A link to a folder is not followed.
        if entry.file_type()?.is_dir() && !here.iter().any(|name| entry.path().join(name).exists()) {
            let had_some = remove_files(&entry.path(), below)?;
            if had_some {
                // One that holds anything else stays.
                let _ = fs::remove_dir(entry.path());
            }
        }
    }
    remove_files(folder, here).map(drop)
}

/// Whether there were any.
fn remove_files(folder: &Path, names: &[&str]) -> io::Result<bool> {
    let mut had_some = false;
    for name in names {
        match fs::remove_file(folder.join(name)) {
            Ok(()) => had_some = true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(had_some)
}

/// Whether two names are of one folder that is there.
pub(crate) fn same_folder(one: &str, other: &str) -> bool {
    fs::canonicalize(one).is_ok_and(|one| fs::canonicalize(other).is_ok_and(|other| one == other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_stays_one_and_a_neighbour_is_not_touched() {
        let dir = tempfile::tempdir().expect("tests have a temporary directory");
        let at = |name: &str| dir.path().join(name);
        let text = |name: &str| fs::read_to_string(at(name)).expect("it is there");
        fs::write(at("a.partial"), "mine").expect("it takes a small file");
        fs::write(at("real.json"), "old").expect("it takes a small file");
        std::os::unix::fs::symlink(at("real.json"), at("a.json")).expect("it takes a link");
        write_whole(&at("a.json").display().to_string(), "new").expect("it is written");
        assert_eq!((text("real.json"), text("a.partial")), ("new".to_owned(), "mine".to_owned()));
        assert!(fs::symlink_metadata(at("a.json")).expect("it is there").is_symlink());
        write_whole("/dev/null", "nothing").expect("it is written");
        assert!(!fs::metadata("/dev/null").expect("it is there").is_file());
        fs::create_dir(at("folder")).expect("it takes a folder");
        write_whole(&at("folder").display().to_string(), "text").expect_err("a folder is in its place");
        let left: Vec<String> = list(&dir.path().display().to_string(), ".partial").expect("it can be listed");
        assert_eq!(left.len(), 1, "{left:?}");
    }

    #[test]
    fn only_what_is_ours_is_removed() {
        let dir = tempfile::tempdir().expect("tests have a temporary directory");
        let folder = dir.path().join("edge").display().to_string();
        make_room(&folder, false).expect("there is nothing");
        write_bytes(&format!("{folder}/seg"), b"1").expect("it is written");
        assert_eq!(make_room(&folder, false).expect_err("it is somebody's").kind(), io::ErrorKind::AlreadyExists);
        make_room(&folder, true).expect("it is ours");
        assert!(!Path::new(&folder).exists());
    }
}
