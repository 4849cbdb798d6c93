-- modes: session transaction
SHOW client_encoding;
SELECT 'äöüß €uro 日本語 😀' AS text, length('日本語😀'), octet_length('日本語😀');
SET client_encoding = 'LATIN1';
SHOW client_encoding;
SELECT octet_length('x');
SELECT chr(228) || chr(246) = U&'\00e4\00f6' AS same;
SELECT chr(8364);
SELECT E'\xe4' = U&'\00e4' AS as_latin1;
RESET client_encoding;
SET client_encoding = 'no_such_encoding';
SET client_encoding = 'SQL_ASCII';
SELECT 'ascii only';
SET client_encoding = 'WIN1252';
SELECT convert_from('\x80'::bytea, 'WIN1252') = chr(8364) AS euro;
SET client_encoding = 'UTF8';
SELECT chr(8364), U&'\+01F600';
SELECT E'\xff\xfe';
CREATE TABLE "Größe" ("Länge" int);
INSERT INTO "Größe" VALUES (7);
SELECT "Länge" FROM "Größe";
SELECT nope FROM "Größe";
DROP TABLE "Größe";
\encoding
\encoding LATIN1
\encoding
\encoding UTF8
