"""The HTTP server of GoVerse. It depends on links and catalogs, never on users' classes or on a store."""
