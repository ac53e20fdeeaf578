//! Makes the authority, and issues a process's certificate, key and access token.
#![expect(clippy::disallowed_methods, reason = "a certificate says from when on it holds, and a token is random")]

use std::fmt::Write;
use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use seaworthy_engine::env::os::{certified_name, is_certified_name, token_hash};

use super::KeysRefusal;
use super::folder::{AUTHORITY, AUTHORITY_KEY, CERTIFICATE, Folder, KEY, TOKEN, TOKENS};
use super::show::Shown;

const DAY: Duration = Duration::from_secs(86_400);
/// A certificate holds from a day before it was made: edge machines' clocks run late.
const BACKDATED: Duration = DAY;
/// Longest DNS name.
const HOST_BYTES_MAX: usize = 253;
/// Bytes of randomness in an access token.
const TOKEN_BYTES: usize = 32;

/// What a certificate is to say.
pub(super) struct Wanted<'a> {
    pub(super) process: &'a str,
    pub(super) hosts: &'a [String],
    pub(super) days: u32,
}

/// Makes an authority; gives what to tell.
pub(super) fn init(dir: &Path, days: u32, force: bool) -> Result<String, KeysRefusal> {
    let folder = Folder::create(dir)?;
    folder.refuse_to_replace(&[AUTHORITY, AUTHORITY_KEY], force)?;
    let key = KeyPair::generate()?;
    let mut params = dated(CertificateParams::default(), days);
    // A name of its own, so that a certificate of another authority is told as just that.
    params.distinguished_name = named(&format!("Seaworthy authority {}", random_hex(4)?));
    // It issues certificates of processes, and no other authority.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key)?.pem();
    folder.write(AUTHORITY_KEY, &key.serialize_pem())?;
    folder.write(AUTHORITY, &certificate)?;
    folder.keep(TOKENS)?;
    let until = Shown::of(&certificate).map_or_else(String::new, |shown| format!(", until {}", shown.until));
    let at = dir.display();
    Ok(format!("made an authority in {at}{until}\nkeep {at}/{AUTHORITY_KEY} here: whoever has it can be anyone\n"))
}

/// Issues a process's keys; gives what to tell.
pub(super) fn issue(dir: &Path, wanted: &Wanted<'_>, force: bool) -> Result<String, KeysRefusal> {
    let process = wanted.process;
    let name = certified_name(process).ok_or_else(|| KeysRefusal::Process { process: process.to_owned() })?;
    if let Some(host) = wanted.hosts.iter().find(|host| !is_host(host)) {
        return Err(KeysRefusal::Host { host: host.clone() });
    }
    let names: Vec<String> = std::iter::once(name).chain(wanted.hosts.iter().cloned()).collect();
    let authority = Folder::open(dir)?;
    let issuer = issuer(&authority)?;
    let folder = authority.inner(process)?;
    folder.refuse_to_replace(&[CERTIFICATE, KEY, TOKEN], force)?;
    let key = KeyPair::generate()?;
    let mut params = dated(CertificateParams::new(names)?, wanted.days);
    params.distinguished_name = named(process);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &issuer)?.pem();
    let token = random_hex(TOKEN_BYTES)?;
    folder.write(KEY, &key.serialize_pem())?;
    folder.write(CERTIFICATE, &certificate)?;
    folder.write(TOKEN, &format!("{token}\n"))?;
    remember(&authority, process, &token)?;
    let until = Shown::of(&certificate).map_or_else(String::new, |shown| format!(", until {}", shown.until));
    let at = dir.display();
    Ok(format!(
        "issued keys for {process}{until}\nits machine needs {at}/{AUTHORITY}, {at}/{TOKENS} and {at}/{process}; \
         those it sends to need the new {TOKENS}\n"
    ))
}

/// A DNS name or an IP address, but no name that would make the certificate one of another process.
fn is_host(host: &str) -> bool {
    let labels = || host.split('.').all(|label| certified_name(label).is_some());
    host.parse::<IpAddr>().is_ok() || (host.len() <= HOST_BYTES_MAX && labels() && !is_certified_name(host))
}

fn issuer(authority: &Folder) -> Result<Issuer<'static, KeyPair>, KeysRefusal> {
    let (certificate, key) = (authority.read(AUTHORITY)?, authority.read(AUTHORITY_KEY)?);
    let malformed =
        |name: &str, error: rcgen::Error| KeysRefusal::Malformed { path: authority.path(name), why: error.to_string() };
    let key = KeyPair::from_pem(&key).map_err(|error| malformed(AUTHORITY_KEY, error))?;
    Issuer::from_ca_cert_pem(&certificate, key).map_err(|error| malformed(AUTHORITY, error))
}

/// Puts the hash of a process's token among those that hosts know, in place of an older one.
fn remember(authority: &Folder, process: &str, token: &str) -> Result<(), KeysRefusal> {
    let known = authority.read(TOKENS)?;
    let others = known.lines().filter(|line| line.split_once(' ').is_none_or(|(name, _)| name != process));
    let mut lines: Vec<String> = others.map(str::to_owned).collect();
    lines.push(format!("{process} {}", hex(&token_hash(token.as_bytes()))));
    lines.sort_unstable();
    authority.write(TOKENS, &(lines.join("\n") + "\n"))
}

const ENTROPY: &str = "/dev/urandom";

fn random_hex(bytes: usize) -> Result<String, KeysRefusal> {
    let mut drawn = vec![0; bytes];
    let read = File::open(ENTROPY).and_then(|mut entropy| entropy.read_exact(&mut drawn));
    read.map_err(|source| KeysRefusal::Machine { what: "read", path: ENTROPY.into(), source })?;
    Ok(hex(&drawn))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("writing to a String can't fail");
        hex
    })
}

fn dated(mut params: CertificateParams, days: u32) -> CertificateParams {
    let now = SystemTime::now();
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + DAY * days).into();
    params
}

fn named(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}
