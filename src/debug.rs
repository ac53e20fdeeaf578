//! `debug`: why a seed failed: what broke, what led to it in virtual time, and where each host was.

use std::collections::BTreeMap;

use seaworthy_engine::node::Registry;
use seaworthy_harness::chrome;
use seaworthy_harness::plan::Plan;
use seaworthy_harness::run::{Failure, Judged, Prepared};
use seaworthy_harness::scenario::duration;
use seaworthy_harness::story::{self, HostState, Line};
use serde::Serialize;

use crate::exit::Exit;
use crate::files::{write_bytes, write_whole};
use crate::plan_files::Which;
use crate::show;

/// Shows why a seed failed: what broke, what led to it, and where each host was.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  seaworthy debug scenarios/must_fail/forge_ack.toml --seed 5\n  \
    seaworthy debug my.toml --plan out/my/smallest.plan.json --keep /tmp/seed5\n  \
    seaworthy debug my.toml --seed 5 --packet quakes-12 --until 31.204s\n\n\
    Without --packet and --host it follows the packets that the first broken promise names. --keep writes each host's disk\n\
    as files, for `seaworthy queue fsck`, history.jsonl with everything that happened, and trace.json for Perfetto.\n\
    Ends with 1 when the seed fails, with 0 when it passes.")]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    /// Only this packet, with what nodes made of it; may be given again.
    #[arg(long)]
    packet: Vec<String>,
    /// Only what happened on this host.
    #[arg(long)]
    host: Option<String>,
    /// From this virtual time on, such as 29s.
    #[arg(long, value_parser = parse_time)]
    from: Option<u64>,
    /// Until this virtual time, such as 31.204s; by default when the first promise broke.
    #[arg(long, value_parser = parse_time)]
    until: Option<u64>,
    /// Lines at most, the last ones.
    #[arg(long, default_value_t = 40)]
    lines: usize,
    /// Writes the hosts' disks, history.jsonl and trace.json into this folder.
    #[arg(long)]
    keep: Option<String>,
    /// Prints one JSON document instead of text.
    #[arg(long)]
    json: bool,
}

/// `31.204s`, `400ms`: a scenario's times, and fractions of a second.
pub(crate) fn parse_time(text: &str) -> Result<u64, String> {
    if let Some(seconds) = text.strip_suffix('s').and_then(|number| number.parse::<f64>().ok()) {
        return if seconds.is_finite() && (0.0..1e9).contains(&seconds) {
            Ok((seconds * 1e9).round() as u64)
        } else {
            Err("a time is from 0s on".to_owned())
        };
    }
    duration(text).map_err(|error| error.to_string())
}

#[derive(Serialize)]
struct Debugged<'a> {
    schema: &'static str,
    scenario: &'a str,
    plan: &'a Plan,
    failures: &'a [Failure],
    until_ns: u64,
    hosts: Vec<HostState>,
    lines: Vec<&'a Line>,
}

pub(crate) fn run(args: &Args, registry: &Registry) -> Exit {
    match debug(args, registry) {
        Ok(exit) | Err(exit) => exit,
    }
}

fn debug(args: &Args, registry: &Registry) -> Result<Exit, Exit> {
    let (prepared, plan) = args.which.read(registry)?;
    if let Some(host) = args.host.as_ref().filter(|host| !prepared.world().hosts.contains(host)) {
        show::problem(&Unknown { host: host.clone(), hosts: prepared.world().hosts.join(", ") });
        return Err(Exit::Usage);
    }
    let judged = prepared.run_plan(&plan, true).map_err(|error| crate::worlds::books(&error))?;
    let failures = judged.failures(&prepared);
    let lines = story::lines(prepared.world(), &plan, &judged);
    if let Some(folder) = &args.keep {
        keep(folder, &judged, &lines)?;
    }
    // A failure that names packets has a story to tell.
    let named = failures.iter().map(|failure| (failure, story::named_in(&failure.message, &judged.history, 3)));
    let told = named.clone().find(|(_, packets)| !packets.is_empty()).or_else(|| named.clone().next());
    let failed_ns = told.as_ref().and_then(|(failure, _)| failure.at_ns);
    let until_ns = args.until.or(failed_ns).unwrap_or(judged.history.end_ns);
    let packets = match (&args.packet[..], told, &args.host) {
        ([], Some((_, packets)), None) => packets,
        (packets, ..) => packets.to_vec(),
    };
    let chosen = choose(args, &lines, &packets, until_ns);
    let hosts = story::hosts_at(prepared.world(), &judged, until_ns);
    let exit = if failures.is_empty() { Exit::Pass } else { Exit::Failed };
    let shown = if args.json {
        show::json(&Debugged {
            schema: "seaworthy.debug/v1",
            scenario: prepared.path(),
            plan: &plan,
            failures: &failures,
            until_ns,
            hosts,
            lines: chosen,
        })
    } else {
        show::report(&text(args, &prepared, &plan, &judged, &failures, &hosts, &chosen, &packets))
    };
    Ok(exit.and(shown))
}

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("there is no host `{host}`")]
#[diagnostic(code(debug::host), help("the graph has {hosts}"))]
struct Unknown {
    host: String,
    hosts: String,
}

