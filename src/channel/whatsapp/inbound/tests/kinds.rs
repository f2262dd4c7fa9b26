use super::*;

#[test]
fn what_is_not_text_is_told_in_text() {
    let place = kind::LocationMessage {
        degrees_latitude: Some(52.5),
        degrees_longitude: Some(13.4),
        name: Some("Café".into()),
        address: Some("Street 1".into()),
        ..Default::default()
    };
    shows(
        wa::Message { location_message: MessageField::some(place), ..Default::default() },
        "[location: 52.500000, 13.400000] Café, Street 1",
    );
    let live =
        kind::LiveLocationMessage { caption: Some("on my way".into()), ..Default::default() };
    shows(
        wa::Message { live_location_message: MessageField::some(live), ..Default::default() },
        "[live location] on my way",
    );
    let contact = kind::ContactMessage {
        display_name: Some("Bob".into()),
        vcard: Some(
            "BEGIN:VCARD\nN:Bob\nitem1.TEL;waid=49171:+49 171\nEMAIL:b@e.org\nPHOTO:xx\nEND:VCARD"
                .into(),
        ),
        ..Default::default()
    };
    let several = kind::ContactsArrayMessage {
        contacts: vec![
            contact.clone(),
            kind::ContactMessage { display_name: Some("Eve".into()), ..Default::default() },
        ],
        ..Default::default()
    };
    shows(
        wa::Message { contact_message: MessageField::some(contact), ..Default::default() },
        "[contact] Bob: +49 171, b@e.org",
    );
    shows(
        wa::Message { contacts_array_message: MessageField::some(several), ..Default::default() },
        "[contact] Bob: +49 171, b@e.org\n[contact] Eve",
    );
    let option = |name: &str| kind::poll_creation_message::Option {
        option_name: Some(name.into()),
        ..Default::default()
    };
    let poll = kind::PollCreationMessage {
        name: Some("Lunch?".into()),
        options: vec![option("Pizza"), option("Soup")],
        ..Default::default()
    };
    shows(
        wa::Message { poll_creation_message_v3: MessageField::some(poll), ..Default::default() },
        "[poll] Lunch?\n- Pizza\n- Soup",
    );
    let event = kind::EventMessage {
        name: Some("Party".into()),
        start_time: Some(TIME),
        description: Some("bring cake".into()),
        ..Default::default()
    };
    shows(
        wa::Message { event_message: MessageField::some(event), ..Default::default() },
        "[event] Party; begins 2026-01-01T00:00:00Z; bring cake",
    );
    let call = kind::CallLogMessage {
        is_video: Some(true),
        call_outcome: Some(kind::call_log_message::CallOutcome::MISSED),
        ..Default::default()
    };
    shows(
        wa::Message { call_log_messsage: MessageField::some(call), ..Default::default() },
        "[missed video call]",
    );
    let invite =
        kind::GroupInviteMessage { group_name: Some("Chess".into()), ..Default::default() };
    shows(
        wa::Message { group_invite_message: MessageField::some(invite), ..Default::default() },
        "[invitation to the group Chess]",
    );
}

#[test]
fn an_unknown_kind_says_that_it_cannot_be_read() {
    let order =
        wa::Message { order_message: MessageField::some(Default::default()), ..Default::default() };
    shows(order, "[message of a kind I cannot read: product or order]");
    let pack = wa::Message {
        sticker_pack_message: MessageField::some(Default::default()),
        ..Default::default()
    };
    shows(pack, "[message of a kind I cannot read: sticker pack]");
    // A field that this version of the protocol has not heard of.
    let mut bytes = vec![0xba_u8, 0x3f, 2, 8, 1];
    bytes.extend([0x92, 2, 2, 8, 1]);
    let new = <wa::Message as whatsapp_rust::buffa::Message>::decode_from_slice(&bytes).unwrap();
    let said = received(&new).incoming.content;
    assert_eq!(said, "[message of a kind I cannot read]");
    let payment = wa::Message {
        payment_invite_message: MessageField::some(Default::default()),
        ..Default::default()
    };
    shows(payment, "[message of a kind I cannot read: payment]");
    let other =
        wa::Message { bcall_message: MessageField::some(Default::default()), ..Default::default() };
    shows(other, "[message of a kind I cannot read]");
}
