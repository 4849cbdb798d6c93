-- modes: session transaction
CREATE TABLE arr (id int, a int[], t text[][]);
INSERT INTO arr VALUES (1, '{1,2,3}', '{{a,b},{c,d}}'), (2, '{}', NULL), (3, '[0:2]={7,8,9}', '{{"with,comma",NULL}}');
SELECT * FROM arr ORDER BY id;
SELECT id, a[1], a[2:3], t[1][2], array_dims(a), cardinality(t), array_lower(a, 1) FROM arr ORDER BY id;
SELECT ARRAY[1, 2] || 3, ARRAY[1, 2] || ARRAY[3, 4], array_append(NULL, 1), array_remove(ARRAY[1, 2, 1], 1), array_replace(ARRAY[1, 2, 1], 1, 9);
SELECT ARRAY[1, 2, 3] @> ARRAY[2], ARRAY[1, 2] && ARRAY[2, 9], 2 = ANY (ARRAY[1, 2]), 2 < ALL (ARRAY[3, 4]), array_position(ARRAY['x', 'y'], 'y');
UPDATE arr SET a[5] = 50 WHERE id = 1;
SELECT a FROM arr WHERE id = 1;
UPDATE arr SET t[9][9] = 'no' WHERE id = 1;
SELECT '{1,2'::int[];
SELECT unnest(ARRAY[1, 2]), unnest(ARRAY['a', 'b', 'c']);
SELECT * FROM unnest(ARRAY[1, 2], ARRAY['a', 'b', 'c']) WITH ORDINALITY u (n, s, o);
SELECT array_agg(x ORDER BY x DESC) FILTER (WHERE x <> 2) FROM generate_series(1, 4) x;
SELECT ARRAY(SELECT i * i FROM generate_series(1, 5) i), trim_array(ARRAY[1, 2, 3], 1), array_fill(0, ARRAY[2, 3]);
SELECT ARRAY[[1, 2], [3]];
DROP TABLE arr;
