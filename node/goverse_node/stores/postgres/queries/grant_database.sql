SELECT format('GRANT CONNECT, CREATE ON DATABASE %I TO %I', $1::text, $2::text)
