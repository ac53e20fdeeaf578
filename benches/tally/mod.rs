//! What criterion ran, counted: criterion prints times, and benches print how much a second, too.

use std::cell::Cell;
use std::hint::black_box;
use std::time::Instant;

use criterion::Bencher;

/// What was done, in the bench's own unit, and the wall time of it.
#[derive(Default)]
pub struct Tally {
    done: Cell<f64>,
    wall_s: Cell<f64>,
}

impl Tally {
    /// Measures `run`, each call of which does so much.
    pub fn time<R>(&self, bencher: &mut Bencher<'_>, each: f64, mut run: impl FnMut() -> R) {
        bencher.iter_custom(|times| {
            let start = Instant::now();
            for _ in 0..times {
                black_box(run());
            }
            let wall = start.elapsed();
            self.done.set(self.done.get() + each * times as f64);
            self.wall_s.set(self.wall_s.get() + wall.as_secs_f64());
            wall
        });
    }

    /// How much a second; not a number when a filter left it out.
    pub fn rate(&self) -> f64 {
        self.done.get() / self.wall_s.get()
    }
}
