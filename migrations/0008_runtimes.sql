-- What a group wants of its container. isolation: 'any', or 'vm' for a group that
-- waits rather than run without a virtual machine; isolation_told: whether its chat
-- knows that it waits. memory: MiB. once: whether the container ends with its turn.
ALTER TABLE groups ADD COLUMN isolation TEXT NOT NULL DEFAULT 'any';
ALTER TABLE groups ADD COLUMN isolation_told INTEGER NOT NULL DEFAULT 0;
ALTER TABLE groups ADD COLUMN memory INTEGER;
ALTER TABLE groups ADD COLUMN cpus REAL;
ALTER TABLE groups ADD COLUMN once INTEGER NOT NULL DEFAULT 0;
