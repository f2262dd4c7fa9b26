-- What the network was shown of a message: that it was read, and the last emoji put on
-- it. Before this nothing was, and it is not made up for: 2.
ALTER TABLE messages ADD COLUMN seen INTEGER NOT NULL DEFAULT 0;
ALTER TABLE messages ADD COLUMN reaction TEXT;
UPDATE messages SET seen = 2;

-- After how many seconds messages of a chat disappear; 0: never.
ALTER TABLE chats ADD COLUMN timer INTEGER NOT NULL DEFAULT 0;
