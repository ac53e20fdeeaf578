//! A process's keys: its certificate, the authority that it trusts, and the access tokens, read from a directory.
//!
//! `docs/security.md` says which file is what. A directory of keys is read once, at the start; nothing here writes.
#![expect(clippy::disallowed_methods, reason = "the real side of the seam: here key files are read")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use ring::digest::{SHA256, digest};
use subtle::ConstantTimeEq;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring as provider};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore, ServerConfig};

/// What stands behind a process's name in its certificate; `.internal` is nobody's on the internet.
const SUFFIX: &str = ".seaworthy.internal";
/// Longest process name that a certificate can hold: a label of a DNS name.
pub const NAME_BYTES_MAX: usize = 63;
/// Largest file of keys that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Largest TLS record that is sent: a slow line shows that it lives with each one.
const RECORD_BYTES_MAX: usize = 4 << 10;
/// HTTP/2, which gRPC speaks.
const ALPN: &[u8] = b"h2";

/// Why keys can't be used. Says the file, never what is in it.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum KeysError {
    /// A file is missing or can't be read.
    #[error("could not read {}", path.display())]
    #[diagnostic(code(keys::unreadable), help("`seaworthy keys init` and `seaworthy keys issue` make the files"))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The machine's word.
        source: io::Error,
    },
    /// A secret that others on this machine can read.
    #[error("could not trust {}: its mode is {mode:03o}, so others can read it", path.display())]
    #[diagnostic(code(keys::open_to_others), help("chmod 600 {}, and issue it again if others had the time to look", path.display()))]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file that isn't what its name says.
    #[error("could not make sense of {}: {why}", path.display())]
    #[diagnostic(code(keys::malformed), help("issue it again: `seaworthy keys issue DIR PROCESS --force`"))]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A certificate of somebody else.
    #[error("could not run {process} with {}: it is the certificate of {}", path.display(), found.as_deref().unwrap_or("no process"))]
    #[diagnostic(code(keys::wrong_process), help("issue one for {process}: `seaworthy keys issue DIR {process}`"))]
    WrongProcess {
        /// The file.
        path: PathBuf,
        /// Who was to run.
        process: String,
        /// Whose it is.
        found: Option<String>,
    },
}

impl KeysError {
    /// True when the machine failed, rather than the files being wrong.
    #[must_use]
    pub fn is_outside(&self) -> bool {
        matches!(self, KeysError::Unreadable { source, .. } if source.kind() != io::ErrorKind::NotFound)
    }
}

/// What one process proves itself with, and knows others by.
#[derive(Clone)]
pub struct Keys {
    pub(super) client: Arc<ClientConfig>,
    pub(super) server: Arc<ServerConfig>,
    token: Bytes,
    /// SHA-256 of each process's token.
    known: Arc<BTreeMap<String, [u8; 32]>>,
}

impl Keys {
    /// Reads the keys of `process` from a directory that `seaworthy keys` made.
    ///
    /// # Errors
    /// A file that is missing, open to others, malformed, or somebody else's. Whether a certificate has expired shows
    /// when it is used: a clock may be set later than a process starts.
    pub fn load(dir: &Path, process: &str) -> Result<Keys, KeysError> {
        let own = dir.join(process);
        let (authority, certificate, key) = (dir.join("authority.pem"), own.join("cert.pem"), own.join("key.pem"));
        let malformed = |path: &Path, why: String| KeysError::Malformed { path: path.to_owned(), why };
        let mut roots = RootCertStore::empty();
        for root in certificates(&authority)? {
            roots.add(root).map_err(|error| malformed(&authority, error.to_string()))?;
        }
        let chain = certificates(&certificate)?;
        let found = process_of(&chain[0]);
        if found.as_deref() != Some(process) {
            return Err(KeysError::WrongProcess { path: certificate, process: process.to_owned(), found });
        }
        let secret = secret(&key)?;
        let secret =
            PrivateKeyDer::from_pem_slice(secret.as_bytes()).map_err(|error| malformed(&key, error.to_string()))?;
        let roots = Arc::new(roots);
        let unusable = |error: rustls::Error| malformed(&key, error.to_string());
        let client = client(roots.clone(), chain.clone(), secret.clone_key()).map_err(unusable)?;
        let server = server(roots, chain, secret).map_err(unusable)?;
        let (path, token) = (own.join("token"), secret_text(&own.join("token"))?);
        if token.is_empty() {
            return Err(malformed(&path, "it is empty".to_owned()));
        }
        let known = Arc::new(known(&dir.join("tokens.txt"))?);
        Ok(Keys { client: Arc::new(client), server: Arc::new(server), token: token.into(), known })
    }

