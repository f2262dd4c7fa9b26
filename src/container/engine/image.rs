//! The image that guests of an engine are made from: whether it is there, and how
//! it is built.

use super::ASK;
use super::client::Client;
use super::dialect::Dialect;
use crate::container::RuntimeError;
use crate::container::start::unusable;
use crate::ids::{FNV, fnv};

/// The id of an image that is there; an error says how to get it.
pub(super) async fn id(
    client: &Client,
    dialect: Dialect,
    image: &str,
) -> Result<String, RuntimeError> {
    let mut words = vec!["image", "inspect"];
    if dialect != Dialect::Apple {
        words.extend(["--format", "{{.Id}}"]);
    }
    words.push(image);
    match client.call(&words, ASK).await {
        // Apple prints a description; its digest is in there, and all that matters is
        // whether it changes.
        Ok(text) => Ok(format!("{:x}", fnv(FNV, text.trim().as_bytes()))),
        Err(e @ RuntimeError::Missing { .. }) => Err(e),
        Err(e) => {
            let runtime = dialect.program();
            let remedy = format!("CONTAINER_RUNTIME={runtime} nanoclaw image build");
            Err(unusable(runtime, format!("it has no image {image} ({e}); {remedy}")))
        }
    }
}
