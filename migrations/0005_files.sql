-- Files that came with a message or go out with one: a JSON list of
-- {"path","mime","size","name"}, in messages also {"name","error"} for one that
-- could not be taken. Paths are relative: in messages to the group's folder, in
-- outbox to the directory that channels exchange files in.
ALTER TABLE messages ADD COLUMN attachments TEXT;
ALTER TABLE outbox ADD COLUMN attachments TEXT;
CREATE INDEX outbox_files ON outbox(id) WHERE attachments IS NOT NULL;

-- History shows them too.
DROP VIEW history;
CREATE VIEW history AS
    SELECT seq * 2 AS key, chat_jid, stored_at AS at, timestamp AS time, sender_name AS sender, content AS text,
        attachments
    FROM messages WHERE reason IS NOT 'deleted by its sender'
    UNION ALL
    SELECT id * 2 + 1, chat_jid, created_at, strftime('%Y-%m-%dT%H:%M:%fZ', created_at / 1000.0, 'unixepoch'),
        NULL, text, attachments
    FROM outbox WHERE key NOT LIKE 'notice:%';
