-- modes: session transaction
CREATE TABLE num (id int, n numeric(20, 5));
INSERT INTO num SELECT i, (i * 12345.678901)::numeric(20, 5) FROM generate_series(-3, 3) i;
INSERT INTO num VALUES (9, 1e15);
SELECT * FROM num ORDER BY id;
SELECT n, round(n, 1), trunc(n, 2), ceil(n), floor(n), scale(n), abs(n) FROM num ORDER BY id;
SELECT 2::numeric ^ 100 AS big, factorial(30), 10::numeric / 3, mod(10.5, 3), sqrt(2::numeric), ln(2::numeric), exp(1::numeric);
SELECT 'NaN'::numeric, 'Infinity'::numeric - 'Infinity'::numeric AS inf_minus_inf, 1::numeric / 0;
SELECT 1::numeric / 0;
SELECT to_char(1234567.891, '9,999,999.99'), to_char(-0.5, 'S9.99'), to_char(485, 'RN'), to_char(12, '0000'), to_char(1.5e5, '9.9EEEE');
SELECT to_number('12,454.8-', '99G999D9S'), to_number('abc', '999');
SELECT width_bucket(5.35, 0.024, 10.06, 5), min_scale(1.500), trim_scale(1.500);
SELECT sum(n), avg(n), stddev(n) FROM num;
SELECT repeat('9', 200)::numeric + 1 = ('1' || repeat('0', 200))::numeric AS carried;
DROP TABLE num;
