//! Locks that outlive a panic: each is held for one step, so that what a panic left
//! behind one is whole.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is behind `mutex`, whoever panicked while they had it.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
