//! Files both ways: fetched into the directory that channels exchange files in, and
//! sent from there. At most [`MOST`] each way.
//!
//! A file that cannot be had costs nothing but itself: the prompt says which and
//! why. One that WhatsApp has forgotten is asked for again, once.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use tokio::sync::Semaphore;
use whatsapp_rust::MediaReuploadRequest;
use whatsapp_rust::media::{self, AudioOptions, DocumentOptions, ImageOptions, VideoOptions};
use whatsapp_rust::prelude::{Client, MessageInfo, wa};
use whatsapp_rust::upload::UploadOptions;
use whatsapp_rust::wacore::download::{Downloadable, MediaType};
use whatsapp_rust::wacore::media_retry::MediaRetryResult;

use super::http;
use super::inbound::{Media, MediaKind};
use super::send::WhatsApp;
use super::voice;
use crate::channel::Offer;
use crate::crash;
use crate::db::Attachment;
use crate::ids::random_hex;

/// The largest file, in bytes.
pub const MOST: u64 = 25 << 20;

/// Files that are fetched at the same time: each takes a thread that may block, and
/// there are few of those.
static FETCHING: Semaphore = Semaphore::const_new(2);

/// A file that was fetched.
pub struct Brought {
    /// For the inlet.
    pub offer: Result<Offer, String>,
    /// What is said in a voice note, or why nobody knows.
    pub heard: Option<Result<String, String>>,
    /// Where it lies until the inlet has copied it.
    pub laid: Laid,
}

/// A fetched file, which is removed after use.
pub struct Laid(Option<PathBuf>);

impl Laid {
    /// Removes it.
    pub async fn remove(self) {
        if let Some(path) = self.0 {
            // What stays is removed by the next start.
            let _ = tokio::fs::remove_file(path).await;
        }
    }
}

/// Fetches what came with a message, and listens to it if it is a voice note.
pub async fn bring(
    whatsapp: &WhatsApp,
    client: &Arc<Client>,
    info: &MessageInfo,
    media: &Media<'_>,
) -> Brought {
    let config = whatsapp.config();
    let voice = media.kind == MediaKind::Voice;
    let fetched = fetch(whatsapp, client, info, media).await;
    let path = match fetched {
        Ok(path) => path,
        Err(error) => {
            tracing::warn!(id = %info.id, %error, "a file could not be fetched");
            let why = format!("{}: {error:#}", media.name);
            let heard = voice.then(|| Err("it could not be fetched".into()));
            return Brought { offer: Err(why), heard, laid: Laid(None) };
        }
    };
    let heard = match (voice, &config.transcribe) {
        (false, _) => None,
        (true, None) => Some(Err("NANOCLAW_TRANSCRIBE is not set".into())),
        (true, Some(command)) => Some(voice::transcribe(config, command, &path).await),
    };
    let shown = path.display().to_string();
    let offer = Offer::new(shown, media.mime.clone(), media.name.clone());
    Brought { offer: Ok(offer), heard, laid: Laid(Some(path)) }
}

/// The text of a message with what is said in its voice note.
pub fn with_heard(heard: &Option<Result<String, String>>, text: &str) -> String {
    let said = match heard {
        None => return text.to_owned(),
        Some(Ok(said)) => format!("[voice note, transcribed] {said}"),
        Some(Err(why)) => {
            format!("[a voice note came, which you cannot hear: {why}. Say so and ask for text.]")
        }
    };
    if text.trim().is_empty() { said } else { format!("{said}\n{text}") }
}

async fn fetch(
    whatsapp: &WhatsApp,
    client: &Arc<Client>,
    info: &MessageInfo,
    media: &Media<'_>,
) -> anyhow::Result<PathBuf> {
    let too_large = || anyhow::anyhow!("it is larger than the {} MiB that are taken", MOST >> 20);
    anyhow::ensure!(media.file.file_length().unwrap_or(0) <= MOST, too_large());
    let _turn = FETCHING.acquire().await?;
    // With what goes out, where each start removes what no row names.
    let name = format!("out/whatsapp-{}", random_hex()?);
    let path = whatsapp.config().files().join(name);
    let open =
        || std::fs::File::options().read(true).write(true).create(true).truncate(true).open(&path);
    let first = client.download_to_writer(media.file, open()?).await;
    crash::point("whatsapp after fetching", &"file");
    let fetched = match first {
        Ok(file) => Ok(file),
        Err(error) if format!("{error:#}").contains(http::TOO_LONG) => Err(too_large()),
        Err(error) => match asked_again(client, info, media.file).await {
            Some(direct_path) => {
                let moved = Moved { file: media.file, direct_path };
                client.download_to_writer(&moved, open()?).await
            }
            None => Err(error),
        }
        .context("WhatsApp does not give it out (any more)"),
    };
    match fetched {
        Ok(file) if file.metadata()?.len() <= MOST => Ok(path),
        Ok(_) => {
            std::fs::remove_file(&path)?;
            Err(too_large())
        }
        Err(error) => {
            std::fs::remove_file(&path)?;
            Err(error)
        }
    }
}

