-- modes: session transaction
WITH RECURSIVE t (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM t WHERE n < 10) SELECT sum(n), count(*) FROM t;
CREATE TABLE tree (id int, up int, name text);
INSERT INTO tree VALUES (1, NULL, 'root'), (2, 1, 'a'), (3, 1, 'b'), (4, 2, 'aa'), (5, 4, 'aaa');
WITH RECURSIVE walk AS (SELECT id, name, 1 AS depth, name::text AS path FROM tree WHERE up IS NULL UNION ALL SELECT c.id, c.name, depth + 1, path || '/' || c.name FROM tree c JOIN walk w ON c.up = w.id) SELECT * FROM walk ORDER BY path;
UPDATE tree SET up = 5 WHERE id = 1;
WITH RECURSIVE walk AS (SELECT id FROM tree WHERE id = 1 UNION ALL SELECT c.id FROM tree c JOIN walk w ON c.up = w.id) CYCLE id SET is_cycle USING path SELECT id, is_cycle FROM walk ORDER BY path;
WITH RECURSIVE walk AS (SELECT id, up FROM tree WHERE id = 2 UNION ALL SELECT c.id, c.up FROM tree c JOIN walk w ON c.up = w.id WHERE c.id < 5) SEARCH DEPTH FIRST BY id SET ord SELECT id FROM walk ORDER BY ord;
WITH moved AS (DELETE FROM tree WHERE id > 3 RETURNING *), kept AS (SELECT count(*) AS n FROM tree) SELECT (SELECT count(*) FROM moved), n FROM kept;
WITH a AS MATERIALIZED (SELECT 1 AS x), b AS NOT MATERIALIZED (SELECT x + 1 AS x FROM a) SELECT * FROM b;
WITH RECURSIVE bad AS (SELECT 1 UNION ALL SELECT count(*) FROM bad) SELECT * FROM bad;
DROP TABLE tree;
