-- modes: session transaction
SELECT format('CREATE TABLE wide (%s)', string_agg('c' || i || ' int DEFAULT ' || i, ', ' ORDER BY i)) FROM generate_series(1, 400) i \gexec
INSERT INTO wide DEFAULT VALUES;
INSERT INTO wide (c400) VALUES (0);
SELECT * FROM wide ORDER BY c400;
\x on
SELECT c1, c2, c399, c400 FROM wide ORDER BY c400;
\x off
SELECT format('SELECT %s', string_agg(i::text || ' AS "a rather long column name number ' || i || '"', ', ' ORDER BY i)) FROM generate_series(1, 1600) i \gexec
SELECT format('SELECT %s', string_agg(i::text, ', ')) FROM generate_series(1, 1700) i \gexec
DROP TABLE wide;
