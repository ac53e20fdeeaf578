//! `debug`: why a seed failed: what broke, what led to it in virtual time, and where each host was.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use seaworthy_engine::node::Registry;
use seaworthy_harness::passage::{Passage, passages};
use seaworthy_harness::plan::Plan;
use seaworthy_harness::run::{Failure, Judged, Prepared};
use seaworthy_harness::scenario::duration;
use seaworthy_harness::story::{self, HostState, Line};
use serde::Serialize;

use crate::drawn;
use crate::exit::Exit;
use crate::files::{make_room, write_bytes, write_whole};
use crate::plan_files::Which;
use crate::show;

/// Shows why a seed failed: what broke, what led to it, and where each host was.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  seaworthy debug scenarios/must_fail/forge_ack.toml --seed 5\n  \
    seaworthy debug my.toml --plan out/my/smallest.plan.json --keep /tmp/seed5\n  \
    seaworthy debug my.toml --seed 5 --packet quakes-12 --until 31.204s\n\n\
    Without --packet and --host it follows the packets that the first broken promise names, and those whose way through a\n\
    channel can't be right. --channel shows the way of all packets through one. --keep writes each host's disk\n\
    as files, for `seaworthy queue fsck`, history.jsonl with everything that happened, and trace.json for Perfetto.\n\
    Ends with 1 when the seed fails, with 0 when it passes.")]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    /// Only this packet, with what nodes made of it; may be given again.
    #[arg(long)]
    packet: Vec<String>,
    /// The way of all packets through this channel: when each host wrote, handed out and settled them.
    #[arg(long)]
    channel: Option<String>,
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
    #[arg(long, default_value_t = 60)]
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
    passages: Vec<&'a Passage>,
    lines: Vec<&'a Line>,
}

/// Passages that are shown without being asked for, at most.
const PASSAGES: usize = 6;

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
        let twin = drawn::twin(&prepared, &plan);
        keep(folder, &judged, &drawn::history(&lines), &drawn::trace(&prepared, &plan, &lines, twin.as_ref()))?;
    }
    // The first failure is the nearest to the cause; what comes later may be what follows from it.
    let failed = failures.first();
    let told = failed.map(|failure| story::named_in(&failure.message, &judged.history, 3));
    let until_ns = args.until.or(failed.and_then(|failure| failure.at_ns)).unwrap_or(judged.history.end_ns);
    let all = passages(&lines);
    if let Some(unknown) = unknown_channel(args, &all) {
        show::problem(&unknown);
        return Err(Exit::Usage);
    }
    let packets = match (&args.packet[..], told, &args.host) {
        ([], Some(packets), None) if packets.is_empty() => odd_ones(&all),
        ([], Some(packets), None) => packets,
        (packets, ..) => packets.to_vec(),
    };
    let ways = ways(args, &all, &packets);
    let chosen = choose(args, &lines, &packets, &all, until_ns);
    let shown = &chosen[chosen.len().saturating_sub(args.lines)..];
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
            passages: ways,
            lines: shown.to_vec(),
        })
    } else {
        let ways: Vec<String> = ways.iter().map(|passage| passage.text(&all)).collect();
        show::report(&text(args, &prepared, &plan, &judged, &failures, &hosts, &ways, (shown, chosen.len()), &packets))
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

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("nothing passed through a channel `{channel}`")]
#[diagnostic(code(debug::channel), help("packets passed through {channels}"))]
struct UnknownChannel {
    channel: String,
    channels: String,
}

/// Whether events call the channel that.
fn is_called(passage: &Passage, channel: &str) -> bool {
    passage.channel == channel || passage.channel.strip_prefix("channel/") == Some(channel)
}

fn unknown_channel(args: &Args, all: &[Passage]) -> Option<UnknownChannel> {
    let channel = args.channel.as_ref().filter(|channel| !all.iter().any(|passage| is_called(passage, channel)))?;
    let channels: BTreeSet<&str> = all.iter().map(|passage| &*passage.channel).collect();
    let channels = if channels.is_empty() { "none".to_owned() } else { Vec::from_iter(channels).join(", ") };
    Some(UnknownChannel { channel: channel.clone(), channels })
}

/// The packets whose way can't be right, at most three.
fn odd_ones(all: &[Passage]) -> Vec<String> {
    let odd = all.iter().filter(|passage| passage.odd.is_some()).map(|passage| passage.packet.clone());
    let mut packets: Vec<String> = Vec::new();
    for packet in odd {
        if packets.len() < 3 && !packets.contains(&packet) {
            packets.push(packet);
        }
    }
    packets
}

