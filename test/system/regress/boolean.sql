-- modes: session transaction
CREATE TABLE booltbl (id int PRIMARY KEY, f bool);
INSERT INTO booltbl VALUES (1, 't'), (2, 'false'), (3, NULL), (4, 'yes'), (5, 'off'), (6, '1'), (7, '0');
SELECT id, f, NOT f AS inverted, f IS TRUE AS is_true, f IS UNKNOWN AS is_unknown FROM booltbl ORDER BY id;
SELECT f, count(*) FROM booltbl GROUP BY f ORDER BY f NULLS LAST;
SELECT bool_and(f), bool_or(f), every(f) FROM booltbl;
SELECT 'maybe'::bool;
SELECT true AND NULL AS a, false AND NULL AS b, true OR NULL AS c;
SELECT id FROM booltbl WHERE f = true ORDER BY id;
SELECT booleq(true, false), true > false AS gt, 2::bool, 0::bool;
DROP TABLE booltbl;
