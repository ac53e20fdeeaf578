//! Files that are looked at until one of them changes.
#![expect(clippy::disallowed_methods, reason = "the command waits for its user in real time")]

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

/// How often they are looked at.
const EVERY: Duration = Duration::from_millis(300);

/// Which files were read, to be told when one is saved.
#[derive(Default)]
pub(crate) struct Watch(RefCell<Vec<(String, Option<SystemTime>)>>);

impl Watch {
    /// Remembers a file as it is now.
    pub(crate) fn add(&self, path: &str) {
        if !self.0.borrow().iter().any(|(known, _)| known == path) {
            self.0.borrow_mut().push((path.to_owned(), saved(path)));
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// Returns once a file is another than it was; its path.
    pub(crate) fn wait(&self) -> String {
        loop {
            let files = self.0.borrow();
            // Twice alike: an editor may still be writing.
            let changed = files.iter().find(|(path, before)| {
                let now = saved(path);
                now != *before && now.is_some()
            });
            if let Some((path, _)) = changed {
                std::thread::sleep(EVERY);
                return path.clone();
            }
            drop(files);
            std::thread::sleep(EVERY);
        }
    }
}

fn saved(path: &str) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|data| data.modified()).ok()
}
