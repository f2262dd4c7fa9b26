//! A friend whose client is Baileys, which shares no code with ours.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::peer::Peer;
use crate::rig::Rig;

#[tokio::test(flavor = "current_thread")]
async fn another_make_of_client_and_the_assistant_understand_each_other() {
    let rig = Rig::linked().await;
    let ben = rig.server.person("491703333333", "Ben");
    let Some(mut peer) = Peer::start(&rig.server).await else { return };
    peer.link(&ben).await;
    rig.serve("ben", &ben.jid().to_string()).await;
    let assistant = rig.owner.jid().to_string();
    peer.say(&assistant, "hello from the other make", None).await;
    let answer = peer.text("Andy: echo: hello from the other make").await;
    // A quote of what the assistant said reaches the agent with its text.
    peer.say(&assistant, "what did you mean?", answer["id"].as_str()).await;
    let asks = "what did you mean?";
    let like = |line: &serde_json::Value| {
        line["from_me"] == false && line["text"].as_str().is_some_and(|text| text.contains(asks))
    };
    peer.find("the answer to the quote", like).await;
    let quoted =
        "SELECT reply_to_message_content FROM messages WHERE content = 'what did you mean?'";
    rig.wait_ledger(quoted, "Andy: echo: hello from the other make").await;
    // Files both ways.
    let bytes = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89";
    let picture = STANDARD.encode(bytes);
    peer.tell(json!({"do": "image", "to": assistant, "base64": picture, "caption": "look"})).await;
    rig.wait_ledger(
        "SELECT attachments ->> '$[0].mime' FROM messages WHERE content = 'look'",
        "image/png",
    )
    .await;
    std::fs::write(rig.home.path().join("groups/ben/a.png"), bytes).unwrap();
    peer.say(&assistant, r#"tool:send_file {"path":"a.png","caption":"here it is"}"#, None).await;
    let line = peer.text("Andy: here it is").await;
    assert_eq!(STANDARD.decode(line["base64"].as_str().unwrap()).unwrap(), bytes);
    peer.end().await;
}
