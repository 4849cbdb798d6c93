-- modes: session transaction
SELECT 'first'
  ' - second' AS joined;
SELECT E'tab\there', U&'d\0061t\+000061', $$dollar 'quoted'$$, $tag$with $$ inside$tag$;
SELECT substring('hello world' FROM 7 FOR 3), position('o' IN 'hello'), overlay('abcdef' PLACING 'XX' FROM 3 FOR 2), trim(BOTH 'x' FROM 'xxhixx');
SELECT lpad('7', 3, '0'), rpad('ab', 5, '*'), repeat('ab', 3), reverse('stressed'), initcap('hELLO wORLD'), translate('12345', '143', 'ax');
SELECT split_part('a,b,c', ',', 2), split_part('a,b,c', ',', -1), string_to_array('a||b', '|'), array_to_string(ARRAY['x', NULL, 'y'], ',', '*');
SELECT regexp_replace('foobarbaz', 'b(..)', 'X\1Y', 'g'), regexp_match('abc123', '([a-z]+)(\d+)'), regexp_split_to_array('a1b22c', '\d+');
SELECT regexp_matches('foo bar', '(unclosed');
SELECT 'abc' LIKE 'a_c', 'a%c' LIKE 'a\%c', 'ABC' ILIKE 'abc', 'abc' SIMILAR TO '(a|b)%';
SELECT format('%s and %I and %L and %%', 'one', 'Two Words', 'it''s'), quote_ident('select'), quote_literal(E'a\\b'), quote_nullable(NULL);
SELECT concat('a', NULL, 1), concat_ws('-', 'a', NULL, 'b'), length('äöü'), octet_length('äöü'), char_length('日本'), ascii('€'), chr(8364);
SELECT md5('abc'), encode(sha256('abc'), 'hex'), encode('\x0001ff'::bytea, 'base64'), encode('\x0001ff'::bytea, 'escape'), decode('616263', 'hex');
SELECT 'abc'::char(5) || '|' AS padded, 'abc  '::char(5) = 'abc' AS equal, 'toolong'::varchar(3);
CREATE TABLE s (v varchar(3));
INSERT INTO s VALUES ('four');
INSERT INTO s VALUES ('ok ' || '   ');
SELECT v || '|' FROM s;
DROP TABLE s;
SELECT string_agg(x, ', ' ORDER BY x DESC) FROM (VALUES ('b'), ('a'), ('c')) t (x);
SELECT 'nul' || chr(0);
SELECT unistr('\0441\043B\043E\043D'), normalize(U&'e\0301') = U&'\00e9' AS composed, 'e' < 'é' COLLATE "C" AS c_order;
