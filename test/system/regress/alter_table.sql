-- modes: session transaction
CREATE TABLE t (a int, b text);
INSERT INTO t SELECT i, 'row ' || i FROM generate_series(1, 5) i;
ALTER TABLE t ADD COLUMN c int DEFAULT 42, ADD COLUMN d timestamp;
ALTER TABLE t ALTER COLUMN a TYPE bigint, ALTER COLUMN b SET NOT NULL;
ALTER TABLE t ALTER COLUMN b TYPE int;
ALTER TABLE t ALTER COLUMN b TYPE int USING substring(b FROM '\d+')::int;
SELECT * FROM t ORDER BY a;
ALTER TABLE t RENAME COLUMN c TO see;
ALTER TABLE t DROP COLUMN d, DROP COLUMN nonexistent;
ALTER TABLE t DROP COLUMN IF EXISTS nonexistent;
ALTER TABLE t ADD CONSTRAINT positive CHECK (a > 3);
ALTER TABLE t ADD CONSTRAINT positive CHECK (a > 3) NOT VALID;
ALTER TABLE t VALIDATE CONSTRAINT positive;
ALTER TABLE t ADD PRIMARY KEY (a);
ALTER TABLE t ADD PRIMARY KEY (b);
ALTER TABLE t RENAME TO renamed;
\d renamed
ALTER TABLE renamed SET (fillfactor = 70);
ALTER TABLE renamed OWNER TO nobody_at_all;
COMMENT ON COLUMN renamed.a IS 'the a';
SELECT col_description('renamed'::regclass, 1);
DROP TABLE renamed;
