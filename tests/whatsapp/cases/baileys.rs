//! Baileys and the real client code through the server: two makes, one language.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use whatsapp_rust::UploadOptions;
use whatsapp_rust::media::{ImageOptions, image_message};
use whatsapp_rust::prelude::{MessageBuilderExt as _, MessageExt as _, wa};
use whatsapp_rust::wacore::download::MediaType;

use super::client::Device;
use super::peer::Peer;
use super::server::Server;

#[tokio::test]
async fn baileys_and_the_client_understand_each_other() {
    let server = Server::start().await;
    let anna = server.person("4915700000001", "Anna");
    let bert = server.person("4915700000002", "Bert");
    let family = server.group("Family", &anna, &[&bert], false);
    let Some(mut peer) = Peer::start(&server).await else { return };
    peer.link(&bert).await;
    let mut device = Device::linked(&server, &anna).await;

    // Texts and quotes.
    let id = peer.say(&anna.jid().to_string(), "hello from the other make", None).await;
    let info = device.text("hello from the other make").await;
    assert_eq!((&info.id, &info.source.chat), (&id, &bert.jid()));
    bert.wait_text("hello from the other make").await;
    let (question, info) = device.message("it", |_, info| info.id == id).await;
    let context = whatsapp_rust::wacore::proto_helpers::build_quote_context(
        id,
        info.source.sender.to_string(),
        &question,
    );
    let answer = wa::Message::text_with_context("hello yourself", context);
    device.client.send_message(&bert.jid(), answer).await.unwrap();
    let line = peer.text("hello yourself").await;
    assert_eq!(line["quoted"], "hello from the other make");
    let quote = line["id"].as_str().unwrap().to_owned();
    peer.say(&anna.jid().to_string(), "quoted back", Some(&quote)).await;
    let quotes = |message: &wa::Message, _: &_| message.text_content() == Some("quoted back");
    let (message, _) = device.message("the quote", quotes).await;
    let context = message.extended_text_message.as_option().unwrap();
    let context = context.context_info.as_option().unwrap();
    assert_eq!(context.stanza_id.as_deref(), Some(quote.as_str()));

    // A picture each way.
    let picture = vec![9; 50_000];
    let options = UploadOptions::default();
    let upload = device.client.upload(picture.clone(), MediaType::Image, options).await.unwrap();
    let options = ImageOptions { caption: Some("look".to_owned()), ..Default::default() };
    device.client.send_message(&bert.jid(), image_message(upload, options)).await.unwrap();
    let line = peer.text("look").await;
    assert_eq!(STANDARD.decode(line["base64"].as_str().unwrap()).unwrap(), picture);
    let to = anna.jid().to_string();
    let image = json!({ "do": "image", "to": to, "base64": STANDARD.encode(&picture),
        "caption": "and this" });
    peer.tell(image).await;
    let pictured = |message: &wa::Message, _: &_| message.get_caption() == Some("and this");
    let (message, _) = device.message("the picture", pictured).await;
    let image = message.image_message.as_option().unwrap();
    assert_eq!(device.client.download(image).await.unwrap(), picture);

    // A group.
    let group = family.jid().to_string();
    peer.say(&group, "to all", None).await;
    assert_eq!(device.text("to all").await.source.chat, family.jid());
    anna.wait_text("to all").await;
    device.say(&family.jid(), "from all").await;
    assert_eq!(peer.text("from all").await["chat"], group);
    anna.send(&family.jid(), "and me").await;
    peer.text("and me").await;
    peer.end().await;
}
