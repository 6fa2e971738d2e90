"""The gate: the web face of GoVerse. It knows links and catalogs, never a user's classes or a store."""
