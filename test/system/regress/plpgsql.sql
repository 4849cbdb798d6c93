-- modes: session transaction
CREATE FUNCTION fact(n int) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	IF n < 0 THEN
		RAISE EXCEPTION 'negative: %', n USING ERRCODE = 'invalid_parameter_value', HINT = 'be positive';
	END IF;
	IF n < 2 THEN RETURN 1; END IF;
	RETURN n * fact(n - 1);
END $$;
SELECT fact(10), fact(20);
SELECT fact(-1);
SELECT fact(25);
CREATE FUNCTION chatter() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	RAISE DEBUG 'not seen';
	RAISE NOTICE 'a notice: %', 1 + 1;
	RAISE WARNING 'a warning';
	RAISE INFO 'some information';
	RAISE LOG 'only in the log';
END $$;
SELECT chatter();
SET client_min_messages = warning;
SELECT chatter();
RESET client_min_messages;
DO $$
DECLARE
	r record; total int := 0; a int[] := '{}';
BEGIN
	FOR r IN SELECT i FROM generate_series(1, 5) i LOOP
		CONTINUE WHEN r.i = 3;
		total := total + r.i; a := a || r.i;
	END LOOP;
	RAISE NOTICE 'total % of %', total, a;
	BEGIN
		PERFORM 1 / 0;
	EXCEPTION WHEN division_by_zero THEN
		RAISE NOTICE 'caught % %', SQLSTATE, SQLERRM;
	END;
	EXECUTE format('CREATE TABLE %I (x int)', 'made by do');
	EXECUTE 'INSERT INTO "made by do" VALUES ($1)' USING total;
END $$;
SELECT * FROM "made by do";
CREATE FUNCTION rows_of(n int) RETURNS TABLE (i int, s text) LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY SELECT g, repeat('*', g) FROM generate_series(1, n) g;
	i := 0; s := 'last'; RETURN NEXT;
END $$;
SELECT * FROM rows_of(3);
CREATE FUNCTION refs() RETURNS SETOF int LANGUAGE plpgsql AS $$
DECLARE c CURSOR FOR SELECT g FROM generate_series(1, 3) g; v int;
BEGIN
	OPEN c;
	LOOP FETCH c INTO v; EXIT WHEN NOT FOUND; RETURN NEXT v * 10; END LOOP;
	CLOSE c;
END $$;
SELECT * FROM refs();
CREATE FUNCTION syntax_error() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETRUN 1; END $$;
DO $$ BEGIN ASSERT 1 = 2, 'sums are off'; END $$;
DO $$ BEGIN RAISE SQLSTATE 'ZZ123' USING MESSAGE = 'own state', DETAIL = 'detail', COLUMN = 'col', TABLE = 'tab'; END $$;
\set VERBOSITY sqlstate
SELECT fact(-2);
\set VERBOSITY default
DROP TABLE "made by do";
DROP FUNCTION fact, chatter, rows_of, refs;
