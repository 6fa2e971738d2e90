INSERT INTO goverse.objects SELECT * FROM loaded_objects;
INSERT INTO goverse.replies SELECT * FROM loaded_replies;
ANALYZE goverse.objects;
