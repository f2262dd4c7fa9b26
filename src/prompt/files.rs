//! How files stand in a prompt: one empty element each, within their message.

use super::escape_within;
use crate::db::Attachment;
use crate::files::GROUP;

/// The path of a file that came with a message, as the agent sees it.
pub fn in_guest(file: &Attachment) -> String {
    format!("{GROUP}/{}", file.path)
}

/// The elements, each on a line of its own, in at most `limit` bytes; the rest are
/// counted.
pub fn elements(files: &[Attachment], limit: usize) -> String {
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

fn element(file: &Attachment) -> String {
    let attribute = |text: &str| escape_within(&text.replace(['\n', '\t'], " "), 2048).0;
    let name = attribute(&file.name);
    match &file.error {
        None => format!(
            "\n  <file path=\"{}\" type=\"{}\" size=\"{}\" name=\"{name}\" />",
            attribute(&in_guest(file)),
            attribute(&file.mime),
            file.size
        ),
        Some(why) => format!("\n  <file name=\"{name}\" not_taken=\"{}\" />", attribute(why)),
    }
}
