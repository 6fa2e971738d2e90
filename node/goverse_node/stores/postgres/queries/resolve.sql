SELECT now_session AS session, latest_batch AS batch, latest_base AS base, latest_refused AS refused FROM goverse.resolve($1)
