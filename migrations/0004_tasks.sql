-- Tasks and their runs. scheduled_tasks keeps 1.x's columns and their meaning: next_run,
-- last_run and created_at are ISO text in UTC with milliseconds, schedule_value is what
-- 1.x reads.
ALTER TABLE scheduled_tasks ADD COLUMN zone TEXT;                        -- null: the owner's
ALTER TABLE scheduled_tasks ADD COLUMN reason TEXT;                      -- of 'paused', if the host paused it
ALTER TABLE scheduled_tasks ADD COLUMN trusted INTEGER NOT NULL DEFAULT 0; -- only the owner had a part in it
ALTER TABLE scheduled_tasks ADD COLUMN turn INTEGER REFERENCES turns(id);  -- of its latest run
-- In 1.x nobody but main makes tasks for main.
UPDATE scheduled_tasks SET trusted = 1
    WHERE group_folder IN (SELECT folder FROM groups WHERE is_main = 1);
UPDATE scheduled_tasks SET next_run = strftime('%Y-%m-%dT%H:%M:%fZ', next_run)
    WHERE strftime('%Y-%m-%dT%H:%M:%fZ', next_run) IS NOT NULL;
-- 1.x can leave a resumed task active without a next run: it never runs again.
UPDATE scheduled_tasks SET status = 'completed' WHERE status = 'active' AND next_run IS NULL;

ALTER TABLE turns ADD COLUMN script TEXT;        -- of a task: decides whether the model is woken

-- One for each run of a task; they outlive the task. At most one turn per planned instant.
CREATE TABLE occurrences (
    task TEXT NOT NULL,                          -- of scheduled_tasks, or of one that was cancelled
    planned INTEGER NOT NULL,                    -- the instant that it stands for
    turn INTEGER NOT NULL UNIQUE REFERENCES turns(id),
    late INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (task, planned)
) WITHOUT ROWID;

ALTER TABLE task_run_logs ADD COLUMN turn INTEGER REFERENCES turns(id);
CREATE UNIQUE INDEX task_run_logs_turn ON task_run_logs(turn) WHERE turn IS NOT NULL;
