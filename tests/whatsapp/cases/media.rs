//! Files, both ways, and files that expired.

use whatsapp_rust::MediaReuploadRequest;
use whatsapp_rust::UploadOptions;
use whatsapp_rust::media::{ImageOptions, image_message};
use whatsapp_rust::prelude::wa;
use whatsapp_rust::wacore::download::MediaType;
use whatsapp_rust::wacore::media_retry::MediaRetryResult;

use super::client::Device;
use super::server::{Draft, Server, What, When};

#[tokio::test]
async fn pictures_go_both_ways() {
    let server = Server::start().await;
    let anna = server.person("4915700000001", "Anna");
    let bert = server.person("4915700000002", "Bert");
    let mut device = Device::linked(&server, &anna).await;
    let picture = vec![7; 100_000];

    let id = bert.send(&anna.jid(), Draft::image(&picture, "look")).await;
    let (message, _) = device.message("the picture", |_, info| info.id == id).await;
    let image = message.image_message.as_option().unwrap();
    assert_eq!(image.caption.as_deref(), Some("look"));
    assert_eq!(device.client.download(image).await.unwrap(), picture);

    let options = UploadOptions::default();
    let upload = device.client.upload(picture.clone(), MediaType::Image, options).await.unwrap();
    let options = ImageOptions { caption: Some("pretty".to_owned()), ..Default::default() };
    device.client.send_message(&bert.jid(), image_message(upload, options)).await.unwrap();
    let shown = bert.wait_text("pretty").await;
    assert_eq!(bert.open(&shown.file.unwrap()).unwrap(), picture);

    bert.send(&anna.jid(), Draft::voice(&picture, 3)).await;
    let voice = |message: &wa::Message, _: &_| {
        message.audio_message.as_option().is_some_and(|audio| audio.ptt == Some(true))
    };
    let (_, info) = device.message("the voice note", voice).await;
    device.client.mark_as_played(&info.source.chat, None, &[&info.id]).await.unwrap();
    bert.wait_tick(&info.id, "played").await;
    bert.send(&anna.jid(), Draft::document(b"a,b", "list.csv", "text/csv").once()).await;
    device.message("the document", |message, info| !voice(message, info)).await;
}

#[tokio::test]
async fn an_expired_file_is_brought_again() {
    let server = Server::start().await;
    let anna = server.person("4915700000001", "Anna");
    let bert = server.person("4915700000002", "Bert");
    let mut device = Device::linked(&server, &anna).await;
    let id = bert.send(&anna.jid(), Draft::image(b"picture", "look")).await;
    let (message, info) = device.message("the picture", |_, info| info.id == id).await;
    let mut image = message.image_message.as_option().unwrap().clone();
    server.expire_file(&bert.file_of(&id).unwrap(), 410);
    assert!(device.client.download(&image).await.is_err());
    let request = MediaReuploadRequest {
        msg_id: &id,
        chat_jid: &info.source.chat,
        media_key: image.media_key.as_deref().unwrap(),
        is_from_me: false,
        participant: None,
    };
    let answer = device.client.media_reupload().request(&request).await.unwrap();
    let MediaRetryResult::Success { direct_path } = answer else { panic!("{answer:?}") };
    image.direct_path = Some(direct_path);
    assert_eq!(device.client.download(&image).await.unwrap(), b"picture");
    // Once unreachable, then there again.
    server.fault(When::Media, What::Fail(503));
    let _ = device.client.download(&image).await;
    assert_eq!(server.faults_waiting(), 0);
    assert_eq!(device.client.download(&image).await.unwrap(), b"picture");
}
