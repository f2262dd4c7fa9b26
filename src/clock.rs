//! Notices that the clock was set, or that the machine slept.

use tokio::time::Instant;

use crate::db::now_ms;

/// What is no jump but a correction, in milliseconds.
const SMALL: i64 = 5_000;

/// Compares the clock with the time that passed while the machine was awake.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    wall: i64,
    awake: Instant,
}

impl Default for Clock {
    /// Begins to compare.
    fn default() -> Clock {
        Clock { wall: now_ms(), awake: Instant::now() }
    }
}

impl Clock {
    /// How far the clock has jumped since the last call, in milliseconds: forward
    /// also where the machine slept. 0 for a correction.
    pub fn jump(&mut self) -> i64 {
        let before = std::mem::take(self);
        let passed = i64::try_from((self.awake - before.awake).as_millis()).unwrap_or(0);
        let jump = self.wall - before.wall - passed;
        if jump.abs() < SMALL { 0 } else { jump }
    }
}
