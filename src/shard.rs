//! One part of a gate's scenarios, by their names: which part a file is in, and what is written beside its result.

use std::ffi::OsStr;
use std::path::Path;

use clap::ValueEnum;
use seaworthy_harness::scenario::Sources;
use serde::{Deserialize, Serialize};

/// How much is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Tier {
    /// A pull request: the `pr` seeds of each scenario, 8 unless it says otherwise.
    Pr,
    /// A release: the `release` seeds, 64 unless it says otherwise.
    Release,
}

impl Tier {
    /// As on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Tier::Pr => "pr",
            Tier::Release => "release",
        }
    }
}

/// Which shard of how many a result is, and whose seeds it ran: `shard.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShardFile {
    pub(crate) shard: u32,
    pub(crate) of: u32,
    pub(crate) tier: Tier,
}

impl ShardFile {
    /// What no shard is written with is refused in words.
    pub(crate) fn parse(text: &str) -> Result<ShardFile, String> {
        let shard: ShardFile = serde_json::from_str(text).map_err(|error| error.to_string())?;
        match (1..=shard.of).contains(&shard.shard) {
            true => Ok(shard),
            false => Err(format!("there is no shard {} of {}", shard.shard, shard.of)),
        }
    }

    /// The file's text.
    pub(crate) fn text(&self) -> String {
        format!("{}\n", serde_json::to_string(self).expect("two numbers and a word are JSON"))
    }
}

/// `1/3` on the command line.
pub(crate) fn parse_option(text: &str) -> Result<(u32, u32), String> {
    let numbers = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
    numbers.filter(|(i, n)| (1..=*n).contains(i)).ok_or_else(|| "write i/n, such as 1/3, with i from 1 to n".to_owned())
}

/// The shard of a file's scenarios, from 1: by its name alone, so that one more scenario moves no other.
pub(crate) fn shard_of(path: &str, of: u32) -> u32 {
    let hash = xxhash_rust::xxh3::xxh3_64(stem_of(path).as_encoded_bytes());
    (hash % u64::from(of)) as u32 + 1
}

/// The name of a file's scenarios.
pub(crate) fn stem_of(path: &str) -> &OsStr {
    Path::new(Sources::file_of(path)).file_stem().unwrap_or_default()
}
