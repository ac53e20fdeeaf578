//! A folder of keys: what is called how in it, and files that only their owner can read.
#![expect(clippy::disallowed_methods, reason = "the command reads and writes the user's keys; the engine only reads")]

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::KeysRefusal;

/// The authority's certificate: what everyone trusts.
pub(super) const AUTHORITY: &str = "authority.pem";
/// The authority's key: what nobody else may have.
pub(super) const AUTHORITY_KEY: &str = "authority.key.pem";
/// The hashes of all access tokens: what a host knows others by.
pub(super) const TOKENS: &str = "tokens.txt";
/// A process's certificate.
pub(super) const CERTIFICATE: &str = "cert.pem";
/// A process's key.
pub(super) const KEY: &str = "key.pem";
/// A process's access token.
pub(super) const TOKEN: &str = "token";

/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A folder that is there.
pub(super) struct Folder(PathBuf);

fn machine(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeysRefusal {
    move |source| KeysRefusal::Machine { what, path: path.to_owned(), source }
}

impl Folder {
    /// Makes the folder where it is missing, open to its owner only.
    pub(super) fn create(path: &Path) -> Result<Folder, KeysRefusal> {
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(machine("create", path))?;
        Ok(Folder(path.to_owned()))
    }

    /// A folder with an authority in it.
    pub(super) fn open(path: &Path) -> Result<Folder, KeysRefusal> {
        if path.join(AUTHORITY).is_file() {
            Ok(Folder(path.to_owned()))
        } else {
            Err(KeysRefusal::NoAuthority { dir: path.to_owned() })
        }
    }

    pub(super) fn inner(&self, name: &str) -> Result<Folder, KeysRefusal> {
        Folder::create(&self.path(name))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Refuses if one of the files is there, unless forced.
    pub(super) fn refuse_to_replace(&self, names: &[&str], force: bool) -> Result<(), KeysRefusal> {
        let there = names.iter().map(|name| self.path(name)).find(|path| path.symlink_metadata().is_ok());
        match there {
            Some(path) if !force => Err(KeysRefusal::Exists { path }),
            _ => Ok(()),
        }
    }

    pub(super) fn read(&self, name: &str) -> Result<String, KeysRefusal> {
        let path = self.path(name);
        let mut text = String::new();
        let read = File::open(&path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text));
        read.map_err(machine("read", &path))?;
        Ok(text)
    }

    /// Writes a file whole or not at all, durably, with mode 0600.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<(), KeysRefusal> {
        let (path, beside) = (self.path(name), self.path(&format!("{name}.partial")));
        let write = || {
            // One that a crash left may have another mode.
            match fs::remove_file(&beside) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&beside, &path)?;
            File::open(&self.0)?.sync_all()
        };
        write().map_err(machine("write", &path))
    }

    /// Makes an empty file where there is none.
    pub(super) fn keep(&self, name: &str) -> Result<(), KeysRefusal> {
        if self.path(name).is_file() { Ok(()) } else { self.write(name, "") }
    }

    /// The processes that have a certificate here, in order.
    pub(super) fn processes(&self) -> Result<Vec<String>, KeysRefusal> {
        let list = || {
            let mut names = Vec::new();
            for entry in fs::read_dir(&self.0)? {
                let entry = entry?;
                if entry.path().join(CERTIFICATE).is_file() {
                    names.extend(entry.file_name().into_string());
                }
            }
            names.sort_unstable();
            Ok(names)
        };
        list().map_err(machine("list", &self.0))
    }
}
