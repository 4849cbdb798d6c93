-- modes: session transaction
CREATE TABLE c (a int, b text, d date);
COPY c FROM STDIN;
1	one	2024-01-01
2	tab\there	\N
3	back\\slash	2024-12-31
\.
COPY c (a, b) FROM STDIN WITH (FORMAT csv, HEADER, NULL 'nil');
a,b
4,"quoted, ""comma"""
5,nil
6,"two
lines"
\.
COPY c FROM STDIN;
7	seven	not a date
8	eight	2024-01-01
\.
COPY c FROM STDIN WITH (FORMAT csv);
9,too,2024-01-01,many
\.
SELECT * FROM c ORDER BY a;
COPY c TO STDOUT;
COPY (SELECT a, b FROM c WHERE a < 5 ORDER BY a DESC) TO STDOUT WITH (FORMAT csv, HEADER, FORCE_QUOTE *);
COPY c (b) TO STDOUT WITH (DELIMITER '|', NULL '<null>');
\copy (SELECT a FROM c ORDER BY a LIMIT 2) TO STDOUT
BEGIN;
COPY c FROM STDIN WITH (FREEZE false);
10	ten	2024-10-10
\.
SELECT count(*) FROM c;
ROLLBACK;
SELECT count(*) FROM c;
COPY missing FROM STDIN;
\.
COPY c FROM '/nonexistent/file';
COPY (SELECT 1 / 0) TO STDOUT;
COPY (SELECT 1 / (3 - i) FROM generate_series(1, 5) i) TO STDOUT;
COPY c FROM STDIN WITH (FORMAT binary, HEADER);
\.
COPY (SELECT i, repeat('x', 500) FROM generate_series(1, 300) i) TO STDOUT;
DROP TABLE c;
