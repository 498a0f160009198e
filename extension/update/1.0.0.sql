-- From 1.0.0: what cannot be done by replacing functions and views.
DROP PROCEDURE sliding_sync.backfill(text, text, text, text, bigint, interval, interval, double precision, interval, boolean,
                                     boolean, bigint, bigint, bigint, bigint, boolean);
DROP FUNCTION sliding_sync.verdict_detail(text, text, text, text, text);
DROP FUNCTION sliding_sync.verdict_remedy(text, text, text, text);
