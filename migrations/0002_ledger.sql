-- The ledger: every fact that a restart must know is a row.
-- Times that programs compare are milliseconds since 1970 (INTEGER); times that
-- people wrote are the original's ISO text.

-- A group is a folder; a chat is an address that is linked to one (or to none).
CREATE TABLE groups (
    folder TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    is_main INTEGER NOT NULL DEFAULT 0,
    trigger TEXT NOT NULL DEFAULT '',            -- empty: '@' and the assistant's name
    requires_trigger INTEGER NOT NULL DEFAULT 1,
    egress TEXT NOT NULL DEFAULT 'web',          -- 'web', 'api', or domains with commas between
    model TEXT,                                  -- none: NANOCLAW_MODEL, else the CLI's own choice
    container_config TEXT,                       -- 1.x's JSON: additionalMounts, timeout
    legacy_ipc INTEGER NOT NULL DEFAULT 0,       -- came from 1.x: its hand-written records are read too
    added_at TEXT NOT NULL
);
INSERT INTO groups (folder, name, is_main, trigger, requires_trigger, container_config, legacy_ipc, added_at)
    SELECT folder, name, COALESCE(is_main, 0), trigger_pattern, COALESCE(requires_trigger, 1), container_config, 1, added_at
    FROM registered_groups;

ALTER TABLE chats ADD COLUMN folder TEXT REFERENCES groups(folder);
INSERT OR IGNORE INTO chats (jid, name) SELECT jid, name FROM registered_groups;
-- What others refer to must exist, whatever a 1.x without foreign keys left.
INSERT OR IGNORE INTO chats (jid, name) SELECT DISTINCT COALESCE(chat_jid, ''), chat_jid FROM messages;
INSERT OR IGNORE INTO chats (jid, name) SELECT DISTINCT chat_jid, chat_jid FROM scheduled_tasks;
UPDATE chats SET folder = (SELECT folder FROM registered_groups r WHERE r.jid = chats.jid);
CREATE INDEX chats_folder ON chats(folder);
DROP TABLE registered_groups;

-- Order is the sequence, never a timestamp. Key (chat_jid, id).
CREATE TABLE messages_2 (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    chat_jid TEXT NOT NULL REFERENCES chats(jid),
    sender TEXT NOT NULL,
    sender_name TEXT NOT NULL,
    content TEXT NOT NULL,
    timestamp TEXT NOT NULL,
    is_from_me INTEGER NOT NULL DEFAULT 0,
    is_bot_message INTEGER NOT NULL DEFAULT 0,
    reply_to_message_id TEXT,
    reply_to_message_content TEXT,
    reply_to_sender_name TEXT,
    trusted INTEGER NOT NULL DEFAULT 0,          -- sent by the owner
    state TEXT NOT NULL CHECK (state IN ('ignored', 'context', 'queued', 'in_turn', 'answered', 'failed')),
    reason TEXT,                                 -- of ignored and failed; 'silent' of answered
    turn INTEGER REFERENCES turns(id),           -- that showed it to an agent
    stored_at INTEGER NOT NULL,
    UNIQUE (chat_jid, id)
);
-- Each row is kept; which of them still need an answer is src/db/migrate/settle.rs.
INSERT INTO messages_2 (id, chat_jid, sender, sender_name, content, timestamp, is_from_me, is_bot_message,
        reply_to_message_id, reply_to_message_content, reply_to_sender_name, state, stored_at)
    SELECT COALESCE(id, '1x-' || rowid), COALESCE(chat_jid, ''), COALESCE(sender, ''),
        COALESCE(sender_name, sender, ''), COALESCE(content, ''), COALESCE(timestamp, ''),
        COALESCE(is_from_me, 0), COALESCE(is_bot_message, 0),
        reply_to_message_id, reply_to_message_content, reply_to_sender_name, 'answered',
        COALESCE(CAST(round(unixepoch(timestamp, 'subsec') * 1000) AS INTEGER), 0)
    FROM messages ORDER BY timestamp, rowid;