/// Asks the sender's phone to upload it once more; where it lies then.
async fn asked_again(
    client: &Client,
    info: &MessageInfo,
    file: &dyn Downloadable,
) -> Option<String> {
    let source = &info.source;
    let request = MediaReuploadRequest {
        msg_id: &info.id,
        chat_jid: &source.chat,
        media_key: file.media_key()?,
        is_from_me: source.is_from_me,
        participant: source.is_group.then_some(&source.sender),
    };
    match client.media_reupload().request(&request).await {
        Ok(MediaRetryResult::Success { direct_path }) => Some(direct_path),
        Ok(_) => None,
        Err(error) => {
            tracing::debug!(%error, "no file was uploaded again");
            None
        }
    }
}

/// A file that lies elsewhere now.
struct Moved<'a> {
    file: &'a dyn Downloadable,
    direct_path: String,
}

impl Downloadable for Moved<'_> {
    fn direct_path(&self) -> Option<&str> {
        Some(&self.direct_path)
    }
    fn media_key(&self) -> Option<&[u8]> {
        self.file.media_key()
    }
    fn file_enc_sha256(&self) -> Option<&[u8]> {
        self.file.file_enc_sha256()
    }
    fn file_sha256(&self) -> Option<&[u8]> {
        self.file.file_sha256()
    }
    fn file_length(&self) -> Option<u64> {
        self.file.file_length()
    }
    fn app_info(&self) -> MediaType {
        self.file.app_info()
    }
}

/// Uploads a file of the outbox; the message that shows it, as the kind that its
/// type says.
pub async fn upload(
    whatsapp: &WhatsApp,
    client: &Client,
    file: &Attachment,
    caption: Option<String>,
) -> anyhow::Result<wa::Message> {
    let path = whatsapp.config().files().join(&file.path);
    let bytes = tokio::fs::read(&path).await.context("the file is gone")?;
    let mimetype = Some(file.mime.clone()).filter(|mime| !mime.is_empty());
    let kind = kind(&file.mime);
    crash::point("whatsapp before uploading", &"file");
    let lies = client.upload(bytes, kind, UploadOptions::new()).await?;
    crash::point("whatsapp after uploading", &"file");
    Ok(match kind {
        MediaType::Image => {
            media::image_message(lies, ImageOptions { caption, mimetype, ..Default::default() })
        }
        MediaType::Video => {
            media::video_message(lies, VideoOptions { caption, mimetype, ..Default::default() })
        }
        MediaType::Audio => {
            media::audio_message(lies, AudioOptions { mimetype, ..Default::default() })
        }
        _ => {
            let name = file.name.clone();
            media::document_message(
                lies,
                DocumentOptions {
                    caption,
                    mimetype,
                    title: Some(name.clone()),
                    file_name: Some(name),
                    ..Default::default()
                },
            )
        }
    })
}

/// What phones show as what it is; everything else is a document.
pub fn kind(mime: &str) -> MediaType {
    match mime {
        "image/jpeg" | "image/png" => MediaType::Image,
        "video/mp4" | "video/3gpp" => MediaType::Video,
        "audio/ogg" | "audio/mpeg" | "audio/mp4" | "audio/aac" | "audio/amr" => MediaType::Audio,
        _ => MediaType::Document,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_heard_stands_before_what_was_written() {
        assert_eq!(with_heard(&None, "hi"), "hi");
        assert_eq!(
            with_heard(&Some(Ok("buy milk".into())), ""),
            "[voice note, transcribed] buy milk"
        );
        assert!(with_heard(&Some(Err("no program".into())), "hi").ends_with("\nhi"));
    }

    #[test]
    fn only_what_phones_show_is_more_than_a_document() {
        assert!(matches!(kind("image/png"), MediaType::Image));
        assert!(matches!(kind("image/svg+xml"), MediaType::Document));
        assert!(matches!(kind("video/quicktime"), MediaType::Document));
        assert!(matches!(kind("audio/ogg"), MediaType::Audio));
        assert!(matches!(kind(""), MediaType::Document));
    }
}
