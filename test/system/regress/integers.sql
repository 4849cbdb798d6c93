-- modes: session transaction
CREATE TABLE ints (a int2, b int4, c int8);
INSERT INTO ints VALUES (1, 2, 3), (-32768, -2147483648, -9223372036854775808), (32767, 2147483647, 9223372036854775807);
INSERT INTO ints VALUES (32768, 0, 0);
INSERT INTO ints VALUES (0, 2147483648, 0);
INSERT INTO ints VALUES (0, 0, 9223372036854775808);
SELECT * FROM ints ORDER BY a;
SELECT a + 1::int2 FROM ints ORDER BY a;
SELECT b / 0 FROM ints;
SELECT 7 % -3 AS m, -7 / 2 AS d, div(-7, 2) AS dv, gcd(48, 18), lcm(4, 6);
SELECT 1::int4 << 31 AS shifted, ~5 AS inv, 5 # 3 AS bxor, 12 & 10 AS band, 12 | 3 AS bor;
SELECT to_hex(255), '0x10'::text, 1_000 AS maybe_syntax;
SELECT sum(a), avg(b), max(c), min(c) FROM ints;
SELECT ' 42 '::int4, '4 2'::int4;
SELECT generate_series(9223372036854775805, 9223372036854775807);
DROP TABLE ints;
