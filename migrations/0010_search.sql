-- Beginnings of words as quickly as whole ones: without an index of their own each
-- question reads every hit of every word that begins so.
DROP TABLE search;
CREATE VIRTUAL TABLE search USING fts5 (text, content = '', contentless_delete = 1, prefix = '2 3',
    tokenize = 'unicode61 remove_diacritics 2');
INSERT INTO search (rowid, text) SELECT key, text FROM history;
DROP VIEW history;
