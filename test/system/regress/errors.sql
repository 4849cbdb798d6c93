-- modes: session transaction
SELECT 1 / 0;
SELEC 1;
SELECT * FROM no_such_table;
SELECT no_such_column FROM pg_class;
SELECT no_such_function(1);
SELECT 'unterminated;
';
SELECT 1 +;
SELECT (1;
);
SELECT "quoted name";
INSERT INTO pg_class VALUES (1);
SELECT 'a'::int;
SELECT cast('2024-13-01' AS date);
SELECT 1 WHERE 'a' = 1;
SELECT count(*) FROM pg_class GROUP BY;
SELECT sum('x');
CREATE TABLE pg_class (a int);
DROP TABLE public.pg_class;
CREATE TABLE bad (a nosuchtype);
DROP TABLE nope;
DROP VIEW nope;
DROP FUNCTION nope();
ALTER TABLE nope ADD a int;
SET no_such_setting = 1;
SET work_mem = 'lots';
SHOW no_such_setting;
RESET no_such_setting;
SELECT repeat('x', 2000000000);
SELECT pg_sleep('soon');
SELECT set_config('work_mem', '-5', false);
\set VERBOSITY sqlstate
SELECT 1 / 0;
SELECT * FROM no_such_table;
\set VERBOSITY terse
SELECT 1 / 0;
\set VERBOSITY default
\set ON_ERROR_ROLLBACK on
BEGIN;
SELECT 1 / 0;
SELECT 'still fine';
COMMIT;
\set ON_ERROR_ROLLBACK off
\echo :LAST_ERROR_MESSAGE :LAST_ERROR_SQLSTATE :ERROR :SQLSTATE :ROW_COUNT
