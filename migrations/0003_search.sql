-- Full text of what was said in each chat, by people and by the assistant, so that
-- a fact is found however long ago it was. Rows of `messages` are even, rows of
-- `outbox` odd.
CREATE VIRTUAL TABLE search USING fts5 (text, content = '', contentless_delete = 1,
    tokenize = 'unicode61 remove_diacritics 2');

CREATE VIEW history AS
    SELECT seq * 2 AS key, chat_jid, stored_at AS at, timestamp AS time, sender_name AS sender, content AS text
    FROM messages WHERE reason IS NOT 'deleted by its sender'
    UNION ALL
    SELECT id * 2 + 1, chat_jid, created_at, strftime('%Y-%m-%dT%H:%M:%fZ', created_at / 1000.0, 'unixepoch'),
        NULL, text
    FROM outbox WHERE key NOT LIKE 'notice:%';

CREATE INDEX outbox_chat ON outbox(chat_jid, created_at);
CREATE INDEX messages_stored ON messages(chat_jid, stored_at);

INSERT INTO search (rowid, text) SELECT key, text FROM history;

CREATE TRIGGER search_message AFTER INSERT ON messages BEGIN
    INSERT INTO search (rowid, text) VALUES (new.seq * 2, new.content);
END;
CREATE TRIGGER search_edit AFTER UPDATE OF content ON messages BEGIN
    DELETE FROM search WHERE rowid = old.seq * 2;
    INSERT INTO search (rowid, text) VALUES (new.seq * 2, new.content);
END;
CREATE TRIGGER search_answer AFTER INSERT ON outbox WHEN new.key NOT LIKE 'notice:%' BEGIN
    INSERT INTO search (rowid, text) VALUES (new.id * 2 + 1, new.text);
END;
