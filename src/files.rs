//! What a file that travels is called, what kind it is, and how large it may be.
//!
//! Pure: names and kinds that people and agents chose come in,
//! and what the host makes of them goes out. Who copies what is
//! [`channel`](crate::channel)'s and [`requests`](crate::requests)'s to do.

/// The largest file that is taken or sent, in bytes.
pub const MAX_FILE: u64 = 64 << 20;
/// The most files that one message brings.
pub const MAX_FILES: usize = 10;
/// The largest image that the model is shown as an image, in bytes: the API takes
/// 5 MB in base64.
pub const MAX_IMAGE: u64 = 3 << 20;
/// The most bytes of images that one turn shows: the API takes 32 MB a request,
/// and the conversation needs some of them.
pub const MAX_IMAGES: u64 = 12 << 20;
/// The directory for what people send, in a group's folder.
pub const ATTACHMENTS: &str = "attachments";
/// A group's folder, as its agent sees it.
pub const GROUP: &str = "/workspace/group";
/// The first bytes of a file, enough for [`image_type`].
pub const HEAD: u64 = 16;

const UNKNOWN: &str = "application/octet-stream";

/// Extension and media type; for a type with several extensions the usual first.
const TYPES: &[(&str, &str)] = &[
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("png", "image/png"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("heic", "image/heic"),
    ("svg", "image/svg+xml"),
    ("pdf", "application/pdf"),
    ("txt", "text/plain"),
    ("md", "text/markdown"),
    ("csv", "text/csv"),
    ("html", "text/html"),
    ("json", "application/json"),
    ("xml", "application/xml"),
    ("ics", "text/calendar"),
    ("vcf", "text/vcard"),
    ("zip", "application/zip"),
    ("gz", "application/gzip"),
    ("doc", "application/msword"),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ("pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
    ("odt", "application/vnd.oasis.opendocument.text"),
    ("ods", "application/vnd.oasis.opendocument.spreadsheet"),
    ("epub", "application/epub+zip"),
    ("ogg", "audio/ogg"),
    ("opus", "audio/ogg"),
    ("mp3", "audio/mpeg"),
    ("m4a", "audio/mp4"),
    ("wav", "audio/wav"),
    ("mp4", "video/mp4"),
    ("mov", "video/quicktime"),
    ("webm", "video/webm"),
];

/// The media type of a file called `name`.
pub fn type_of(name: &str) -> &'static str {
    let extension = extension(name).unwrap_or_default();
    TYPES.iter().find(|(e, _)| *e == extension).map_or(UNKNOWN, |(_, mime)| mime)
}

/// Which of the images that the model can see begins with these bytes. What the
/// sender says does not count: the API refuses an image of another type than said.
pub fn image_type(head: &[u8]) -> Option<&'static str> {
    match head {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}

/// Whether the model can see files of this type.
pub fn is_visible(mime: &str) -> bool {
    matches!(mime, "image/png" | "image/jpeg" | "image/gif" | "image/webp")
}

/// What a file is, from its first bytes, what its sender says, and its name.
pub fn kind(head: &[u8], said: &str, name: &str) -> String {
    let part = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&b))
    };
    // Parameters such as `; codecs=opus` are of no use here.
    let said = said.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let plausible =
        said.len() <= 100 && said.split_once('/').is_some_and(|(a, b)| part(a) && part(b));
    match image_type(head) {
        Some(image) => image.into(),
        None if plausible && !is_visible(&said) => said,
        None => Some(type_of(name)).filter(|mime| !is_visible(mime)).unwrap_or(UNKNOWN).into(),
    }
}

/// The usual extension of files of this type.
pub fn extension_of(mime: &str) -> Option<&'static str> {
    TYPES.iter().find(|(_, m)| *m == mime).map(|(e, _)| *e)
}

/// The host's name for a file that somebody sent: `20260101-0a1b2c3d4e5f.jpg`.
/// Nothing of it is the sender's but the extension, and that only if it is plain.
/// `day` is ISO 8601.
pub fn host_name(day: &str, random: &str, name: &str, mime: &str) -> String {
    let digits: String = day.chars().take(10).filter(char::is_ascii_digit).collect();
    let random: String = random.chars().take(12).collect();
    let known = || extension_of(mime).map(str::to_owned);
    // A program that looks at the extension alone must see an image as one.
    let extension = match extension(name) {
        Some(own) if !is_visible(mime) || type_of(name) == mime => Some(own),
        _ => known(),
    };
    format!("{digits}-{random}.{}", extension.unwrap_or_else(|| "bin".into()))
}

