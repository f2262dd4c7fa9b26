//! How files stand in a prompt: one empty element each, within their message.

use super::escape_within;

/// A file that came with a message.
#[derive(Clone, Debug)]
pub struct File {
    /// What its sender calls it.
    pub name: String,
    /// Where it is, or why it was not taken.
    pub found: Result<Found, String>,
}

/// A file that is there.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its path, as the agent sees it.
    pub path: String,
    /// Media type.
    pub mime: String,
    /// Bytes.
    pub size: u64,
}

/// The elements, each on a line of its own, in at most `limit` bytes; the rest are
/// counted.
pub fn elements(files: &[File], limit: usize) -> String {
    let mut text = String::new();
    for (at, file) in files.iter().enumerate() {
        let element = element(file);
        if text.len() + element.len() > limit {
            text += &format!("\n  <files_left_out count=\"{}\" />", files.len() - at);
            break;
        }
        text += &element;
    }
    text
}

fn element(file: &File) -> String {
    let attribute = |text: &str| escape_within(&text.replace(['\n', '\t'], " "), 2048).0;
    let name = attribute(&file.name);
    match &file.found {
        Ok(Found { path, mime, size }) => format!(
            "\n  <file path=\"{}\" type=\"{}\" size=\"{size}\" name=\"{name}\" />",
            attribute(path),
            attribute(mime)
        ),
        Err(why) => format!("\n  <file name=\"{name}\" not_taken=\"{}\" />", attribute(why)),
    }
}
