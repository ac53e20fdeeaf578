//! The command, with the plugins that come with it.

use std::process::ExitCode;

fn main() -> ExitCode {
    seaworthy::main(seaworthy::std_registry())
}
