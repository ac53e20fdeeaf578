//! Keys as `seaworthy keys` makes them, and some that it would not make.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests of real processes read and write real files; a failure is the test\'s"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, Issuer, KeyPair};
use serde_json::Value;
use tempfile::TempDir;

use super::run::seaworthy;

/// A folder of keys.
pub(crate) struct Keyring(TempDir);

impl Keyring {
    /// An authority with keys for each process.
    pub(crate) fn of(processes: &[&str]) -> Keyring {
        let keyring = Keyring(tempfile::tempdir().unwrap());
        check(keyring.keys(&["init"], &[]), 0, "made an authority");
        for process in processes {
            check(keyring.keys(&["issue"], &[process]), 0, "issued keys");
        }
        keyring
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.0.path().join("keys")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    fn keys(&self, before: &[&str], after: &[&str]) -> Output {
        seaworthy().arg("keys").args(before).arg(self.dir()).args(after).output().unwrap()
    }

    /// The same keys in a folder of their own, to be spoilt.
    pub(crate) fn copy(&self) -> Keyring {
        let copy = Keyring(tempfile::tempdir().unwrap());
        copy_all(&self.dir(), &copy.dir());
        copy
    }

    /// Puts keys of another folder in place of those of `process`; names of files as in the folder of a process.
    pub(crate) fn take(&self, process: &str, from: &Keyring, files: &[&str]) {
        for file in files {
            fs::copy(from.path(process).join(file), self.path(process).join(file)).unwrap();
        }
    }

    /// Gives `process` a certificate of this authority that ran out an hour ago.
    pub(crate) fn expire(&self, process: &str) {
        let read = |name: &str| fs::read_to_string(self.path(name)).unwrap();
        let issuer = KeyPair::from_pem(&read("authority.key.pem")).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&read("authority.pem"), issuer).unwrap();
        let mut params = CertificateParams::new(vec![format!("{process}.seaworthy.internal")]).unwrap();
        let hour = Duration::from_secs(3600);
        params.not_before = (SystemTime::now() - 48 * hour).into();
        params.not_after = (SystemTime::now() - hour).into();
        let key = KeyPair::from_pem(&read(&format!("{process}/key.pem"))).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        fs::write(self.path(process).join("cert.pem"), certificate.pem()).unwrap();
    }
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_all(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Diagnostics are wrapped where the line ends.
fn words(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&text).replace('│', " ").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn check(output: Output, code: i32, said: &str) {
    let words = words(&output);
    assert_eq!(output.status.code(), Some(code), "{words}");
    assert!(words.contains(said), "no `{said}` in\n{words}");
}

fn files(dir: &Path) -> Vec<(PathBuf, u32, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let (path, mode) = (entry.path(), entry.metadata().unwrap().permissions().mode() & 0o777);
        if path.is_dir() {
            assert_eq!(mode, 0o700, "{}", path.display());
            found.extend(files(&path));
        } else {
            found.push((path.clone(), mode, fs::read_to_string(path).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn keys_are_their_owners_alone_and_never_replaced_unasked() {
    let keyring = Keyring::of(&["hub", "edge"]);
    let before = files(&keyring.dir());
    assert_eq!(before.len(), 3 + 2 * 3);
    assert!(before.iter().all(|(_, mode, _)| *mode == 0o600), "{before:?}");
    check(keyring.keys(&["init"], &[]), 2, "will not overwrite");
    check(keyring.keys(&["issue"], &["hub"]), 2, "add --force to replace it");
    check(keyring.keys(&["issue"], &["up/../hub"]), 2, "at most 63");
    for host in ["no host", "lab:7070", "", "hub.seaworthy.internal"] {
        check(keyring.keys(&["issue"], &["lab", "--host", host]), 2, "without a port");
    }
    assert_eq!(files(&keyring.dir()), before);

    check(keyring.keys(&["issue"], &["edge", "--force", "--days", "2"]), 0, "issued keys for edge, until");
    let after = files(&keyring.dir());
    let changed: Vec<_> = after.iter().zip(&before).filter(|(after, before)| after != before).collect();
    let names: Vec<&str> = changed.iter().map(|(after, _)| after.0.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["cert.pem", "key.pem", "token", "tokens.txt"]);
    let secrets: Vec<&str> = after
        .iter()
        .filter(|(path, ..)| path.ends_with("token") || path.ends_with("key.pem"))
        .map(|(_, _, text)| text.trim())
        .collect();
    assert_eq!(secrets.len(), 4);
    let tokens = fs::read_to_string(keyring.path("tokens.txt")).unwrap();
    assert!(secrets.iter().all(|secret| !tokens.contains(secret)), "a list of hashes gives no token away");

    let other = Keyring(tempfile::tempdir().unwrap());
    check(other.keys(&["issue"], &["hub"]), 2, "make one: seaworthy keys init");
}

#[test]
fn what_a_folder_holds_is_shown() {
    let keyring = Keyring::of(&["edge", "hub"]);
    check(
        keyring.keys(&["issue"], &["lab", "--host", "lab.example.com", "--host", "10.0.0.1", "--days", "30"]),
        0,
        "lab",
    );
    keyring.expire("edge");
    fs::write(keyring.path("tokens.txt"), "").unwrap();
    fs::remove_file(keyring.path("authority.key.pem")).unwrap();
    let text = words(&keyring.keys(&["show"], &[]));
    for said in [
        "its key is elsewhere",
        "edge EXPIRED on 20",
        "(30 days); lab.seaworthy.internal, lab.example.com, 10.0.0.1; NO TOKEN",
    ] {
        assert!(text.contains(said), "no `{said}` in {text}");
    }
    let json: Value = serde_json::from_slice(&keyring.keys(&["show"], &["--json"]).stdout).unwrap();
    assert_eq!((&json["can_issue"], &json["processes"][0]["days_left"]), (&false.into(), &(-1).into()), "{json}");
    let names = &json["processes"][2]["names"];
    assert_eq!(names, &serde_json::json!(["lab.seaworthy.internal", "lab.example.com", "10.0.0.1"]));
    check(keyring.keys(&["issue"], &["fab"]), 74, "authority.key.pem");
    fs::write(keyring.path("hub").join("cert.pem"), "sea").unwrap();
    check(keyring.keys(&["show"], &[]), 2, "it is no certificate");
}
