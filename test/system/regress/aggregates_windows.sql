-- modes: session transaction
CREATE TABLE sales (dept text, who text, amount numeric, at date);
INSERT INTO sales SELECT CASE WHEN i % 3 = 0 THEN 'x' WHEN i % 3 = 1 THEN 'y' ELSE 'z' END, 'p' || i % 4, i * 10, date '2024-01-01' + i FROM generate_series(1, 12) i;
SELECT dept, sum(amount), count(*) FILTER (WHERE amount > 50), array_agg(amount ORDER BY amount) FROM sales GROUP BY dept ORDER BY dept;
SELECT dept, who, sum(amount), grouping(dept, who) FROM sales GROUP BY GROUPING SETS ((dept), (who), ()) ORDER BY 4, 1, 2;
SELECT dept, who, sum(amount) FROM sales GROUP BY ROLLUP (dept, who) ORDER BY dept NULLS LAST, who NULLS LAST;
SELECT who, amount, rank() OVER w, lag(amount, 1, 0::numeric) OVER w, sum(amount) OVER (w ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM sales WINDOW w AS (PARTITION BY who ORDER BY amount) ORDER BY who, amount;
SELECT amount, ntile(3) OVER (ORDER BY amount), percent_rank() OVER (ORDER BY amount), first_value(amount) OVER (ORDER BY amount DESC) FROM sales ORDER BY amount LIMIT 4;
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY amount), mode() WITHIN GROUP (ORDER BY dept) FROM sales;
SELECT dept FROM sales GROUP BY dept HAVING avg(amount) > 65 ORDER BY dept;
SELECT sum(amount) OVER (ORDER BY at RANGE BETWEEN '2 days' PRECEDING AND CURRENT ROW) FROM sales ORDER BY at LIMIT 3;
SELECT sum(sum(amount)) FROM sales;
SELECT rank() FROM sales;
DROP TABLE sales;
