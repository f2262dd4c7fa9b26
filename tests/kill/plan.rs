//! A random history, all of it a function of its seed: who writes what when, and
//! when the daemon ends in which way.

use serde_json::json;

/// Stands for a time a few seconds ahead.
pub const SOON: &str = "SOON";

/// How a round ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// SIGKILL to the daemon.
    Kill,
    /// SIGTERM, and all the time that it takes.
    Term,
    /// SIGTERM, and SIGKILL so many milliseconds later.
    TermThenKill(u64),
    /// The guests stand still (SIGSTOP), then SIGKILL to the daemon.
    FrozenKill,
    /// SIGKILL to a guest's processes; the daemon goes on.
    Guest,
    /// The guests stand still for so many milliseconds; the daemon goes on.
    Freeze(u64),
    /// The daemon stands still for so many milliseconds, and goes on.
    Pause(u64),
    /// WhatsApp cuts the connection; the daemon goes on.
    Cut,
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Is echoed in an answer.
    Ask,
    /// Is echoed in an answer, and brings a file.
    Bring,
    /// Makes the agent look something up.
    Look,
    /// Makes the agent send a text by its tool.
    Tool,
    /// Makes the agent send a file.
    Send,
    /// Makes the agent plan a task, which says it.
    Task,
    /// Is answered by nothing.
    Silent,
    /// Ends the CLI, in every attempt.
    Crash,
    /// Calls nobody; the agent sees it with the next message that does.
    Context,
}

/// A chat, and the group that it belongs to.
pub struct Chat {
    pub folder: &'static str,
    pub jid: &'static str,
    /// Whether only messages that call the assistant wake it.
    pub trigger: bool,
    /// Whether messages that end the CLI or its speech are mixed in.
    pub odd: bool,
}

/// How many of the chats are on the socket.
pub const ON_SOCKET: usize = 7;

/// Main has the terminal by itself. The last ones are on WhatsApp: the owner's chat
/// with themselves, Ann's with the owner, and a group of both.
pub const CHATS: [Chat; 10] = [
    Chat { folder: "main", jid: "terminal:main", trigger: false, odd: false },
    Chat { folder: "main", jid: "t:self", trigger: false, odd: false },
    Chat { folder: "family", jid: "t:family", trigger: false, odd: false },
    Chat { folder: "work", jid: "t:work", trigger: false, odd: false },
    Chat { folder: "club", jid: "t:club", trigger: true, odd: false },
    Chat { folder: "choir", jid: "t:choir", trigger: true, odd: false },
    Chat { folder: "odd", jid: "t:odd", trigger: false, odd: true },
    Chat { folder: "main", jid: "491701111111@s.whatsapp.net", trigger: false, odd: false },
    Chat { folder: "ann", jid: "491702222222@s.whatsapp.net", trigger: false, odd: false },
    Chat { folder: "friends", jid: "120363000000000001@g.us", trigger: true, odd: false },
];

/// One message of the history.
#[derive(Debug)]
pub struct Message {
    pub chat: usize,
    pub id: String,
    /// A word that no other message has.
    pub token: String,
    pub content: String,
    pub kind: Kind,
}

impl Message {
    /// The picture that it brings.
    pub fn file(&self) -> Option<Vec<u8>> {
        (self.kind == Kind::Bring).then(|| picture(&self.token))
    }

    /// The picture that the agent is to send.
    pub fn wanted(&self) -> Option<Vec<u8>> {
        (self.kind == Kind::Send).then(|| picture(CHATS[self.chat].folder))
    }
}

/// The smallest picture there is, with a word of its own.
pub fn picture(word: &str) -> Vec<u8> {
    let mut bytes =
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89".to_vec();
    bytes.extend(word.as_bytes());
    bytes
}

/// What happens between a start of the daemon and its end.
#[derive(Debug)]
pub struct Round {
    /// (milliseconds after the connection, index of the message); an index comes
    /// again where a network repeats what it sent.
    pub steps: Vec<(u64, usize)>,
    pub end: End,
    /// Milliseconds after the connection.
    pub at: u64,
}

/// A history.
pub struct Plan {
    pub seed: u64,
    /// How many of the chats take part.
    pub chats: usize,
    pub messages: Vec<Message>,
    pub rounds: Vec<Round>,
}

