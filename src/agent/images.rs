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
                    {"type": "base64", "media_type": mime, "data": base64(&bytes)}}));
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

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const SIGNS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for sign in 0..4 {
            let six = (bits >> (18 - 6 * sign)) & 63;
            text.push(if sign <= three.len() { char::from(SIGNS[six as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_in_the_rfc() {
        for (plain, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), text);
        }
        assert_eq!(base64(&[0xff, 0xfe, 0xfb]), "//77");
    }
}
