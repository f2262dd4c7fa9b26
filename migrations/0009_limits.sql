-- What bounds a daemon that runs for years: money, and rows.

-- What the model was used for: one row a day (the owner's), group and model. It
-- outlives the turns.
CREATE TABLE usage (
    day TEXT NOT NULL,                           -- 2026-01-31
    folder TEXT NOT NULL,
    model TEXT NOT NULL,                         -- as the API names it
    input_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0,
    cache_read_tokens INTEGER NOT NULL DEFAULT 0,
    cache_write_tokens INTEGER NOT NULL DEFAULT 0,
    cost INTEGER NOT NULL DEFAULT 0,             -- millionths of a dollar, by the prices of that day
    PRIMARY KEY (day, folder, model)
) WITHOUT ROWID;
INSERT INTO usage (day, folder, model, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens)
    SELECT date(created_at / 1000, 'unixepoch'), folder, model, sum(input_tokens), sum(output_tokens),
        sum(cache_read_tokens), sum(cache_write_tokens)
    FROM turns WHERE model IS NOT NULL GROUP BY 1, 2, 3;
ALTER TABLE turns ADD COLUMN spent INTEGER NOT NULL DEFAULT 0;  -- as usage.cost
ALTER TABLE groups ADD COLUMN budget INTEGER;                   -- as usage.cost, a day; null: no limit of its own

-- What was said once and is not to be said again.
CREATE TABLE told (key TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX told_at ON told(at);

-- Runs that failed one after the other.
ALTER TABLE scheduled_tasks ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;

-- Small however long the history is: what the retention still has to do, and which
-- messages have files.
CREATE INDEX turns_whole ON turns(ended_at) WHERE ended_at IS NOT NULL AND prompt <> '';
CREATE INDEX incarnations_dead ON incarnations(ended_at) WHERE state = 'dead';
CREATE INDEX messages_files ON messages(chat_jid) WHERE attachments IS NOT NULL;
-- Deleting a turn must not look at every row that could name it.
CREATE INDEX tasks_turn ON scheduled_tasks(turn) WHERE turn IS NOT NULL;