impl Plan {
    /// Of the first `chats`. `ends` are the ways in which rounds may end. In round
    /// `ponder` somebody asks what takes longer than the grace of a stop.
    pub fn new(
        seed: u64,
        rounds: usize,
        chats: usize,
        ends: &[End],
        ponder: Option<usize>,
    ) -> Plan {
        let mut plan = Plan { seed, chats, messages: Vec::new(), rounds: Vec::new() };
        let mut random = Random(seed);
        for round in 0..rounds {
            let mut steps: Vec<(u64, usize)> = Vec::new();
            if ponder == Some(round) {
                let (number, chat) = (plan.messages.len(), 3);
                let token = format!("k{number}long");
                let content = format!("{token} think:11500");
                steps.push((0, number));
                plan.messages.push(Message {
                    chat,
                    id: "long".into(),
                    token,
                    content,
                    kind: Kind::Ask,
                });
            }
            // Two or three chats are busy, so that messages follow one another.
            let busy: Vec<usize> = (0..3).map(|_| random.below(chats)).collect();
            let mut count = [0; CHATS.len()];
            for _ in 0..4 + random.below(5) {
                let at = random.below(1000) as u64;
                let chat = busy[random.below(busy.len())];
                let known: Vec<usize> =
                    (0..plan.messages.len()).filter(|&m| plan.messages[m].chat == chat).collect();
                if !known.is_empty() && random.below(8) == 0 {
                    // Rather a recent one: those are not answered yet.
                    let back = 1 + random.below(known.len().min(4));
                    steps.push((at, known[known.len() - back]));
                    continue;
                }
                let number = plan.messages.len();
                let token = format!("k{number}r{round}");
                let kind = kind(&mut random, &CHATS[chat]);
                let content = content(&mut random, &CHATS[chat], kind, &token);
                // The same in every chat: only (chat, id) is one message. Phones choose
                // ids that nobody else has.
                let id = match chat < ON_SOCKET {
                    true => format!("r{round}n{}", count[chat]),
                    false => format!("3EB0{number:018X}"),
                };
                count[chat] += 1;
                steps.push((at, number));
                plan.messages.push(Message { chat, id, token, content, kind });
            }
            // New messages appear in the order of their numbers, which is that of
            // their chats.
            let mut times: Vec<u64> = steps.iter().map(|s| s.0).collect();
            times.sort_unstable();
            let steps = times.into_iter().zip(steps).map(|(at, (_, m))| (at, m)).collect();
            let end = ends[random.below(ends.len())];
            plan.rounds.push(Round { steps, end, at: random.below(1500) as u64 });
        }
        plan
    }

    /// One message for each chat that waits for a call, so that everything said
    /// there has been shown to the agent at the end.
    pub fn calls(&mut self) -> Vec<usize> {
        let mut calls = Vec::new();
        for (chat, _) in CHATS[..self.chats].iter().enumerate().filter(|(_, c)| c.trigger) {
            let token = format!("k{}last", self.messages.len());
            calls.push(self.messages.len());
            let content = format!("@Andy {token}");
            self.messages.push(Message {
                chat,
                id: "last".into(),
                token,
                content,
                kind: Kind::Ask,
            });
        }
        calls
    }
}

fn kind(random: &mut Random, chat: &Chat) -> Kind {
    match random.below(20) {
        0..3 => Kind::Tool,
        3..5 => Kind::Send,
        5..7 => Kind::Task,
        7..8 => Kind::Look,
        8..11 => Kind::Bring,
        11..13 if chat.odd => Kind::Crash,
        13..16 if chat.odd => Kind::Silent,
        11..16 if chat.trigger => Kind::Context,
        _ => Kind::Ask,
    }
}

fn content(random: &mut Random, chat: &Chat, kind: Kind, token: &str) -> String {
    let call = if chat.trigger { "@Andy " } else { "" };
    let think = match [0, 0, 50, 200, 500, 900, 1500, 3000][random.below(8)] {
        0 => String::new(),
        ms => format!("think:{ms} "),
    };
    let model = if random.below(4) == 0 { "model " } else { "" };
    let tool =
        |name: &str, arguments: serde_json::Value| format!("{call}{think}tool:{name} {arguments}");
    match kind {
        Kind::Ask | Kind::Bring => format!("{call}{think}{model}{token}"),
        Kind::Look => tool("read_history", json!({"query": token})),
        Kind::Tool => tool("send_message", json!({"text": format!("said {token}")})),
        Kind::Send => {
            tool("send_file", json!({"path": "picture.png", "caption": format!("said {token}")}))
        }
        // Who writes it puts a time in.
        Kind::Task => tool(
            "schedule_task",
            json!({"prompt": format!("say:said {token}"), "schedule_type": "once", "schedule_value": SOON}),
        ),
        Kind::Silent => format!("{think}{token} silent"),
        Kind::Crash => format!("{token} crash"),
        Kind::Context => format!("by the way {token}"),
    }
}

/// SplitMix64: small, and the same everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.draw() % end as u64) as usize
    }
}
