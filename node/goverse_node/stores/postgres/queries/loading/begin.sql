-- what is loaded is collected first; tables like ours, so that columns of later releases take their defaults
SET LOCAL statement_timeout = 0;
CREATE TEMPORARY TABLE loaded_objects (LIKE goverse.objects INCLUDING DEFAULTS) ON COMMIT DROP;
CREATE TEMPORARY TABLE loaded_replies (LIKE goverse.replies INCLUDING DEFAULTS) ON COMMIT DROP;
-- reads and commits wait until the load has ended, and then see its objects
LOCK TABLE goverse.objects, goverse.replies IN ACCESS EXCLUSIVE MODE;
