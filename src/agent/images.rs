//! The images of a turn, as blocks for the model.
//!
//! The host says which; what lies there now is looked at here, since the agent may
//! have changed it. What cannot be shown is said in the text instead.

use std::path::Path;

use serde_json::{Value, json};

use super::place::Place;
use crate::files;
use crate::ipc::record::Image;
use crate::tree::{Tree, TreeError};

/// Adds to `text` what cannot be shown, and returns the blocks of the rest.
pub fn blocks(place: &Place, images: &[Image], text: &mut String) -> Vec<Value> {
    let mut room = files::MAX_IMAGES;
    let mut blocks = Vec::new();
    for image in images {
        match read(place, &image.path, room) {
            Ok((mime, bytes)) => {
                room -= bytes.len() as u64;
                blocks.push(json!({"type": "image", "source":
                    {"type": "base64", "media_type": mime, "data": files::base64(&bytes)}}));
            }
            Err(why) => *text += &format!("\n[The image {} is not shown: {why}]", image.path),
        }
    }
    blocks
}

fn read(place: &Place, path: &str, room: u64) -> Result<(&'static str, Vec<u8>), String> {
    let inside = Path::new(path)
        .strip_prefix(files::GROUP)
        .and_then(|path| path.strip_prefix(files::ATTACHMENTS))
        .map_err(|_| "it is no attachment".to_owned())?;
    let limit = usize::try_from(room.min(files::MAX_IMAGE)).unwrap_or(usize::MAX);
    let open = || Tree::open(&place.group())?.open_dir(files::ATTACHMENTS)?.read(inside, limit);
    let bytes = open().map_err(|e: TreeError| e.to_string())?;
    let mime = files::image_type(&bytes).ok_or("it is not an image any more")?;
    Ok((mime, bytes))
}
