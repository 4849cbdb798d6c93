-- modes: session transaction
SELECT to_tsvector('english', 'The quick brown foxes jumped over lazy dogs'), to_tsquery('english', 'jump & fox'), plainto_tsquery('english', 'lazy dog'), websearch_to_tsquery('english', '"brown fox" -cat');
SELECT to_tsvector('simple', 'a b c') @@ to_tsquery('simple', 'a & !d'), to_tsquery('simple', 'a &');
SELECT to_tsquery('simple', 'a &');
SELECT ts_headline('english', 'the foxes are quick', to_tsquery('english', 'fox')), ts_rank(to_tsvector('simple', 'a b a'), to_tsquery('simple', 'a')) > 0 AS ranked;
CREATE TABLE docs (id int, body text, v tsvector GENERATED ALWAYS AS (to_tsvector('english', body)) STORED);
INSERT INTO docs VALUES (1, 'PostgreSQL pools connections'), (2, 'wallets sign in');
CREATE INDEX docs_v ON docs USING gin (v);
SELECT id FROM docs WHERE v @@ to_tsquery('english', 'pool');
SELECT 'a:1 b:2'::tsvector || 'c:1'::tsvector, setweight('a:1'::tsvector, 'A'), strip('a:1'::tsvector);
DROP TABLE docs;
