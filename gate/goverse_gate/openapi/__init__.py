"""The OpenAPI 3.1 document: one concrete path per type and method, generated from the catalog.

The same catalog always gives the same bytes, so the document can be committed and compared.
"""