/// The passages that are shown: of the channel that was asked for, or of those packets and of all that can't be right.
fn ways<'a>(args: &Args, all: &'a [Passage], packets: &[String]) -> Vec<&'a Passage> {
    if let Some(channel) = &args.channel {
        let of_channel: Vec<&Passage> = all.iter().filter(|passage| is_called(passage, channel)).collect();
        let from = of_channel.len().saturating_sub(args.lines);
        // What can't be right is shown, however much came behind it.
        let kept = |(at, passage): (usize, &'a Passage)| (at >= from || passage.odd.is_some()).then_some(passage);
        return of_channel.into_iter().enumerate().filter_map(kept).collect();
    }
    let followed = |passage: &&Passage| packets.iter().any(|packet| passage.is_about(packet));
    let (followed, others): (Vec<&Passage>, Vec<&Passage>) = all.iter().partition(followed);
    let odd = others.into_iter().filter(|passage| passage.odd.is_some());
    followed.into_iter().chain(odd).take(PASSAGES).collect()
}

/// The lines that were asked for: of those packets, with what happened to the world meanwhile.
fn choose<'a>(args: &Args, lines: &'a [Line], packets: &[String], all: &[Passage], until_ns: u64) -> Vec<&'a Line> {
    let followed = all.iter().filter(|passage| packets.iter().any(|packet| passage.is_about(packet)));
    let unnamed: BTreeSet<usize> = followed.flat_map(|passage| passage.unnamed(lines)).collect();
    let wanted = |(at, line): &(usize, &Line)| {
        let about = |packet: &String| line.is_about(packet);
        let of_packet =
            packets.is_empty() || line.is_of_the_world() || packets.iter().any(about) || unnamed.contains(at);
        let of_host = args.host.is_none() || line.host.is_none() || line.host == args.host;
        of_packet && of_host && line.at_ns <= until_ns && args.from.is_none_or(|from_ns| line.at_ns >= from_ns)
    };
    // Syncs of journals say little, and there are many; likewise what holds as it must.
    let telling = |line: &&Line| {
        (!["confirmed", "synced"].contains(&line.what.as_str()) || args.host.is_some()) && !line.is_of_course()
    };
    // Of a promise that breaks again and again the first time tells most.
    let mut broken: BTreeSet<&str> = BTreeSet::new();
    let fresh = |line: &&'a Line| line.what != "VIOLATION" || broken.insert(&line.place);
    lines.iter().enumerate().filter(wanted).map(|(_, line)| line).filter(telling).filter(fresh).collect()
}

#[expect(clippy::too_many_arguments, reason = "a page is made of all that is known")]
fn text(
    args: &Args,
    prepared: &Prepared,
    plan: &Plan,
    judged: &Judged,
    failures: &[Failure],
    hosts: &[HostState],
    ways: &[String],
    (lines, of): (&[&Line], usize),
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
    if args.which.is_planned() && failures.iter().any(|failure| failure.at_ns.is_none()) {
        text.push_str("  objectives are judged as of a whole run: a plan with less load or fewer faults may miss some for that alone\n");
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
    if !ways.is_empty() {
        text.push_str("\nthrough the channels (times in s)\n");
        ways.iter().for_each(|way| text.push_str(&format!("  {way}\n")));
    }
    let about = if packets.is_empty() { "everything".to_owned() } else { packets.join(", ") };
    let count = if lines.len() == of {
        show::count(of, "line", "lines")
    } else {
        format!("the last {} of {of} lines; --lines {of} shows all", lines.len())
    };
    text.push_str(&format!("\nwhat led to it ({about}: {count})\n"));
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
        // A plan of its own is small already, and without faults there is no twin to compare with.
        let shrink = (!args.which.is_planned()).then(|| format!("seaworthy shrink {again}"));
        let diff = (!plan.steps.is_empty()).then(|| format!("seaworthy trace diff {again}"));
        let look = args.keep.as_ref().map(|folder| format!("seaworthy queue ls {folder}/{}", hosts[0].host));
        let keep = args.keep.is_none().then(|| format!("seaworthy debug {again} --keep DIR"));
        let next: Vec<String> = [shrink, diff, look, keep].into_iter().flatten().collect();
        text.push_str(&format!("\nnext: {}\n", next.join("\n      ")));
    }
    text
}

/// Writes the hosts' disks as they were at the end, and everything that happened.
fn keep(folder: &str, judged: &Judged, history: &str, trace: &str) -> Result<(), Exit> {
    let failed = |path: &str, error: std::io::Error| {
        show::notes(&[format!("could not write {path}: {error}")]);
        Exit::Environment
    };
    // A folder that was kept before is kept anew; what somebody else put there is not touched.
    let ours = Path::new(&format!("{folder}/history.jsonl")).exists();
    for (host, disk) in &judged.disks {
        let of_host = format!("{folder}/{host}");
        make_room(&of_host, ours).map_err(|error| failed(&of_host, error))?;
        for (name, bytes) in disk.snapshot() {
            let path = format!("{folder}/{host}/{name}");
            write_bytes(&path, &bytes).map_err(|error| failed(&path, error))?;
        }
    }
    for (name, text) in [("history.jsonl", history), ("trace.json", trace)] {
        let path = format!("{folder}/{name}");
        write_whole(&path, text).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}
