-- One person may have several addresses: on WhatsApp a phone number and a LID, which
-- is the same for ever while the number may change hands. Chats, messages and rows of
-- the outbox carry one of them, `people.jid`; which one is written to is the latest.
CREATE TABLE people (
    id INTEGER PRIMARY KEY,
    jid TEXT NOT NULL UNIQUE,                    -- the phone number's, where it is known
    name TEXT,                                   -- what they call themselves
    contact TEXT,                                -- what the owner calls them
    wrote INTEGER NOT NULL DEFAULT 0             -- the owner wrote to them
);
CREATE TABLE addresses (
    jid TEXT PRIMARY KEY,
    person INTEGER NOT NULL REFERENCES people(id),
    seen_at INTEGER NOT NULL                     -- when something last came from it, milliseconds
) WITHOUT ROWID;
CREATE INDEX addresses_person ON addresses(person);

-- Who is in a chat of several.
CREATE TABLE members (
    chat_jid TEXT NOT NULL REFERENCES chats(jid),
    person INTEGER NOT NULL REFERENCES people(id),
    is_admin INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (chat_jid, person)
) WITHOUT ROWID;

ALTER TABLE chats ADD COLUMN closed TEXT CHECK (closed IN ('removed', 'admins_only')); -- nothing can be sent
-- Who may wake the agent besides the owner, and whether what others say is kept.
ALTER TABLE groups ADD COLUMN speakers TEXT NOT NULL DEFAULT 'everybody'
    CHECK (speakers IN ('everybody', 'known', 'owner'));
CREATE INDEX outbox_sent ON outbox(sent_at) WHERE sent_at IS NOT NULL;
ALTER TABLE groups ADD COLUMN keeps_context INTEGER NOT NULL DEFAULT 1;
