//! Shows whose keys a folder holds, and until when.
#![expect(clippy::disallowed_methods, reason = "whether a certificate has expired is a question to the clock")]

use std::fmt::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::parse_x509_pem;
use x509_parser::time::ASN1Time;

use super::KeysRefusal;
use super::folder::{AUTHORITY, AUTHORITY_KEY, CERTIFICATE, Folder, TOKENS};
use crate::exit::Exit;
use crate::show as screen;

const DAY_S: i64 = 86_400;

/// What a certificate says of itself.
#[derive(Serialize)]
pub(super) struct Shown {
    /// The names that it proves.
    names: Vec<String>,
    /// The day after which it proves nothing, e.g. `2027-11-25`, UTC.
    pub(super) until: String,
    /// Whole days left; negative once it has expired.
    days_left: i64,
}

/// All of a folder.
#[derive(Serialize)]
struct Listing {
    authority: Shown,
    /// Whether the authority's key is here too: then more can be issued.
    can_issue: bool,
    processes: Vec<Process>,
}

#[derive(Serialize)]
struct Process {
    process: String,
    #[serde(flatten)]
    shown: Shown,
    /// Whether hosts that have this file of tokens let it in.
    token_known: bool,
}

impl Shown {
    /// Reads a certificate; `None` for what is none.
    pub(super) fn of(pem: &str) -> Option<Shown> {
        let (_, pem) = parse_x509_pem(pem.as_bytes()).ok()?;
        let certificate = pem.parse_x509().ok()?;
        let names = certificate.subject_alternative_name().ok()?.map(|names| names.value.general_names.iter());
        let names = names.into_iter().flatten().map(|name| match name {
            GeneralName::DNSName(name) => (*name).to_owned(),
            GeneralName::IPAddress(bytes) => address(bytes),
            other => other.to_string(),
        });
        let ends = certificate.validity().not_after;
        let days_left = (ends.timestamp() - now_s()).div_euclid(DAY_S);
        Some(Shown { names: names.collect(), until: day(ends), days_left })
    }

    fn left(&self) -> String {
        match self.days_left {
            days if days < 0 => format!("EXPIRED on {}", self.until),
            days => format!("until {} ({})", self.until, screen::count(days as usize, "day", "days")),
        }
    }
}

fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn day(time: ASN1Time) -> String {
    time.to_datetime().date().to_string()
}

fn address(bytes: &[u8]) -> String {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return std::net::Ipv4Addr::from(four).to_string();
    }
    <[u8; 16]>::try_from(bytes).map_or_else(|_| "?".to_owned(), |sixteen| std::net::Ipv6Addr::from(sixteen).to_string())
}

/// Prints what is in `dir`.
pub(super) fn run(dir: &Path, json: bool) -> Result<Exit, KeysRefusal> {
    let listing = list(&Folder::open(dir)?)?;
    Ok(if json { screen::json(&listing) } else { screen::report(&text(&listing)) })
}

fn list(folder: &Folder) -> Result<Listing, KeysRefusal> {
    let shown = |folder: &Folder, name: &str| {
        let malformed = || KeysRefusal::Malformed { path: folder.path(name), why: "it is no certificate".to_owned() };
        Shown::of(&folder.read(name)?).ok_or_else(malformed)
    };
    let known = folder.read(TOKENS)?;
    let knows = |process: &str| known.lines().any(|line| line.split_once(' ').is_some_and(|(name, _)| name == process));
    let mut processes = Vec::new();
    for process in folder.processes()? {
        let shown = shown(&folder.inner(&process)?, CERTIFICATE)?;
        let token_known = knows(&process);
        processes.push(Process { process, shown, token_known });
    }
    let can_issue = folder.path(AUTHORITY_KEY).is_file();
    Ok(Listing { authority: shown(folder, AUTHORITY)?, can_issue, processes })
}

fn text(listing: &Listing) -> String {
    let mut text = String::new();
    let key = if listing.can_issue { "its key is here" } else { "its key is elsewhere" };
    let mut line =
        |name: &str, rest: &str| writeln!(text, "{name:<12} {rest}").expect("writing to a String can't fail");
    line("authority", &format!("{}; {key}", listing.authority.left()));
    for Process { process, shown, token_known } in &listing.processes {
        let token = if *token_known { "" } else { "; NO TOKEN is known of it" };
        line(process, &format!("{}; {}{token}", shown.left(), shown.names.join(", ")));
    }
    text
}
