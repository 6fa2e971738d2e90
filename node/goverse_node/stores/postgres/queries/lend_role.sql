-- only a superuser or a member of the role may create a database that the role owns
SELECT format('GRANT %I TO CURRENT_USER', $1::text) FROM pg_roles WHERE rolname = current_user AND NOT rolsuper
