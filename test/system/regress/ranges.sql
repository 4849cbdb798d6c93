-- modes: session transaction
SELECT int4range(1, 5), '[1,5]'::int4range, 'empty'::int4range, numrange(1.5, NULL, '(]'), daterange('2024-01-01', '2024-02-01');
SELECT int4range(1, 10) * int4range(5, 15), int4range(1, 3) + int4range(3, 5), int4range(1, 10) - int4range(5, 15), int4range(1, 3) -|- int4range(3, 5);
SELECT int4range(1, 3) + int4range(7, 9);
SELECT int4range(5, 1);
SELECT '{[1,3), [5,9)}'::int4multirange @> 6, range_agg(r) FROM (VALUES (int4range(1, 3)), (int4range(2, 7)), (int4range(9, 11))) t (r);
CREATE TABLE booking (room int, during tsrange, EXCLUDE USING gist (during WITH &&) WHERE (room = 1));
INSERT INTO booking VALUES (1, '[2024-01-01 10:00, 2024-01-01 11:00)');
INSERT INTO booking VALUES (1, '[2024-01-01 10:30, 2024-01-01 12:00)');
INSERT INTO booking VALUES (2, '[2024-01-01 10:30, 2024-01-01 12:00)');
SELECT room, lower(during), upper_inc(during), isempty(during) FROM booking ORDER BY room;
DROP TABLE booking;
