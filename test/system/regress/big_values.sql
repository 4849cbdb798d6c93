-- modes: session transaction
SELECT length(repeat('a', 1000000)), md5(repeat('a', 1000000));
SELECT repeat('wide ', 20000) AS wide;
CREATE TABLE big (id int, v text);
INSERT INTO big SELECT i, repeat(chr(65 + i % 26), i * 1000) FROM generate_series(1, 60) i;
SELECT id, length(v), left(v, 3), md5(v) FROM big ORDER BY id;
SELECT string_agg(v, '' ORDER BY id) AS all_of_it FROM big WHERE id <= 30;
SELECT v FROM big ORDER BY id DESC LIMIT 20;
SELECT i, repeat('row', 30) FROM generate_series(1, 3000) i;
UPDATE big SET v = v || v RETURNING length(v);
COPY big TO STDOUT;
DROP TABLE big;
