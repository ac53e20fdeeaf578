//! `keys`: a private authority, and what each process proves itself with (`docs/security.md`).

mod authority;
mod folder;
mod show;

use std::path::PathBuf;

use seaworthy_engine::env::os::NAME_BYTES_MAX;

use crate::exit::Exit;
use crate::show as screen;

/// Makes the certificates and access tokens with which processes on different machines know each other.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  seaworthy keys init keys
  seaworthy keys issue keys hub --host hub.example.com
  seaworthy keys issue keys edge
  seaworthy keys show keys
  seaworthy run process.yaml --only hub --listen 10.0.0.1:7070 --keys keys

A process's machine gets authority.pem, tokens.txt, and the process's own folder. authority.key.pem stays where it was made.")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Makes a private authority in DIR.
    Init {
        /// Where keys are kept.
        dir: PathBuf,
        /// Days until it expires, and with it all that it issued.
        #[arg(long, default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: u32,
        /// Replaces an authority; what it issued is worth nothing then.
        #[arg(long)]
        force: bool,
    },
    /// Makes a certificate, its key and an access token for one process, in DIR/PROCESS.
    Issue {
        /// Where keys are kept.
        dir: PathBuf,
        /// The process, as the process graph names it.
        process: String,
        /// Also names this machine in the certificate, for peers that are not ours; once for each.
        #[arg(long, value_name = "NAME")]
        host: Vec<String>,
        /// Days until it expires.
        #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
        days: u32,
        /// Replaces the process's keys; a host learns its new token with the file `tokens.txt`, at its next start.
        #[arg(long)]
        force: bool,
    },
    /// Shows whose keys are in DIR, and until when.
    Show {
        /// Where keys are kept.
        dir: PathBuf,
        /// For a program.
        #[arg(long)]
        json: bool,
    },
}

/// Why keys could not be made or shown.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
enum KeysRefusal {
    /// The machine failed.
    #[error("could not {what} {}", path.display())]
    #[diagnostic(code(keys::machine))]
    Machine { what: &'static str, path: PathBuf, source: std::io::Error },
    /// Something is there already.
    #[error("will not overwrite {}", path.display())]
    #[diagnostic(code(keys::exists), help("add --force to replace it: what was proved with it is proved no more"))]
    Exists { path: PathBuf },
    /// No authority.
    #[error("could not find an authority in {}", dir.display())]
    #[diagnostic(code(keys::no_authority), help("make one: seaworthy keys init {}", dir.display()))]
    NoAuthority { dir: PathBuf },
    /// A name that a certificate can't hold.
    #[error("could not issue a certificate for `{process}`")]
    #[diagnostic(
        code(keys::process),
        help("a process has letters, digits, `_` and `-` inside, at most {NAME_BYTES_MAX}")
    )]
    Process { process: String },
    /// A host name that isn't one.
    #[error("could not put `{host}` into a certificate")]
    #[diagnostic(
        code(keys::host),
        help("write a DNS name or an IP address, without a port; names of processes are put in by themselves")
    )]
    Host { host: String },
    /// A file that isn't what its name says.
    #[error("could not make sense of {}: {why}", path.display())]
    #[diagnostic(code(keys::malformed), help("is it the file that `seaworthy keys` wrote?"))]
    Malformed { path: PathBuf, why: String },
    /// The maker of certificates failed.
    #[error("could not make a certificate")]
    #[diagnostic(code(keys::certificate))]
    Certificate(#[from] rcgen::Error),
}

impl KeysRefusal {
    fn exit(&self) -> Exit {
        match self {
            KeysRefusal::Machine { .. } | KeysRefusal::Certificate(_) => Exit::Environment,
            _ => Exit::Usage,
        }
    }
}

pub(crate) fn run(args: &Args) -> Exit {
    let outcome = match &args.command {
        Command::Init { dir, days, force } => authority::init(dir, *days, *force).map(|text| screen::report(&text)),
        Command::Issue { dir, process, host, days, force } => {
            let wanted = authority::Wanted { process, hosts: host, days: *days };
            authority::issue(dir, &wanted, *force).map(|text| screen::report(&text))
        }
        Command::Show { dir, json } => show::run(dir, *json),
    };
    outcome.unwrap_or_else(|refusal| {
        screen::problem(&refusal);
        refusal.exit()
    })
}
