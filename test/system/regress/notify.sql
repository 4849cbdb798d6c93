-- modes: session
LISTEN chan;
LISTEN "Other Chan";
NOTIFY chan, 'payload one';
SELECT pg_notify('Other Chan', 'from function');
SELECT pg_listening_channels();
BEGIN;
NOTIFY chan, 'held back until commit';
SELECT 'inside';
COMMIT;
BEGIN;
NOTIFY chan, 'never';
ROLLBACK;
UNLISTEN chan;
NOTIFY chan, 'nobody hears';
UNLISTEN *;
SELECT count(*) FROM pg_listening_channels();
SELECT pg_notify('', 'no channel');
