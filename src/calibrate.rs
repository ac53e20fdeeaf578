//! `calibrate`: measures what each node of a graph costs on this machine, for a scenario to charge.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use seaworthy_engine::node::Registry;
use seaworthy_harness::calibrate::{Calibration, PACKETS_MIN, Seen};
use seaworthy_harness::run::Prepared;
use serde::Serialize;
use time::OffsetDateTime;

use crate::exit::Exit;
use crate::made_up;
use crate::pages::write;
use crate::show;

/// Measures what the nodes of a graph cost on this machine, and writes what a simulation then charges.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  seaworthy calibrate graphs/edge_hub.yaml --out graphs/edge_hub.cpu.toml\n  \
    seaworthy calibrate scenarios/smoke.toml\n\n\
    A scenario takes it with `cpu = \"graphs/edge_hub.cpu.toml\"`. Each packet of the load goes through each node --rounds\n\
    times, alone and in order; its fastest time counts, so other work on the machine matters little. Run it on the machine\n\
    that the graph is for: what a node costs there is what the simulation charges, a packet and a KiB of its payload.")]
pub(crate) struct Args {
    /// A graph or process graph (.yaml), whose load is made up, or a scenario (.toml), which brings its own.
    file: String,
    /// Where to write the costs [default: beside the graph, with the ending .cpu.toml]
    #[arg(long)]
    out: Option<String>,
    /// How often the load goes through.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
    /// Events a second of each source of a graph, over 10 s.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Prints what was seen as JSON instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    file: &'a str,
    #[serde(flatten)]
    calibration: &'a Calibration,
}

pub(crate) fn run(args: &Args, registry: &Registry) -> Exit {
    let prepared = match made_up::prepare(&args.file, args.rate, "10s", registry) {
        Ok(prepared) => prepared,
        Err(exit) => return exit,
    };
    calibrate(args, &prepared).unwrap_or_else(|exit| exit)
}

fn calibrate(args: &Args, prepared: &Prepared) -> Result<Exit, Exit> {
    let (enough, few): (Vec<Seen>, Vec<Seen>) =
        prepared.calibrate(args.rounds).into_iter().partition(|seen| seen.packets >= PACKETS_MIN);
    for seen in &few {
        show::notes(&[format!("{}: {} packets are too few; it keeps the usual cost", seen.node, seen.packets)]);
    }
    if enough.is_empty() {
        show::notes(&["no node of the graph was reached by enough packets: nothing is written".to_owned()]);
        return Err(Exit::Void);
    }
    let nodes: BTreeMap<_, _> = enough.iter().map(|seen| (seen.node.clone(), seen.cost)).collect();
    let calibration = Calibration { measured: OffsetDateTime::now_utc().date().to_string(), nodes };
    let scenario = prepared.scenario();
    let beside = scenario.path(&scenario.graph).with_extension("cpu.toml").to_string_lossy().into_owned();
    let out = args.out.clone().unwrap_or(beside);
    let text = toml::to_string(&calibration).expect("texts and numbers are TOML");
    write(&out, &format!("# What the nodes of {} cost where `seaworthy calibrate` ran.\n{text}", args.file))?;
    Ok(if args.json {
        show::json(&Report { file: &out, calibration: &calibration })
    } else {
        show::report(&table(&enough, &out))
    })
}

fn table(seen: &[Seen], out: &str) -> String {
    let mut text = format!("{:<24} {:>8} {:>10} {:>10}   charged\n", "node", "packets", "p50 us", "p99 us");
    for Seen { node, packets, p50_ns, p99_ns, cost } in seen {
        let us = |ns: u64| ns as f64 / 1000.0;
        let _ = writeln!(
            text,
            "{node:<24} {packets:>8} {:>10.2} {:>10.2}   {:.2} us a packet + {:.2} us a KiB",
            us(*p50_ns),
            us(*p99_ns),
            us(cost.packet_ns),
            us(cost.kib_ns)
        );
    }
    let _ = writeln!(text, "{out}: a scenario takes it with `cpu = \"…\"`, relative to its own file");
    text
}
