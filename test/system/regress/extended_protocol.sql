-- modes: session transaction
SELECT 'gset' AS word, 42 AS number \gset got_
\echo :got_word :got_number
SELECT :'got_word' AS quoted, :got_number + 1 AS plus;
SELECT 1 AS a, NULL AS b \gx
SELECT format('SELECT %s AS generated', i) FROM generate_series(1, 3) i \gexec
SELECT 'x' AS c \gdesc
SELECT 1 AS one, 'two' AS two, 3.0 AS three, now() AS four \gdesc
SELECT * FROM (VALUES ('r1', 'c1', 1), ('r1', 'c2', 2), ('r2', 'c1', 3)) t (r, c, v) \crosstabview
SELECT broken syntax here \gdesc
\if true
SELECT 'taken';
\else
SELECT 'not taken';
\endif
SELECT 1 AS zero_rows WHERE false;
SELECT;
;