/// Whether a name is one that [`host_name`] makes.
pub fn is_host_name(name: &str) -> bool {
    let digits = |text: &str| text.len() <= 8 && text.bytes().all(|b| b.is_ascii_digit());
    let random = |text: &str| {
        text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let plain = |text: &str| {
        (1..=8).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase())
    };
    name.split_once('-').is_some_and(|(day, rest)| {
        digits(day) && rest.split_once('.').is_some_and(|(r, e)| random(r) && plain(e))
    })
}

/// A name for people: one line, no path, at most 200 bytes.
pub fn shown_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let clean: String = last.chars().filter(|c| !c.is_control()).collect();
    let clean = clean.trim();
    clean[..clean.floor_char_boundary(200)].to_owned()
}

/// A name that is safe as the end of a file name everywhere.
pub fn plain_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || ".-_".contains(c) { c } else { '_' };
    let name: String = shown_name(name).chars().map(plain).collect();
    // The end has the extension.
    let name = &name[name.len().saturating_sub(100)..];
    let name = name.trim_start_matches('.');
    if name.is_empty() { "file".into() } else { name.to_owned() }
}

/// The extension in lower case, if it is short and plain.
fn extension(name: &str) -> Option<String> {
    let (stem, extension) = name.rsplit_once('.')?;
    let plain =
        (1..=8).contains(&extension.len()) && extension.bytes().all(|b| b.is_ascii_alphanumeric());
    (plain && !stem.is_empty()).then(|| extension.to_ascii_lowercase())
}

/// RFC 4648, with padding.
pub fn base64(bytes: &[u8]) -> String {
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
    fn nothing_of_a_sender_s_name_but_a_plain_extension_is_in_the_host_s() {
        let named =
            |name, mime| host_name("2026-01-02T03:04:05.000Z", "0123456789abcdef", name, mime);
        assert_eq!(named("IMG 1.JPG", "image/jpeg"), "20260102-0123456789ab.jpg");
        assert_eq!(named("a.jpeg", "image/jpeg"), "20260102-0123456789ab.jpeg");
        assert_eq!(named("report.pdf", "application/x-thing"), "20260102-0123456789ab.pdf");
        assert_eq!(named("no extension", "text/plain"), "20260102-0123456789ab.txt");
        for name in
            ["../../x", "a.\nsh", "a./b", "a.p\0y", "", ".", "..", ".bashrc", "a.toolongone"]
        {
            assert_eq!(named(name, "x/y"), "20260102-0123456789ab.bin", "{name:?}");
        }
        assert_eq!(named("really.exe", "image/png"), "20260102-0123456789ab.png");
    }

    #[test]
    fn a_name_of_the_host_s_is_known_and_none_of_an_agent_s() {
        for (day, name) in [("2026-01-02T03:04:05Z", "a.JPG"), ("", "x"), ("2026", "a.tar.gz")] {
            let own = host_name(day, "0123456789abcdef", name, "x/y");
            assert!(is_host_name(&own), "{own}");
        }
        for other in [
            "notes.txt",
            "20260102-report.pdf",
            "20260102-0123456789ab.jpg.mine",
            ".own",
            "20260102-0123456789ab",
            "20260102-0123456789AB.jpg",
            "x-0123456789ab.jpg",
            "-",
            "",
        ] {
            assert!(!is_host_name(other), "{other}");
        }
    }

    #[test]
    fn the_bytes_say_what_an_image_is() {
        let png = b"\x89PNG\r\n\x1a\n0000";
        assert_eq!(kind(png, "image/jpeg", "a.jpg"), "image/png");
        assert_eq!(kind(b"RIFF0000WEBPVP8 ", "", ""), "image/webp");
        assert_eq!(kind(b"no image", "image/jpeg", "a.jpg"), UNKNOWN);
        assert_eq!(kind(b"%PDF", "", "a.PDF"), "application/pdf");
        assert_eq!(kind(b"", "audio/OGG; codecs=opus", "x"), "audio/ogg");
        assert_eq!(kind(b"", "a b\n/c", "x.csv"), "text/csv");
    }

    #[test]
    fn names_for_people_and_for_other_systems() {
        assert_eq!(shown_name("../etc/pass\nwd\0 "), "passwd");
        assert_eq!(shown_name(&"é".repeat(300)).len(), 200);
        assert_eq!(plain_name("Größe 1.pdf"), "Gr__e_1.pdf");
        for bad in ["", ".", "..", "/", "a/"] {
            assert_eq!(plain_name(bad), "file", "{bad:?}");
        }
        assert_eq!(plain_name(&format!("{}.pdf", "x".repeat(300))).len(), 100);
    }

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
