//! A ledger that has lived: groups, and what was said in them. Rows go in by SQL, into
//! a ledger that the program itself has made; full text is the triggers' work.

use rusqlite::{Connection, params};

use super::support::Home;

/// Makes a group `g0`, `g1`, ... for each of these chats.
pub fn groups(home: &Home, chats: &[String]) {
    // Makes the ledger, if there is none.
    home.add_group("first", "first:1");
    let c = open(home);
    for (n, jid) in chats.iter().enumerate() {
        c.execute(
            "INSERT INTO groups (folder, name, requires_trigger, added_at)
             VALUES (?1, ?1, 0, '2026-01-01T00:00:00.000Z')",
            [format!("g{n}")],
        )
        .unwrap();
        c.execute(
            "INSERT INTO chats (jid, name, folder) VALUES (?1, ?1, ?2)
             ON CONFLICT (jid) DO UPDATE SET folder = excluded.folder",
            [jid, &format!("g{n}")],
        )
        .unwrap();
    }
    c.execute_batch("COMMIT").unwrap();
}

/// Messages `from..to` of these chats, the first of which has a tenth of them; one a
/// second until `ended`, every other one answered in a turn of its own.
pub fn messages(home: &Home, chats: &[String], from: usize, to: usize, ended: i64) {
    let c = open(home);
    let mut chance = Chance(from as u64 + 1);
    for n in from..to {
        let group = if n / 2 % 10 == 0 { 0 } else { chance.below(chats.len()) };
        let (jid, at) = (&chats[group], ended - (to - n) as i64 * 1_000);
        let turn = (n % 2 == 1).then(|| {
            c.prepare_cached(
                "INSERT INTO turns (folder, chat_jid, kind, session, prompt, trusted, state, attempt,
                    created_at, started_at, ended_at)
                 VALUES (?1, ?2, 'message', 'group', ?3, 0, 'done', 1, ?4, ?4, ?4)",
            )
            .unwrap()
            .execute(params![format!("g{group}"), jid, chance.text(60), at])
            .unwrap();
            c.last_insert_rowid()
        });
        c.prepare_cached(
            "INSERT INTO messages (id, chat_jid, sender, sender_name, content, timestamp, state, turn, stored_at)
             VALUES (?1, ?2, 'u1', 'Ann', ?3, strftime('%Y-%m-%dT%H:%M:%fZ', ?5 / 1000.0, 'unixepoch'),
                'answered', ?4, ?5)",
        )
        .unwrap()
        .execute(params![format!("old{n}"), jid, chance.text(12), turn, at])
        .unwrap();
        if let Some(turn) = turn {
            c.prepare_cached(
                "INSERT INTO outbox (turn, key, part, chat_jid, channel_id, text, state, created_at, sent_at)
                 VALUES (?1, 'answer', 0, ?2, ?3, ?4, 'sent', ?5, ?5)",
            )
            .unwrap()
            .execute(params![turn, jid, format!("ch{n}"), chance.text(30), at])
            .unwrap();
        }
    }
    c.execute_batch("COMMIT; PRAGMA journal_mode = WAL").unwrap();
}

fn open(home: &Home) -> Connection {
    let c = Connection::open(home.path().join("store/messages.db")).unwrap();
    c.execute_batch(
        "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -400000;
         PRAGMA foreign_keys = OFF; BEGIN",
    )
    .unwrap();
    c
}

/// Numbers that are the same in every run.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn below(&mut self, most: usize) -> usize {
        self.next() as usize % most
    }

    /// Words as people use them: few often, most hardly ever.
    fn text(&mut self, words: usize) -> String {
        let mut text = String::with_capacity(words * 7);
        for _ in 0..words {
            let share = self.next() as f64 / (1_u64 << 31) as f64;
            text += &format!("wo{} ", 20_000_f64.powf(share) as u32);
        }
        text
    }
}
