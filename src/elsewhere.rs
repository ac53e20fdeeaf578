//! A seed in a second process, in another directory, environment and time zone: what it gives must be the same.

use std::path::Path;
use std::process::Command;

use seaworthy_harness::scenario::Sources;
use seaworthy_reports::read::parse;

use crate::exit::Exit;
use crate::show;

/// The hash of the trace of a seed, run by this binary in a process of its own.
pub(crate) fn trace_hash(scenario: &str, seed: u64) -> Result<String, Exit> {
    run(scenario, seed).map_err(|why| {
        show::notes(&[format!("could not run {scenario} in a second process: {why}")]);
        Exit::Environment
    })
}

fn run(scenario: &str, seed: u64) -> Result<String, String> {
    let told = |error: std::io::Error| error.to_string();
    let binary = std::env::current_exe().map_err(told)?;
    let file = Sources::file_of(scenario);
    let mut path = Path::new(file).canonicalize().map_err(told)?.into_os_string();
    path.push(&scenario[file.len()..]);
    let dir = std::env::temp_dir().join(format!("seaworthy-elsewhere-{}", std::process::id()));
    std::fs::create_dir_all(&dir).map_err(told)?;
    let output = Command::new(binary)
        .arg("sim")
        .arg(&path)
        .args(["--seed", &seed.to_string(), "--shrink", "0", "--jobs", "1", "--json", "--out", "out"])
        .current_dir(&dir)
        .env_clear()
        .env("TZ", "Asia/Kathmandu")
        .env("LANG", "tr_TR.UTF-8")
        .env("HOME", "/nonexistent")
        .env("ELSEWHERE", "1")
        .output();
    // What is left there is nobody's; that it can't be removed changes no verdict.
    let _ = std::fs::remove_dir_all(&dir);
    let output = output.map_err(told)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let file = parse(&text).map_err(|error| format!("{error}: {}", String::from_utf8_lossy(&output.stderr)))?;
    let seed = file.scenarios.first().and_then(|scenario| scenario.seeds.first()).ok_or("it ran no seed")?;
    Ok(seed.trace_hash.clone())
}
