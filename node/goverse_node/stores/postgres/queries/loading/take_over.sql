INSERT INTO goverse.objects SELECT * FROM loaded_objects;
INSERT INTO goverse.replies SELECT * FROM loaded_replies;
INSERT INTO goverse.outbox SELECT * FROM loaded_outbox;
INSERT INTO goverse.receipts SELECT * FROM loaded_receipts;
SELECT goverse.lower_floors();
UPDATE loaded_finished_calls SET day = goverse.last_day(expires_ms);
INSERT INTO goverse.finished_calls SELECT * FROM loaded_finished_calls;
INSERT INTO goverse.living AS counted (kind, writer, n)
SELECT kind, 0, count(*) FROM loaded_objects WHERE state IS NOT NULL GROUP BY kind
ON CONFLICT (kind, writer) DO UPDATE SET n = counted.n + excluded.n;
ANALYZE goverse.objects;
