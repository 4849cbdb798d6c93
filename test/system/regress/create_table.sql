-- modes: session transaction
CREATE TABLE parent (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, code text UNIQUE NOT NULL, doubled int GENERATED ALWAYS AS (length(code) * 2) STORED);
CREATE TABLE child (pid int REFERENCES parent ON DELETE CASCADE, n int DEFAULT 7 CHECK (n > 0), PRIMARY KEY (pid, n));
INSERT INTO parent (code) VALUES ('one'), ('three');
INSERT INTO parent (id, code) VALUES (9, 'x');
INSERT INTO parent (id, code) OVERRIDING SYSTEM VALUE VALUES (9, 'nine');
INSERT INTO parent (code) VALUES ('one');
INSERT INTO parent (code) VALUES (NULL);
INSERT INTO child VALUES (1), (2, 3);
INSERT INTO child VALUES (77, 1);
INSERT INTO child VALUES (1, -1);
SELECT * FROM parent ORDER BY id;
DELETE FROM parent WHERE code = 'one' RETURNING *;
SELECT * FROM child;
CREATE TABLE child (x int);
CREATE TABLE IF NOT EXISTS child (x int);
CREATE TABLE copy_of (LIKE parent INCLUDING ALL);
\d parent
\d child
CREATE TABLE as_select AS SELECT id, code FROM parent WITH NO DATA;
SELECT count(*) FROM as_select;
CREATE TABLE bad (a int, a text);
DROP TABLE parent;
DROP TABLE parent, child, copy_of, as_select;
DROP TABLE IF EXISTS parent;
