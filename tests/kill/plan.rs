//! A random history, all of it a function of its seed: who writes what when, and
//! when the daemon ends in which way.

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
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Is echoed in an answer.
    Ask,
    /// Makes the agent send a text by its tool.
    Tool,
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

/// Main has the terminal by itself.
pub const CHATS: [Chat; 7] = [
    Chat { folder: "main", jid: "terminal:main", trigger: false, odd: false },
    Chat { folder: "main", jid: "t:self", trigger: false, odd: false },
    Chat { folder: "family", jid: "t:family", trigger: false, odd: false },
    Chat { folder: "work", jid: "t:work", trigger: false, odd: false },
    Chat { folder: "club", jid: "t:club", trigger: true, odd: false },
    Chat { folder: "choir", jid: "t:choir", trigger: true, odd: false },
    Chat { folder: "odd", jid: "t:odd", trigger: false, odd: true },
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
    pub messages: Vec<Message>,
    pub rounds: Vec<Round>,
}

impl Plan {
    /// `ends` are the ways in which rounds may end. In round `ponder` somebody asks
    /// what takes longer than the grace of a stop.
    pub fn new(seed: u64, rounds: usize, ends: &[End], ponder: Option<usize>) -> Plan {
        let mut plan = Plan { seed, messages: Vec::new(), rounds: Vec::new() };
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
            let busy: Vec<usize> = (0..3).map(|_| random.below(CHATS.len())).collect();
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
                // The same in every chat: only (chat, id) is one message.
                let id = format!("r{round}n{}", count[chat]);
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
        for (chat, _) in CHATS.iter().enumerate().filter(|(_, c)| c.trigger) {
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
    match random.below(12) {
        0..3 => Kind::Tool,
        3..5 if chat.odd => Kind::Crash,
        5..8 if chat.odd => Kind::Silent,
        3..7 if chat.trigger => Kind::Context,
        _ => Kind::Ask,
    }
}

fn content(random: &mut Random, chat: &Chat, kind: Kind, token: &str) -> String {
    let call = if chat.trigger { "@Andy " } else { "" };
    let think = match [0, 0, 50, 200, 500, 900, 1500][random.below(7)] {
        0 => String::new(),
        ms => format!("think:{ms} "),
    };
    match kind {
        Kind::Ask => format!("{call}{think}{token}"),
        Kind::Tool => format!("{call}{think}tool:send_message {{\"text\":\"said {token}\"}}"),
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
