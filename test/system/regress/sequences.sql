-- modes: session transaction
CREATE SEQUENCE s START 5 INCREMENT 5 MAXVALUE 20 CYCLE;
SELECT nextval('s') FROM generate_series(1, 5);
SELECT setval('s', 10), nextval('s'), setval('s', 15, false), nextval('s');
SELECT setval('s', 99);
ALTER SEQUENCE s NO CYCLE RESTART 20;
SELECT nextval('s');
SELECT nextval('s');
SELECT last_value, is_called FROM s;
CREATE TABLE st (id serial, v text);
INSERT INTO st (v) VALUES ('a'), ('b') RETURNING id;
SELECT pg_get_serial_sequence('st', 'id');
TRUNCATE st RESTART IDENTITY;
INSERT INTO st (v) VALUES ('again') RETURNING id;
DROP SEQUENCE s;
SELECT nextval('s');
DROP TABLE st;
