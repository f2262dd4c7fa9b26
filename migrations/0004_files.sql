-- Files that came with a message or go out with one: a JSON list of
-- {"path","mime","size","name"}, in messages also {"name","error"} for one that
-- could not be taken. Paths are relative: in messages to the group's folder, in
-- outbox to the directory that channels exchange files in.
ALTER TABLE messages ADD COLUMN attachments TEXT;
ALTER TABLE outbox ADD COLUMN attachments TEXT;
CREATE INDEX outbox_files ON outbox(id) WHERE attachments IS NOT NULL;
