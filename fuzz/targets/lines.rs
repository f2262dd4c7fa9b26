//! Lines of the socket: a message that is taken is within its channel and its bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nanoclaw::channel::wire::FromClient;

fuzz_target!(|line: &[u8]| {
    let Ok(FromClient::Message(mut message)) = serde_json::from_slice(line) else { return };
    message.offers();
    if let Ok(message) = message.check("tg:", false) {
        assert!(message.jid.starts_with("tg:") && !message.trusted);
        for one_line in [&message.jid, &message.id, &message.sender, &message.sender_name] {
            assert!(one_line.len() <= 1024 && !one_line.contains(['\0', '\n', '\r']));
        }
    }
});
