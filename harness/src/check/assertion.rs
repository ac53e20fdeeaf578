//! `assertion`: what `always!` claims held whenever it was looked at, and nothing was reached that `unreachable!` rules out.

use seaworthy_engine::assert::catalogue;
use seaworthy_engine::observe::What;

use super::{Case, seconds};
use crate::plan::Ns;

pub(super) fn judge(case: &Case<'_>) -> Vec<(Ns, String)> {
    let catalogue = catalogue();
    let says = |id: &str| {
        let known = catalogue.iter().find(|assertion| assertion.id == id);
        known.map_or_else(String::new, |known| format!(": {} ({}:{})", known.says, known.file, known.line))
    };
    let broken = case.history.events.iter().filter_map(|probed| match &probed.event.what {
        What::Asserted { id, held: false } => Some((probed.at_ns, probed, *id)),
        _ => None,
    });
    broken
        .map(|(at_ns, probed, id)| {
            let (host, at) = (&probed.host, seconds(at_ns));
            (at_ns, format!("{id} does not hold on {host} at {at}{}", says(id)))
        })
        .collect()
}
