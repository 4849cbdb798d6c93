-- modes: session transaction
SELECT 'NaN'::float8, 'Infinity'::float8, '-inf'::float4, 1e308::float8, '1e400'::float8;
SELECT 1e-40::float4, 0.1::float4, 0.1::float8, 0.1::float4::float8;
SELECT 3.5::float8::int, 2.5::float8::int, (-2.5)::float8::int, 1e10::float8::int;
SELECT sqrt(2.0::float8), exp(1.0::float8), ln(10.0::float8), power(2.0::float8, 0.5), cbrt(27.0::float8);
SELECT sqrt(-1.0::float8);
SELECT ln(0.0::float8);
SELECT sind(30), cosd(60), tand(45), atan2d(1, 1);
SELECT 'NaN'::float8 = 'NaN'::float8 AS nan_equal, 'NaN'::float8 > 'Infinity'::float8 AS nan_gt;
SELECT trunc(-1.7::float8), ceil(-1.2::float8), floor(-1.2::float8), round(0.5::float8), round(1.5::float8), sign(-3::float8);
SET extra_float_digits = 0;
SELECT 0.1::float8 + 0.2::float8;
RESET extra_float_digits;
SELECT 0.1::float8 + 0.2::float8;
SELECT stddev_pop(x), var_samp(x), corr(x, y), regr_slope(y, x) FROM (VALUES (1.0::float8, 2.0::float8), (2, 4), (3, 6.5)) t (x, y);
