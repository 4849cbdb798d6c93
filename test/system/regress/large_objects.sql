-- modes: session transaction
SELECT lo_create(424242);
BEGIN;
SELECT lo_open(424242, x'60000'::int) AS fd \gset
SELECT lowrite(:fd, 'some bytes in a large object');
SELECT lo_lseek(:fd, 5, 0);
SELECT convert_from(loread(:fd, 5), 'UTF8');
SELECT lo_tell(:fd);
SELECT lo_truncate(:fd, 10);
SELECT lo_close(:fd);
COMMIT;
SELECT convert_from(lo_get(424242), 'UTF8');
SELECT lo_put(424242, 4, '\x5858');
SELECT convert_from(lo_get(424242, 0, 8), 'UTF8');
SELECT lo_from_bytea(424243, decode(repeat('00ff', 3000), 'hex'));
SELECT length(lo_get(424243)), md5(lo_get(424243));
SELECT lo_create(424242);
SELECT loread(99, 1);
SELECT lo_unlink(424242), lo_unlink(424243);
SELECT lo_unlink(424242);
