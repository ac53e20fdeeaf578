//! Reads a whole journal, explains what is damaged, and moves it away when asked.

use std::path::{Path, PathBuf};

use seaworthy_engine::journal::reader::{Finding, Step};
use seaworthy_engine::journal::repair::{self, RepairError};
use serde::Serialize;

use super::{Findings, QueueError, disk, mib, reader, unreadable};
use crate::exit::Exit;
use crate::show;

#[derive(clap::Args)]
pub(super) struct Args {
    /// A process's data directory.
    dir: PathBuf,
    /// Moves what is damaged into files `quarantine-…` beside the segments; deletes nothing. The process must be stopped.
    #[arg(long)]
    repair: bool,
    /// For a program.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Checked {
    process: String,
    segments: u64,
    frame_bytes: u64,
    records: u64,
    clean: bool,
    findings: Vec<Told>,
    /// Findings beyond those.
    more_findings: u64,
    /// What a repair moved where.
    moved: Vec<Moved>,
}

#[derive(Serialize)]
struct Told {
    finding: &'static str,
    damage: bool,
    /// The first record that is lost, and the one after the last; nothing when none is.
    lost_lsn: Option<(u64, u64)>,
    words: String,
}

#[derive(Serialize)]
struct Moved {
    file: String,
    lost_lsn: Option<(u64, u64)>,
}

fn lost(finding: &Finding) -> Option<(u64, u64)> {
    let lost = finding.lost();
    (lost.start < lost.end).then_some((lost.start.0, lost.end.0))
}

pub(super) async fn run(args: &Args) -> Result<Exit, QueueError> {
    let dir = &args.dir;
    let mut moved = Vec::new();
    let mut repaired = Findings::default();
    if args.repair {
        let done = repair::repair(&disk(dir)?).await.map_err(|source| match source {
            RepairError::Read(source) => unreadable(dir)(source),
            source @ RepairError::Locked => QueueError::Repair { dir: dir.clone(), source },
        })?;
        done.0.into_iter().for_each(|finding| repaired.add(finding));
        moved = done.1;
    }
    // What is there now, after a repair.
    let (mut checked, findings) = check(dir).await?;
    let found = if args.repair { &repaired } else { &findings };
    checked.moved =
        moved.iter().map(|moved| Moved { file: moved.file.clone(), lost_lsn: lost(&moved.finding) }).collect();
    let exit = found.exit().and(findings.exit());
    checked.clean = exit == Exit::Pass;
    if args.json {
        return Ok(show::json(&checked).and(exit));
    }
    let mut text: String = found.lines().iter().map(|line| format!("{line}\n")).collect();
    for moved in &checked.moved {
        let lsns = moved.lost_lsn.map_or_else(|| "no record".to_owned(), |(from, to)| format!("records {from}..{to}"));
        text.push_str(&format!("moved into {}: {lsns}\n", moved.file));
    }
    let left = match (checked.clean, findings.damaged) {
        (true, _) => "clean",
        (false, false) => "repaired: what is lost is said above",
        (false, true) => "DAMAGED",
    };
    let (segments, records) = (checked.segments, checked.records);
    text.push_str(&format!(
        "{}: {} of frames with {records} records in {segments} segments of {}\n",
        left,
        mib(checked.frame_bytes),
        checked.process
    ));
    Ok(show::report(&text).and(exit))
}

async fn check(dir: &Path) -> Result<(Checked, Findings), QueueError> {
    let mut reader = reader(dir).await?.verifying();
    let (mut records, mut findings) = (0, Findings::default());
    while let Some(step) = reader.next().await.map_err(unreadable(dir))? {
        match step {
            Step::Finding(finding) => findings.add(finding),
            // A stub stands for records that are gone.
            Step::Frame(frame) => records += if frame.header.is_state { 0 } else { u64::from(frame.header.count) },
            Step::Footer(_) => {}
        }
    }
    let told = |finding: &Finding| Told {
        finding: finding.name(),
        damage: finding.is_damage(),
        lost_lsn: lost(finding),
        words: finding.to_string(),
    };
    let checked = Checked {
        process: reader.process().to_owned(),
        segments: reader.segments(),
        frame_bytes: reader.bytes(),
        records,
        clean: false,
        findings: findings.kept.iter().map(told).collect(),
        more_findings: findings.more,
        moved: Vec::new(),
    };
    Ok((checked, findings))
}
