-- Row-level security by wallet: each wallet sees and changes its own rows alone, though all of them share the
-- connections of one service account.
--
-- Needs pg_ecdsa_claim.sql in the same database, and ecdsa_claim_key_file in the pooler. "app" stands for the service
-- account; it must own neither the table nor be a superuser, since both are above policies.

BEGIN;

CREATE TABLE notes (
	note_id	bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	wallet	text NOT NULL DEFAULT ecdsa.wallet() CHECK (wallet ~ '^0x[0-9a-f]{40}$'),
	body	text NOT NULL
);
CREATE INDEX ON notes (wallet);

ALTER TABLE notes ENABLE ROW LEVEL SECURITY;

-- In a subquery the function runs once for a query and not once for a row. For nobody it is NULL, which equals nothing.
CREATE POLICY own_rows ON notes
	USING (wallet = (SELECT ecdsa.wallet()))
	WITH CHECK (wallet = (SELECT ecdsa.wallet()));

GRANT SELECT, INSERT, UPDATE, DELETE ON notes TO app;

COMMIT;
