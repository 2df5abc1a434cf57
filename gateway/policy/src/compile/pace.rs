//! Divides a long compilation into short pieces, so that whoever shares the thread or the core may run in between.

/// Rules that are indexed in one piece: some 50 µs.
const STEPS_A_PIECE: u32 = 64;

/// Counts the work and calls in between what its owner gave for a pause.
pub(crate) struct Pace<'p> {
    pause: &'p mut dyn FnMut(),
    steps: u32,
}

impl<'p> Pace<'p> {
    /// A pace with this pause.
    pub(crate) fn new(pause: &'p mut dyn FnMut()) -> Self {
        Self { pause, steps: 0 }
    }

    /// A rule was indexed.
    pub(crate) fn step(&mut self) {
        self.steps += 1;
        if self.steps == STEPS_A_PIECE {
            self.piece();
        }
    }

    /// A piece is done.
    pub(crate) fn piece(&mut self) {
        self.steps = 0;
        (self.pause)();
    }
}
