-- modes: session
CREATE TEMP TABLE tt (a int);
INSERT INTO tt VALUES (1), (2);
SELECT * FROM tt ORDER BY a;
BEGIN;
CREATE TEMP TABLE gone (a int) ON COMMIT DROP;
CREATE TEMP TABLE emptied (a int) ON COMMIT DELETE ROWS;
INSERT INTO gone VALUES (1);
INSERT INTO emptied VALUES (1);
SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM emptied);
COMMIT;
SELECT count(*) FROM emptied;
SELECT count(*) FROM gone;
CREATE TABLE pg_temp.also (x int);
SELECT count(*) FROM also;
CREATE TEMP SEQUENCE sq;
SELECT nextval('sq'), nextval('sq'), currval('sq');
DISCARD TEMP;
SELECT * FROM tt;
