SELECT count(*) FROM pg_stat_activity
WHERE application_name = 'goverse' AND datname = current_database() AND pid <> pg_backend_pid()
