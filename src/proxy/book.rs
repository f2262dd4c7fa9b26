//! What one container used of the model since it was last asked, and whether the
//! model can be had.
//!
//! In memory only: the daemon carries it into the ledger.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::crash;

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
    /// Searches of the web by the provider.
    pub web_searches: u64,
}

/// Why the model gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// It answered with an error status, such as 401.
    #[error("the model API answered {0}")]
    Status(u16),
    /// It could not be asked.
    #[error("cannot reach {host}: {reason}")]
    Unreachable {
        /// Host and port of the API.
        host: String,
        /// The innermost cause.
        reason: String,
    },
    /// Its answer broke off, or reported an error on its way.
    #[error("the model's answer broke off: {0}")]
    BrokeOff(String),
}

impl ModelError {
    /// Whether it is likely to pass by itself.
    pub fn passes(&self) -> bool {
        !matches!(self, ModelError::Status(status) if !matches!(status, 408 | 409 | 429 | 500..))
    }

    /// One sentence for people.
    pub fn in_words(&self) -> String {
        match self {
            ModelError::Status(status @ (408 | 409 | 429 | 529)) => {
                format!("The model API is overloaded ({status})")
            }
            ModelError::Status(status) => format!("The model API failed ({status})"),
            ModelError::Unreachable { host, .. } => {
                format!("The model API at {host} cannot be reached")
            }
            ModelError::BrokeOff(_) => "The model's answer broke off".into(),
        }
    }
}

/// What one container used and met since it was last asked.
#[derive(Debug, Default)]
pub(super) struct Book {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    usage: Vec<Usage>,
    /// As the API last named it.
    model: String,
    error: Option<ModelError>,
}

impl Book {
    pub(super) fn take(&self) -> Vec<Usage> {
        std::mem::take(&mut self.lock().usage)
    }

    pub(super) fn error(&self) -> Option<ModelError> {
        self.lock().error.clone()
    }

    pub(super) fn model(&self) -> String {
        self.lock().model.clone()
    }

    /// Enters what an answer took, unless it is nothing.
    pub(super) fn add(&self, usage: Usage) {
        let mut state = self.lock();
        if usage == (Usage { model: usage.model.clone(), ..Usage::default() }) {
            return;
        }
        state.model.clone_from(&usage.model);
        state.usage.push(usage);
        drop(state);
        crash::point("proxy after metering", &"model");
    }

    pub(super) fn failed(&self, error: ModelError) {
        self.lock().error = Some(error);
    }

    pub(super) fn succeeded(&self) {
        self.lock().error = None;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No critical section can panic half way, so a poisoned state is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
