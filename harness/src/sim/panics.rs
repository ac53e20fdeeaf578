//! Catches panics inside a world's step, with the runtime (so the host) that they came from.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::Once;

use tokio::runtime::{Handle, Id};

/// What a panic said, and where.
#[derive(Clone, Debug)]
pub(crate) struct Caught {
    pub message: String,
    pub runtime: Option<Id>,
}

thread_local! {
    /// The panics of the step that this thread is in; `None` outside of one.
    static SEEN: RefCell<Option<Vec<Caught>>> = const { RefCell::new(None) };
}

/// What tokio says when a task's panic shuts a host's runtime down; the task's own panic came before it.
const ECHO: &str = "a spawned task panicked";
/// Panics that are remembered; all but the last were caught by the system itself.
const SEEN_MAX: usize = 64;

/// Runs `step`. A panic that leaves it comes back as the one that caused it; what the software caught itself is its own
/// affair. Neither is printed.
pub(crate) fn guard<R>(step: impl FnOnce() -> R) -> Result<R, Caught> {
    install();
    let outer = SEEN.replace(Some(Vec::new()));
    let result = catch_unwind(AssertUnwindSafe(step));
    let seen = SEEN.replace(outer).unwrap_or_default();
    result.map_err(|payload| match seen.into_iter().rfind(|caught| !caught.message.contains(ECHO)) {
        Some(caught) => caught,
        None => panic_any(payload),
    })
}

/// The message of a payload that someone caught.
pub(crate) fn message(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a message".to_owned())
}

fn install() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let inside = SEEN.with_borrow_mut(|seen| {
                let Some(seen) = seen else { return false };
                let place = info.location().map(|at| format!(" ({}:{})", at.file(), at.line())).unwrap_or_default();
                let message = format!("{}{place}", message(info.payload()));
                if seen.len() == SEEN_MAX {
                    seen.remove(0);
                }
                seen.push(Caught { message, runtime: Handle::try_current().ok().map(|handle| handle.id()) });
                true
            });
            if !inside {
                print(info);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_panic_that_leaves_is_told_from_the_one_that_was_caught() {
        let caught = guard(|| {
            let _ = catch_unwind(|| panic!("caught by itself"));
            panic!("boom {}", 1)
        });
        assert!(caught.unwrap_err().message.starts_with("boom 1 ("));
        assert_eq!(guard(|| 7).unwrap(), 7);
    }
}
