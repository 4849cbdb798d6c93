-- modes: session transaction
\pset format csv
SELECT 1 AS a, 'x,y' AS b, NULL AS c;
\pset format unaligned
\pset tuples_only on
SELECT 1, 'two', NULL;
\pset tuples_only off
\pset format html
SELECT '<tag>' AS h;
\pset format aligned
\pset null '(null)'
\pset border 2
SELECT 1 AS a, NULL AS b, E'two\nlines' AS c;
\pset border 1
\pset expanded auto
SELECT 'v' AS k;
\pset expanded off
SELECT 1 AS "dup", 2 AS "dup", 3 AS "?column?";
SELECT 1 AS ""
;
SELECT NULL::int, ''::text, ' '::text;
\pset null ''
\timing off
