use super::*;

const ANDY: Assistant = Assistant { name: "Andy", own_number: false };
const OWN_NUMBER: Assistant = Assistant { name: "Andy", own_number: true };
const FAMILY: Rules = Rules {
    jids: &[],
    is_main: false,
    requires_trigger: true,
    trigger: None,
    speakers: Speakers::Everybody,
    keeps_context: true,
};
const MAIN: Rules = Rules { is_main: true, ..FAMILY };

fn addresses(all: &[&str]) -> &'static [String] {
    Vec::leak(all.iter().map(|&address| address.to_owned()).collect())
}

fn from_ann(content: &str) -> Incoming<'_> {
    Incoming {
        senders: addresses(&["ann"]),
        from_me: false,
        local: false,
        is_owner: false,
        is_known: false,
        calls: false,
        content,
        is_empty: false,
    }
}

fn from_me(content: &str) -> Incoming<'_> {
    Incoming { senders: addresses(&["me"]), from_me: true, ..from_ann(content) }
}

fn everybody(rules: &Rules, content: &str) -> Route {
    route(rules, &from_ann(content), &SenderAllowlist::everybody(), &ANDY)
}

#[test]
fn fmt_35_and_36_main_needs_no_trigger_even_if_its_row_says_so() {
    assert_eq!(everybody(&MAIN, "hello"), Route::Queue);
    assert_eq!(everybody(&Rules { requires_trigger: true, ..MAIN }, "hello"), Route::Queue);
}

#[test]
fn fmt_37_to_39_other_groups_need_the_trigger() {
    assert_eq!(everybody(&FAMILY, "hello"), Route::Context(None));
    assert_eq!(everybody(&FAMILY, "@Andy hello"), Route::Queue);
}

#[test]
fn fmt_40_and_41_a_group_with_its_own_trigger_wakes_by_that_alone() {
    let own = Rules { trigger: Some("@Bot"), ..FAMILY };
    assert_eq!(everybody(&own, "@bot hello"), Route::Queue);
    assert_eq!(everybody(&own, "@Andy hello"), Route::Context(None));
}

#[test]
fn fmt_42_a_group_without_required_trigger_is_always_answered() {
    assert_eq!(everybody(&Rules { requires_trigger: false, ..FAMILY }, "hello"), Route::Queue);
}

