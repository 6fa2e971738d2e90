-- only a member of the role may make a database that the role owns, unless he is a superuser
SELECT format('GRANT %I TO CURRENT_USER', $1::text) FROM pg_roles WHERE rolname = current_user AND NOT rolsuper
