-- modes: session transaction
CREATE TABLE steps (n int);
CREATE PROCEDURE work(INOUT done int) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1..4 LOOP
		INSERT INTO steps VALUES (i);
		IF i % 2 = 0 THEN COMMIT; ELSE ROLLBACK; END IF;
	END LOOP;
	done := 4;
END $$;
CALL work(0);
TABLE steps;
BEGIN;
CALL work(0);
ROLLBACK;
CALL missing();
CREATE PROCEDURE plain_sql(a int) BEGIN ATOMIC INSERT INTO steps VALUES (a); INSERT INTO steps VALUES (a + 1); END;
CALL plain_sql(100);
TABLE steps;
CREATE FUNCTION add(a int, b int DEFAULT 5) RETURNS int LANGUAGE sql IMMUTABLE STRICT AS 'SELECT a + b';
SELECT add(1), add(b => 2, a => 3), add(NULL), add('x');
CREATE FUNCTION many(VARIADIC a int[]) RETURNS int LANGUAGE sql AS 'SELECT sum(x)::int FROM unnest(a) x';
SELECT many(1, 2, 3), many(VARIADIC ARRAY[4, 5]);
CREATE FUNCTION poly(anyelement, anyelement) RETURNS anyarray LANGUAGE sql AS 'SELECT ARRAY[$1, $2]';
SELECT poly(1, 2), poly('a'::text, 'b');
SELECT poly(1, 'a'::text);
CREATE AGGREGATE concat_all (text) (SFUNC = textcat, STYPE = text, INITCOND = '');
SELECT concat_all(x ORDER BY x) FROM (VALUES ('c'), ('a'), ('b')) t (x);
CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq);
SELECT 3 === 3 AS same;
DROP OPERATOR === (int, int);
DROP AGGREGATE concat_all (text);
DROP FUNCTION add, many, poly;
DROP PROCEDURE work, plain_sql;
DROP TABLE steps;