/// The lines that were asked for: of those packets, with what happened to the world meanwhile.
fn choose<'a>(args: &Args, lines: &'a [Line], packets: &[String], until_ns: u64) -> Vec<&'a Line> {
    let wanted = |line: &&Line| {
        let of_packet =
            packets.is_empty() || line.is_of_the_world() || packets.iter().any(|packet| line.is_about(packet));
        let of_host = args.host.is_none() || line.host.is_none() || line.host == args.host;
        of_packet && of_host && line.at_ns <= until_ns && args.from.is_none_or(|from_ns| line.at_ns >= from_ns)
    };
    // Syncs of journals say little, and there are many.
    let telling = |line: &&Line| line.what != "synced" || args.host.is_some();
    let chosen: Vec<&Line> = lines.iter().filter(wanted).filter(telling).collect();
    chosen[chosen.len().saturating_sub(args.lines)..].to_vec()
}

#[expect(clippy::too_many_arguments, reason = "a page is made of all that is known")]
fn text(
    args: &Args,
    prepared: &Prepared,
    plan: &Plan,
    judged: &Judged,
    failures: &[Failure],
    hosts: &[HostState],
    lines: &[&Line],
    packets: &[String],
) -> String {
    let mut text = String::new();
    let seconds = |ns: u64| format!("{:.3}s", ns as f64 / 1e9);
    let verdict = if failures.is_empty() { "PASS" } else { "FAIL" };
    text.push_str(&format!("{verdict} {}, seed {}: {}\n", plan.scenario, plan.seed, prepared.scenario().why));
    for failure in failures.iter().take(5) {
        let at = failure.at_ns.map_or_else(|| "at the end".to_owned(), seconds);
        text.push_str(&format!("  {at:>10}  {}: {}\n", failure.check, failure.message));
    }
    if failures.len() > 5 {
        text.push_str(&format!("  and {} more\n", failures.len() - 5));
    }
    text.push_str("\nfaults\n");
    let mut felt: BTreeMap<usize, (u64, u64, u64)> = BTreeMap::new();
    for applied in &judged.history.applied {
        felt.insert(applied.step, (applied.from_ns, applied.to_ns, applied.hits));
    }
    for (number, step) in plan.steps.iter().enumerate() {
        let what = format!("{} {}", step.action.kind(), step.action.on());
        let came = match felt.get(&number) {
            Some((from_ns, to_ns, hits)) => {
                format!("{} to {}, felt {hits} times", seconds(*from_ns), seconds(*to_ns))
            }
            None => "never began".to_owned(),
        };
        text.push_str(&format!("  {:<16} {what:<36} {came}\n", step.fault));
    }
    if plan.steps.is_empty() {
        text.push_str("  none\n");
    }
    let about = if packets.is_empty() { "everything".to_owned() } else { packets.join(", ") };
    text.push_str(&format!("\nwhat led to it ({about}, {} lines)\n", lines.len()));
    for line in lines {
        text.push_str(&format!("  {:>10}  {}\n", seconds(line.at_ns), line.text()));
    }
    text.push_str("\nhosts then\n");
    for state in hosts {
        let up = match state.incarnation {
            Some(incarnation) => format!("up since {}, incarnation {incarnation}", seconds(state.since_ns)),
            None => format!("down since {}", seconds(state.since_ns)),
        };
        text.push_str(&format!("  {:<10} {up:<36} {} KiB on disk\n", state.host, state.disk_bytes / 1024));
    }
    let again = args.which.again();
    if let Some(folder) = &args.keep {
        text.push_str(&format!("\nkept in {folder}: each host's disk, history.jsonl, trace.json\n"));
    }
    if !failures.is_empty() {
        text.push_str(&format!("\nnext: seaworthy shrink {again}\n      seaworthy trace diff {again}\n"));
    }
    text
}

/// Writes the hosts' disks as they were at the end, and everything that happened.
fn keep(folder: &str, judged: &Judged, lines: &[Line]) -> Result<(), Exit> {
    let failed = |path: &str, error: std::io::Error| {
        show::notes(&[format!("could not write {path}: {error}")]);
        Exit::Environment
    };
    for (host, disk) in &judged.disks {
        for (name, bytes) in disk.snapshot() {
            let path = format!("{folder}/{host}/{name}");
            write_bytes(&path, &bytes).map_err(|error| failed(&path, error))?;
        }
    }
    let mut text = String::new();
    for line in lines {
        text.push_str(&serde_json::to_string(line).expect("a line holds only texts and numbers"));
        text.push('\n');
    }
    let trace = format!("{}\n", chrome::document(lines));
    for (name, text) in [("history.jsonl", text), ("trace.json", trace)] {
        let path = format!("{folder}/{name}");
        write_whole(&path, &text).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}
