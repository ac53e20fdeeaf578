//! What the command line says of the journals, for this process and for the children that it starts.

use seaworthy_engine::journal::{Durability, JournalOptions};
use seaworthy_engine::nodes::units::duration_ns;

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct JournalArgs {
    /// Size of a journal's segments in bytes: two are taken from the disk at the start, more as a backlog grows.
    #[arg(long, value_name = "BYTES", default_value_t = JournalOptions::new("").segment_bytes, value_parser = segment_bytes)]
    segment_bytes: u64,
    /// When a commit counts: `sync` once it is synced, `interval:MS` once it is written, with a sync every MS milliseconds, `os`
    /// once it is written. The last two may lose what was confirmed to a power cut, and say so at the start.
    #[arg(long, value_name = "sync|interval:MS|os", default_value_t)]
    durability: Durability,
    /// Keeps what was written so long, as `24h`, also where nobody needs it any more: `queue export` still has it. Where room is
    /// pressing it goes all the same.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    retain: Option<u64>,
    /// Keeps so many bytes of the newest segments, too.
    #[arg(long, value_name = "BYTES")]
    retain_bytes: Option<u64>,
}

impl JournalArgs {
    /// For the journal of a process.
    pub(crate) fn options(&self, process: &str) -> JournalOptions {
        let (segment_bytes, durability) = (self.segment_bytes, self.durability);
        let (retain_ns, retain_bytes) = (self.retain.unwrap_or(0), self.retain_bytes.unwrap_or(0));
        JournalOptions { segment_bytes, durability, retain_ns, retain_bytes, ..JournalOptions::new(process) }
    }

    /// The same as arguments of a child.
    pub(super) fn arguments(&self) -> Vec<String> {
        let mut arguments =
            vec![format!("--segment-bytes={}", self.segment_bytes), format!("--durability={}", self.durability)];
        arguments.extend(self.retain.map(|ns| format!("--retain={ns}ns")));
        arguments.extend(self.retain_bytes.map(|bytes| format!("--retain-bytes={bytes}")));
        arguments
    }
}

fn segment_bytes(text: &str) -> Result<u64, String> {
    let bytes: u64 = text.parse().map_err(|_| "a number of bytes".to_owned())?;
    let options = JournalOptions::new("");
    let (min, max) = (4 * options.frame_bytes_max as u64, options.bytes_max / 2);
    if !bytes.is_multiple_of(512) || !(min..=max).contains(&bytes) {
        return Err(format!("a multiple of 512, from {min} to {max}"));
    }
    Ok(bytes)
}

fn duration(text: &str) -> Result<u64, String> {
    let ns = duration_ns("--retain", text).map_err(|error| error.message)?;
    Ok(u64::try_from(ns).expect("a duration is above 0"))
}
