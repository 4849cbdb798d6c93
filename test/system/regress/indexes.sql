-- modes: session transaction
CREATE TABLE idx (a int, b text, c int[]);
INSERT INTO idx SELECT i, 'k' || (i % 100), ARRAY[i, i + 1] FROM generate_series(1, 2000) i;
CREATE UNIQUE INDEX idx_a ON idx (a);
CREATE INDEX idx_lower ON idx (lower(b)) WHERE a > 100;
CREATE INDEX idx_gin ON idx USING gin (c);
CREATE INDEX idx_hash ON idx USING hash (b);
CREATE INDEX idx_brin ON idx USING brin (a);
CREATE INDEX idx_cover ON idx (b) INCLUDE (a);
CREATE UNIQUE INDEX idx_dup ON idx (b);
ANALYZE idx;
EXPLAIN (COSTS OFF) SELECT * FROM idx WHERE a = 77;
SELECT * FROM idx WHERE a = 77;
SELECT count(*) FROM idx WHERE lower(b) = 'k5' AND a > 100;
SELECT a FROM idx WHERE c @> ARRAY[500] ORDER BY a;
CREATE INDEX CONCURRENTLY idx_conc ON idx (a, b);
BEGIN;
CREATE INDEX CONCURRENTLY idx_never ON idx (a);
ROLLBACK;
REINDEX TABLE idx;
\di idx_*
DROP INDEX idx_a, idx_missing;
DROP INDEX idx_a;
DROP TABLE idx;
