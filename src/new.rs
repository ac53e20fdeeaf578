//! `new`: files to begin with.

use seaworthy_engine::node::Registry;
use seaworthy_harness::run::read_graph;
use seaworthy_harness::scenario::storm;

use crate::draft::Draft;
use crate::exit::Exit;
use crate::files::{read_text, write_new};
use crate::scenario_files::refused;
use crate::show;

/// Writes a file to begin with.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// A scenario for a graph: a load for each source, one fault, and the others that it can meet as comments.
    #[command(after_help = "Example: seaworthy new scenario --from graphs/edge_hub.yaml --out scenarios/first.toml")]
    Scenario {
        /// The graph or process graph.
        #[arg(long)]
        from: String,
        /// Where to write it; what is there is never overwritten. Without it the scenario goes to stdout.
        #[arg(long)]
        out: Option<String>,
    },
}

pub(crate) fn run(args: &Args, registry: &Registry) -> Exit {
    let What::Scenario { from, out } = &args.what;
    let (plan, world) = match read_graph(from, &read_text, registry) {
        Ok(read) => read,
        Err(error) => return refused(from, error),
    };
    let folder = out.as_deref().and_then(|out| out.rsplit_once('/')).map_or("", |(folder, _)| folder);
    let why = "say in one sentence what a failure of this scenario would mean";
    let mut text = Draft { why, graph: from, folder, duration: "30s", rate: 100, reads: true }.text(&plan);
    let cases = storm::cases(&world);
    if let Some(first) = cases.first() {
        text.push_str(&format!("\n{}", first.faults));
    }
    text.push_str(
        "\n[expect]\n\"lost\" = \"== 0\"\n\n# What else this graph can meet; docs/faults.md says what each does:\n",
    );
    for case in cases.iter().skip(1) {
        text.push_str(&format!("#   kind = \"{}\", on = \"{}\"\n", case.kind, case.on));
    }
    let Some(out) = out else { return show::report(&text) };
    match write_new(out, &text) {
        Ok(()) => show::report(&format!("wrote {out}: seaworthy check {out} && seaworthy sim {out}\n")),
        Err(error) => {
            show::problem(&NotWritten { out: out.clone(), error });
            Exit::Environment
        }
    }
}

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("could not write {out}: {error}")]
#[diagnostic(code(new::not_written), help("a file that is there is left as it is: name another one"))]
struct NotWritten {
    out: String,
    error: std::io::Error,
}
