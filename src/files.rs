//! The files that a user names on the command line, read whole.
#![expect(clippy::disallowed_methods, reason = "the command reads its arguments' files; the engine asks env.disk")]

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

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

/// Writes a file whole or not at all: beside it first, then in its place. Makes the folders that it needs.
pub(crate) fn write_whole(path: &str, text: &str) -> io::Result<()> {
    let path = Path::new(path);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let beside = path.with_extension("partial");
    fs::write(&beside, text)?;
    fs::rename(&beside, path)
}
