-- modes: session transaction
CREATE SCHEMA catalog_test;
CREATE TABLE catalog_test.t (id int PRIMARY KEY, v text DEFAULT 'x');
CREATE VIEW catalog_test.v AS SELECT * FROM catalog_test.t;
CREATE FUNCTION catalog_test.f(int) RETURNS int LANGUAGE sql AS 'SELECT $1';
\dn catalog_test
\dt catalog_test.*
\dv catalog_test.*
\d catalog_test.t
\d+ catalog_test.v
\df catalog_test.*
\sf catalog_test.f
\dT+ catalog_test.*
\dp catalog_test.t
\d missing.relation
SELECT n.nspname, c.relname, c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE nspname = 'catalog_test' ORDER BY 2;
SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'catalog_test' ORDER BY 1, ordinal_position;
SELECT 'catalog_test.t'::regclass, to_regclass('nope'), 'nope'::regclass;
SELECT pg_typeof(1), pg_typeof('x'), pg_typeof(NULL), pg_typeof(ARRAY[1.0]);
DROP SCHEMA catalog_test;
DROP SCHEMA catalog_test CASCADE;
