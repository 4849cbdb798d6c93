-- modes: session transaction
BEGIN;
DECLARE c CURSOR FOR SELECT i FROM generate_series(1, 1000) i;
FETCH 2 FROM c;
SELECT 'other work between';
FETCH 2 FROM c;
SAVEPOINT s;
DECLARE d CURSOR FOR SELECT 1 / i FROM generate_series(1, 0, -1) i;
FETCH 1 FROM d;
FETCH 1 FROM d;
ROLLBACK TO s;
FETCH 1 FROM c;
FETCH 1 FROM d;
ROLLBACK;
