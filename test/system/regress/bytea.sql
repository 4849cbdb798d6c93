-- modes: session transaction
CREATE TABLE b (id int, v bytea);
INSERT INTO b VALUES (1, '\x00ff10'), (2, 'abc\000def'), (3, ''), (4, decode(repeat('ab', 5000), 'hex'));
SELECT id, length(v), md5(v), substring(v FROM 1 FOR 4) FROM b ORDER BY id;
SELECT get_byte(v, 1), get_bit(v, 8), set_byte(v, 0, 65), bit_count(v) FROM b WHERE id = 1;
SELECT get_byte(v, 5) FROM b WHERE id = 1;
SET bytea_output = escape;
SELECT v FROM b WHERE id < 3 ORDER BY id;
RESET bytea_output;
SELECT '\xzz'::bytea;
SELECT v || '\x01'::bytea FROM b WHERE id = 1;
SELECT id FROM b ORDER BY v;
SELECT convert_from('\xc3a4'::bytea, 'UTF8'), convert_to('ä', 'LATIN1');
SELECT convert_from('\xff'::bytea, 'UTF8');
DROP TABLE b;
