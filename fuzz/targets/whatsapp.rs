//! What WhatsApp hands over, decrypted: of however odd a message something is stored,
//! or there is a reason.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nanoclaw::channel::whatsapp::inbound::{self, Own};
use whatsapp_rust::buffa::Message as _;
use whatsapp_rust::prelude::{Jid, MessageInfo, wa};

fuzz_target!(|bytes: &[u8]| {
    let Ok(message) = wa::Message::decode_from_slice(bytes) else { return };
    let me: Jid = "49199@s.whatsapp.net".parse().unwrap();
    let mut info = MessageInfo { id: "3EB0AA".into(), ..Default::default() };
    info.source.chat = "1-2@g.us".parse().unwrap();
    info.source.sender = "111:3@lid".parse().unwrap();
    match inbound::read(&message, &info, Own { pn: Some(&me), lid: None, assistant: Some("Andy") })
    {
        Ok(received) => {
            assert_eq!(received.incoming.jid, "1-2@g.us");
            assert!(!received.incoming.trusted);
        }
        Err(why) => assert!(!why.is_empty()),
    }
});