DROP TABLE messages;
ALTER TABLE messages_2 RENAME TO messages;
-- Small however long the history is; the statements that need them name them.
CREATE INDEX messages_queued ON messages(chat_jid, seq) WHERE state = 'queued';
CREATE INDEX messages_open ON messages(chat_jid, seq) WHERE state IN ('queued', 'context') AND turn IS NULL;
CREATE INDEX messages_turn ON messages(turn) WHERE turn IS NOT NULL;
CREATE INDEX messages_chat ON messages(chat_jid, seq);

-- Each start of a container; the number is never reused.
CREATE TABLE incarnations (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    folder TEXT NOT NULL,
    runtime TEXT NOT NULL,
    pid INTEGER,
    start_time INTEGER,
    boot_id TEXT,
    state TEXT NOT NULL CHECK (state IN ('starting', 'live', 'dead')),
    out_seq INTEGER NOT NULL DEFAULT 0,          -- last record of the guest with a committed effect
    started_at INTEGER NOT NULL,
    ended_at INTEGER,
    end_reason TEXT
);
CREATE INDEX incarnations_open ON incarnations(folder) WHERE state <> 'dead';

-- One piece of work for one group.
CREATE TABLE turns (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    folder TEXT NOT NULL,
    chat_jid TEXT NOT NULL REFERENCES chats(jid),  -- where its answer goes
    kind TEXT NOT NULL CHECK (kind IN ('message', 'task')),
    session TEXT NOT NULL CHECK (session IN ('group', 'isolated')),
    prompt TEXT NOT NULL,
    trusted INTEGER NOT NULL,                    -- every sender in it is the owner
    state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed')),
    attempt INTEGER NOT NULL DEFAULT 0,          -- attempts begun
    cost INTEGER NOT NULL DEFAULT 0,             -- attempts that count against the limit
    incarnation INTEGER REFERENCES incarnations(id),
    not_before INTEGER NOT NULL DEFAULT 0,
    deadline INTEGER,
    noticed INTEGER NOT NULL DEFAULT 0,          -- 'still working' was said
    error TEXT,
    model TEXT,
    input_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0,
    cache_read_tokens INTEGER NOT NULL DEFAULT 0,
    cache_write_tokens INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    ended_at INTEGER
);
CREATE INDEX turns_open ON turns(folder, id) WHERE state IN ('queued', 'running');
CREATE INDEX turns_incarnation ON turns(incarnation);

-- What must reach a chat.
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    turn INTEGER REFERENCES turns(id),
    key TEXT NOT NULL,                           -- independent of the attempt: 'answer', 'notice:...', 'request:...'
    part INTEGER NOT NULL,
    chat_jid TEXT NOT NULL REFERENCES chats(jid),
    channel_id TEXT NOT NULL UNIQUE,             -- the network's message id, chosen before the first attempt
    text TEXT NOT NULL,
    reply_to TEXT,
    state TEXT NOT NULL CHECK (state IN ('pending', 'sent', 'delivered', 'failed')),
    attempts INTEGER NOT NULL DEFAULT 0,
    not_before INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    created_at INTEGER NOT NULL,
    sent_at INTEGER,
    UNIQUE (turn, key, part)
);
CREATE INDEX outbox_pending ON outbox(chat_jid, id) WHERE state = 'pending';
CREATE INDEX outbox_turn ON outbox(turn);

-- What agents asked of the host: effect and result in one commit.
CREATE TABLE requests (
    turn INTEGER NOT NULL REFERENCES turns(id),
    tool TEXT NOT NULL,
    digest TEXT NOT NULL,                        -- of the arguments
    nth INTEGER NOT NULL,                        -- such call within the attempt
    attempt INTEGER NOT NULL,                    -- the latest that made it
    arguments TEXT NOT NULL,
    ok INTEGER NOT NULL,
    result TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (turn, tool, digest, nth)
) WITHOUT ROWID;

CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL);
