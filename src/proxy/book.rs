//! What one container used of the model since it was last asked.
//!
//! In memory only: the daemon carries it into the ledger.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What one answer of the model took, in tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The model that answered, as the API names it.
    pub model: String,
    /// Tokens of the prompt that were neither read from nor written to the cache.
    pub input_tokens: u64,
    /// Tokens of the answer.
    pub output_tokens: u64,
    /// Tokens of the prompt that were read from the cache.
    pub cache_read_tokens: u64,
    /// Tokens of the prompt that were written to the cache.
    pub cache_write_tokens: u64,
}

/// What was used and not asked for yet.
#[derive(Debug, Default)]
pub(super) struct Book(Mutex<Vec<Usage>>);

impl Book {
    /// What was used since this was last asked.
    pub(super) fn take(&self) -> Vec<Usage> {
        std::mem::take(&mut self.lock())
    }

    pub(super) fn add(&self, usage: Usage) {
        self.lock().push(usage);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Usage>> {
        // Each critical section is one call, so a poisoned list is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