#[test]
fn strangers_are_context_or_dropped_as_the_allowlist_says() {
    let trigger = SenderAllowlist::parse(r#"{"default":{"allow":["bob"],"mode":"trigger"}}"#);
    let drop = SenderAllowlist::parse(r#"{"default":{"allow":["bob"],"mode":"drop"}}"#);
    let open = Rules { requires_trigger: false, ..FAMILY };
    let ann = from_ann("@Andy hi");
    let bob = Incoming { senders: addresses(&["bob"]), ..ann };
    let context = Route::Context(Some(Reason::MayNotTrigger));
    assert_eq!(route(&FAMILY, &ann, &trigger, &ANDY), context);
    assert_eq!(route(&open, &ann, &trigger, &ANDY), Route::Queue);
    for rules in [FAMILY, open, MAIN] {
        assert_eq!(route(&rules, &ann, &drop, &ANDY), Route::Drop(Reason::NotAllowed));
        assert_eq!(route(&rules, &bob, &drop, &ANDY), Route::Queue);
        assert_eq!(route(&rules, &from_me("@Andy hi"), &drop, &ANDY), Route::Queue);
        assert!(denied(&rules, &ann, &drop, &ANDY) && !denied(&rules, &bob, &drop, &ANDY));
    }
    assert!(denied(&FAMILY, &ann, &trigger, &ANDY));
    assert!(!denied(&FAMILY, &from_ann("hi"), &trigger, &ANDY), "it calls nobody");
    assert!(!denied(&open, &ann, &trigger, &ANDY) && !denied(&FAMILY, &bob, &trigger, &ANDY));
    assert_eq!(route(&FAMILY, &from_me("@Andy hi"), &trigger, &ANDY), Route::Queue);
    assert_eq!(route(&FAMILY, &from_me("hi"), &trigger, &ANDY), Route::Context(None));
}

#[test]
fn whoever_may_not_speak_is_context_with_the_reason() {
    let all = SenderAllowlist::everybody();
    let ann = from_ann("@Andy hi");
    let known = Incoming { is_known: true, ..ann };
    let owner = Incoming { is_owner: true, ..ann };
    let of = |speakers| Rules { speakers, ..FAMILY };
    let to = |rules: &Rules, m: &Incoming| route(rules, m, &all, &ANDY);
    assert_eq!(to(&of(Speakers::Everybody), &ann), Route::Queue);
    assert_eq!(to(&of(Speakers::Known), &ann), Route::Context(Some(Reason::NotKnown)));
    assert_eq!(to(&of(Speakers::Known), &known), Route::Queue);
    assert_eq!(to(&of(Speakers::Owner), &known), Route::Context(Some(Reason::NotTheOwner)));
    for speakers in [Speakers::Everybody, Speakers::Known, Speakers::Owner] {
        for rules in [of(speakers), Rules { requires_trigger: false, ..of(speakers) }] {
            assert_eq!(to(&rules, &owner), Route::Queue);
            assert_eq!(to(&rules, &from_me("@Andy hi")), Route::Queue);
        }
        assert_eq!(to(&of(speakers), &from_ann("hi")), Route::Context(None));
        assert_eq!(to(&Rules { speakers, ..MAIN }, &ann), Route::Queue);
    }
    let open = Rules { requires_trigger: false, ..of(Speakers::Known) };
    assert_eq!(to(&open, &ann), Route::Context(Some(Reason::NotKnown)));
}

#[test]
fn a_group_that_keeps_no_context_keeps_what_wakes_it_and_what_the_owner_says() {
    let all = SenderAllowlist::everybody();
    let rules = Rules { keeps_context: false, speakers: Speakers::Known, ..FAMILY };
    let to = |m: &Incoming| route(&rules, m, &all, &ANDY);
    assert_eq!(to(&from_ann("hi")), Route::Drop(Reason::NotKept));
    assert_eq!(to(&from_ann("@Andy hi")), Route::Drop(Reason::NotKept));
    assert_eq!(to(&Incoming { is_known: true, ..from_ann("@Andy hi") }), Route::Queue);
    assert_eq!(to(&from_me("hi")), Route::Context(None));
}

#[test]
fn any_of_a_sender_s_addresses_is_the_sender() {
    let text = r#"{"default":{"allow":["49170@s.whatsapp.net"],"mode":"drop"},
        "chats":{"1@lid":{"allow":["+4917"],"mode":"trigger"}}}"#;
    let list = SenderAllowlist::parse(text);
    let by = |senders: &[&str]| Incoming { senders: addresses(senders), ..from_ann("@Andy hi") };
    assert_eq!(route(&FAMILY, &by(&["9@lid", "49170@s.whatsapp.net"]), &list, &ANDY), Route::Queue);
    assert_eq!(route(&FAMILY, &by(&["9@lid"]), &list, &ANDY), Route::Drop(Reason::NotAllowed));
    let direct = Rules { jids: addresses(&["4917@s.whatsapp.net", "1@lid"]), ..FAMILY };
    let denied = Route::Context(Some(Reason::MayNotTrigger));
    assert_eq!(route(&direct, &by(&["2@lid"]), &list, &ANDY), denied);
    assert_eq!(route(&direct, &by(&["1@lid", "4917", "+4917"]), &list, &ANDY), Route::Queue);
    assert!(list.names(addresses(&["x", "+4917"])) && !list.names(addresses(&["x"])));
}

#[test]
fn a_mention_calls_wherever_it_stands() {
    let mention = Incoming { calls: true, ..from_ann("what do you say, @Andy?") };
    let all = SenderAllowlist::everybody();
    assert_eq!(route(&FAMILY, &mention, &all, &OWN_NUMBER), Route::Queue);
    assert_eq!(everybody(&FAMILY, "what do you say, @Andy?"), Route::Context(None));
}

/// Quirk 35: 1.x lets everybody in when the file is broken.
#[test]
fn with_a_broken_allowlist_only_the_owner_wakes_a_group() {
    let broken = SenderAllowlist::parse("{");
    let open = Rules { requires_trigger: false, ..FAMILY };
    for rules in [FAMILY, open] {
        let denied = Route::Context(Some(Reason::MayNotTrigger));
        assert_eq!(route(&rules, &from_ann("@Andy hi"), &broken, &ANDY), denied);
        assert_eq!(route(&rules, &from_me("@Andy hi"), &broken, &ANDY), Route::Queue);
    }
    assert_eq!(route(&MAIN, &from_ann("hi"), &broken, &OWN_NUMBER), Route::Queue);
    let elsewhere =
        SenderAllowlist::parse(r#"{"default":{"allow":"*","mode":"trigger"},"chats":{"x":0}}"#);
    assert_eq!(route(&open, &from_ann("hi"), &elsewhere, &ANDY), Route::Queue);
}

/// Quirk 1: 1.x takes any "andy:" and wildcards in the name for its own.
#[test]
fn only_the_exact_prefix_from_the_shared_number_is_an_echo() {
    let own = |message: &Incoming, who: &Assistant| {
        route(&MAIN, message, &SenderAllowlist::everybody(), who)
            == Route::Ignore(Reason::OwnMessage)
    };
    assert!(own(&from_me("Andy: done"), &ANDY));
    for text in ["andy: call him", "Andy, hi", "Andyx: hi", " Andy: hi", "tell Andy: hi"] {
        assert!(!own(&from_me(text), &ANDY), "{text}");
    }
    assert!(!own(&from_ann("Andy: hi"), &ANDY));
    assert!(!own(&from_me("Anna: hi"), &Assistant { name: "A%_", ..ANDY }));
    assert!(!own(&Incoming { local: true, ..from_me("Andy: hi") }, &ANDY));
}

#[test]
fn with_its_own_number_the_account_is_the_assistant() {
    let all = SenderAllowlist::everybody();
    assert_eq!(route(&MAIN, &from_me("hi"), &all, &OWN_NUMBER), Route::Ignore(Reason::OwnMessage));
    assert_eq!(route(&MAIN, &from_ann("Andy: hi"), &all, &OWN_NUMBER), Route::Queue);
    let typed = Incoming { local: true, ..from_me("hi") };
    assert_eq!(route(&MAIN, &typed, &all, &OWN_NUMBER), Route::Queue);
}

#[test]
fn nothing_in_it_is_nothing_to_do() {
    let empty = Incoming { is_empty: true, ..from_ann("") };
    assert_eq!(
        route(&MAIN, &empty, &SenderAllowlist::everybody(), &ANDY),
        Route::Ignore(Reason::Empty)
    );
}

#[test]
fn trust_is_for_the_terminal_and_the_shared_account() {
    assert!(trusted(&from_me("hi"), &ANDY));
    assert!(!trusted(&from_me("Andy: hi"), &ANDY));
    assert!(!trusted(&from_me("hi"), &OWN_NUMBER));
    assert!(!trusted(&from_ann("hi"), &ANDY));
    assert!(trusted(&Incoming { local: true, ..from_ann("hi") }, &OWN_NUMBER));
}
