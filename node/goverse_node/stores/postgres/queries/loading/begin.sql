-- The rows are collected in temporary tables first. LIKE gives columns of later releases their defaults.
SET LOCAL statement_timeout = 0;
CREATE TEMPORARY TABLE loaded_objects (LIKE goverse.objects INCLUDING DEFAULTS) ON COMMIT DROP;
CREATE TEMPORARY TABLE loaded_replies (LIKE goverse.replies INCLUDING DEFAULTS) ON COMMIT DROP;
CREATE TEMPORARY TABLE loaded_outbox (LIKE goverse.outbox INCLUDING DEFAULTS) ON COMMIT DROP;
CREATE TEMPORARY TABLE loaded_receipts (LIKE goverse.receipts INCLUDING DEFAULTS) ON COMMIT DROP;
CREATE TEMPORARY TABLE loaded_finished_calls (LIKE goverse.finished_calls INCLUDING DEFAULTS) ON COMMIT DROP;
-- Reads and commits wait until the load has ended, and then see its objects.
LOCK TABLE goverse.objects, goverse.replies, goverse.outbox, goverse.receipts, goverse.finished_calls
    IN ACCESS EXCLUSIVE MODE;
