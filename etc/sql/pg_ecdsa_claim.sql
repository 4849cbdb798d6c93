-- Verifies, inside PostgreSQL, which wallet pg-ecdsa-proxy says a session belongs to.
--
-- The pooler sets ecdsa.claim whenever it gives a client a server connection:
--
--     v1|WALLET|DATABASE|BACKEND PID|EXPIRES|HMAC-SHA-256 of everything before this bar
--
-- ecdsa.wallet() returns the wallet, in lower case, or NULL when the claim is absent, forged, expired, or made for
-- another database or another connection. Policies and defaults call it; they must treat NULL as nobody.
--
-- Run this once in each database, as a superuser or as somebody who may create extensions and schemas. Whoever runs it
-- owns the key. It may be run again. Then:
--
--     SELECT ecdsa.add_key(decode('64 hexadecimal digits', 'hex'));
--
-- with what stands in the pooler's ecdsa_claim_key_file. To change the key: add the new one here, put it into that
-- file, RELOAD the pooler, and delete the old one after ecdsa_claim_ttl (a day where pool_mode is session). The two
-- newest keys are valid at the same time.

BEGIN;

CREATE EXTENSION IF NOT EXISTS pgcrypto;

CREATE SCHEMA IF NOT EXISTS ecdsa;
GRANT USAGE ON SCHEMA ecdsa TO PUBLIC;

CREATE TABLE IF NOT EXISTS ecdsa.claim_keys (
	key_id	bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	key	bytea NOT NULL CHECK (pg_catalog.octet_length(key) = 32),
	added	timestamptz NOT NULL DEFAULT pg_catalog.now()
);
REVOKE ALL ON ecdsa.claim_keys FROM PUBLIC;

-- pgcrypto may be installed in any schema; its hmac() is called by its full name, whatever search_path says.
DO $install$
DECLARE
	crypto name := (SELECT n.nspname FROM pg_catalog.pg_extension e
			JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pgcrypto');
BEGIN
	EXECUTE pg_catalog.format($function$
		CREATE OR REPLACE FUNCTION ecdsa.hmac_sha256(data bytea, key bytea) RETURNS bytea
		LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
		AS 'SELECT %I.hmac(data, key, ''sha256'')'$function$, crypto);
END
$install$;
REVOKE ALL ON FUNCTION ecdsa.hmac_sha256(bytea, bytea) FROM PUBLIC;

CREATE OR REPLACE FUNCTION ecdsa.wallet() RETURNS text
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
	claim text := pg_catalog.current_setting('ecdsa.claim', true);
	part text[];
	said bytea;
	sum bytea;
	k bytea;
BEGIN
	IF claim IS NULL OR claim = '' THEN
		RETURN NULL;
	END IF;
	-- The database may hold bars itself; the fields behind it cannot.
	part := pg_catalog.regexp_match(claim,
		'^(v1\|(0x[0-9a-f]{40})\|(.*)\|([0-9]{1,10})\|([0-9]{1,15}))\|([0-9a-f]{64})$');
	IF part IS NULL
	   OR part[3] <> pg_catalog.current_database()::text
	   OR part[4]::bigint <> pg_catalog.pg_backend_pid()
	   OR part[5]::bigint <= EXTRACT(epoch FROM pg_catalog.clock_timestamp()) THEN
		RETURN NULL;
	END IF;
	said := pg_catalog.convert_to(part[1], pg_catalog.getdatabaseencoding());
	sum := pg_catalog.decode(part[6], 'hex');
	FOR k IN SELECT c.key FROM ecdsa.claim_keys c ORDER BY c.key_id DESC LIMIT 2 LOOP
		-- Hashed once more, so that how long the comparison takes says nothing about the right sum.
		IF ecdsa.hmac_sha256(ecdsa.hmac_sha256(said, k), k) = ecdsa.hmac_sha256(sum, k) THEN
			RETURN part[2];
		END IF;
	END LOOP;
	RETURN NULL;
END
$function$;
REVOKE ALL ON FUNCTION ecdsa.wallet() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ecdsa.wallet() TO PUBLIC;

-- A new key becomes valid beside the newest there is; older ones go.
CREATE OR REPLACE FUNCTION ecdsa.add_key(new_key bytea) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
	DELETE FROM ecdsa.claim_keys c
	WHERE c.key_id NOT IN (SELECT newest.key_id FROM ecdsa.claim_keys newest ORDER BY newest.key_id DESC LIMIT 1);
	INSERT INTO ecdsa.claim_keys (key) VALUES (new_key) RETURNING key_id;
$function$;
REVOKE ALL ON FUNCTION ecdsa.add_key(bytea) FROM PUBLIC;

-- Ends the change of a key: only the newest stays valid.
CREATE OR REPLACE FUNCTION ecdsa.drop_old_keys() RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
	DELETE FROM ecdsa.claim_keys c
	WHERE c.key_id NOT IN (SELECT newest.key_id FROM ecdsa.claim_keys newest ORDER BY newest.key_id DESC LIMIT 1);
$function$;
REVOKE ALL ON FUNCTION ecdsa.drop_old_keys() FROM PUBLIC;

COMMIT;