    /// This process's access token.
    pub(super) fn token(&self) -> Bytes {
        self.token.clone()
    }

    /// True when `token` is the one of `process`. Takes as long for a wrong token as for a right one.
    pub(super) fn knows(&self, process: &str, token: &[u8]) -> bool {
        let hash = token_hash(token);
        self.known.get(process).is_some_and(|known| known.ct_eq(&hash).into())
    }
}

/// What a host keeps of a token, so that its list of tokens gives none away. A token is random and long: no salt, no
/// slow hash.
#[must_use]
pub fn token_hash(token: &[u8]) -> [u8; 32] {
    digest(&SHA256, token).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// The name of `process` in its certificate; `None` where a certificate can't hold it.
#[must_use]
pub fn certified_name(process: &str) -> Option<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let fits = process.len() <= NAME_BYTES_MAX
        && process.starts_with(word)
        && process.ends_with(word)
        && process.chars().all(|c| word(c) || c == '-');
    fits.then(|| format!("{process}{SUFFIX}"))
}

/// Whether a name is that of some process in a certificate, in any case.
#[must_use]
pub fn is_certified_name(name: &str) -> bool {
    name.to_ascii_lowercase().ends_with(SUFFIX)
}

/// Under which name a server must prove to be `process`.
pub(super) fn server_name(process: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(certified_name(process)?).ok()
}

/// The process that a certificate names: the one name of ours in it, letter by letter. `None` for none, or for several.
pub(super) fn process_of(certificate: &CertificateDer<'_>) -> Option<String> {
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    let mut names = certificate.valid_dns_names().filter_map(|name| name.strip_suffix(SUFFIX));
    match (names.next(), names.next()) {
        (Some(name), None) if certified_name(name).is_some() => Some(name.to_owned()),
        _ => None,
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(provider::default_provider())
}

/// TLS 1.3 only. Nothing is resumed: each connection proves anew who it is.
fn client(
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ClientConfig, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.max_fragment_size = Some(RECORD_BYTES_MAX);
    Ok(config)
}

fn server(
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_fragment_size = Some(RECORD_BYTES_MAX);
    Ok(config)
}

fn text(path: &Path) -> Result<String, KeysError> {
    let unreadable = |source| KeysError::Unreadable { path: path.to_owned(), source };
    let mut text = String::new();
    File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text)).map_err(unreadable)?;
    Ok(text)
}

/// The text of a file that nobody but its owner can read.
fn secret(path: &Path) -> Result<String, KeysError> {
    let unreadable = |source| KeysError::Unreadable { path: path.to_owned(), source };
    let mode = std::fs::metadata(path).map_err(unreadable)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeysError::OpenToOthers { path: path.to_owned(), mode });
    }
    text(path)
}

fn secret_text(path: &Path) -> Result<String, KeysError> {
    Ok(secret(path)?.trim().to_owned())
}

/// At least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, KeysError> {
    let text = text(path)?;
    let malformed = |why: String| KeysError::Malformed { path: path.to_owned(), why };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let found = found.map_err(|error| malformed(error.to_string()))?;
    if found.is_empty() { Err(malformed("it holds no certificate".to_owned())) } else { Ok(found) }
}

/// Lines `process hash`, the hash in 64 hexadecimal digits.
fn known(path: &Path) -> Result<BTreeMap<String, [u8; 32]>, KeysError> {
    let mut known = BTreeMap::new();
    for (i, line) in text(path)?.lines().enumerate() {
        let entry = line.split_once(' ').and_then(|(process, hash)| Some((process.to_owned(), hash_of(hash)?)));
        let wrong = || KeysError::Malformed {
            path: path.to_owned(),
            why: format!("line {} is not a process and 64 hexadecimal digits", i + 1),
        };
        let (process, hash) = entry.ok_or_else(wrong)?;
        known.insert(process, hash);
    }
    Ok(known)
}

fn hash_of(hex: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    for (byte, digits) in hash.iter_mut().zip(hex.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_named_by_one_label() {
        for name in ["hub", "Hub", "_a-b_", "7", &"x".repeat(63)] {
            assert!(server_name(name).is_some(), "{name}");
        }
        for name in ["", "-a", "a-", "a.b", "a b", "hüb", &"x".repeat(64)] {
            assert_eq!(certified_name(name), None, "{name}");
        }
    }

    #[test]
    fn hashes_are_read_whole_or_not_at_all() {
        // The hash of the empty text, FIPS 180-4.
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hash_of(hex), Some(token_hash(b"")));
        for wrong in ["", &hex[..62], &format!("{hex}00"), &hex.replace('e', "g"), &"é".repeat(32)] {
            assert_eq!(hash_of(wrong), None, "{wrong}");
        }
    }
}
