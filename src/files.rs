//! The files that a user names on the command line, read whole.
#![expect(clippy::disallowed_methods, reason = "the command reads its arguments' files; the engine asks env.disk")]

use std::fs::File;
use std::io::{self, Read};

use seaworthy_engine::graph::FILE_BYTES_MAX;

/// A text; what lies behind the first byte too many is not read, so that the reader can refuse the file.
pub(crate) fn read_text(path: &str) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}
