-- modes: session transaction
CREATE TABLE kv (k int PRIMARY KEY, v text, n int DEFAULT 0);
INSERT INTO kv VALUES (1, 'one'), (2, 'two') RETURNING *;
INSERT INTO kv VALUES (1, 'again');
INSERT INTO kv VALUES (1, 'again'), (3, 'three') ON CONFLICT DO NOTHING RETURNING k;
INSERT INTO kv AS t VALUES (1, 'upserted') ON CONFLICT (k) DO UPDATE SET v = EXCLUDED.v, n = t.n + 1 WHERE t.v <> 'never' RETURNING *;
INSERT INTO kv VALUES (5, 'a'), (5, 'b') ON CONFLICT (k) DO UPDATE SET v = EXCLUDED.v;
INSERT INTO kv VALUES (6) ON CONFLICT (v) DO NOTHING;
INSERT INTO kv SELECT k + 10, v FROM kv;
INSERT INTO kv DEFAULT VALUES;
UPDATE kv SET (v, n) = (SELECT 'u', 9) WHERE k = 11 RETURNING *;
UPDATE kv SET n = s.k FROM kv s WHERE kv.k = s.k + 10 RETURNING kv.k, kv.n;
DELETE FROM kv USING (VALUES (11)) x (k) WHERE kv.k = x.k;
MERGE INTO kv t USING (VALUES (1, 'm1'), (99, 'm99')) s (k, v) ON t.k = s.k WHEN MATCHED THEN UPDATE SET v = s.v WHEN NOT MATCHED THEN INSERT VALUES (s.k, s.v);
TABLE kv ORDER BY k;
TRUNCATE kv;
SELECT count(*) FROM kv;
DROP TABLE kv;
