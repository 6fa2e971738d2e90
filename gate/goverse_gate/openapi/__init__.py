"""The OpenAPI 3.1 document: one concrete path per type and method, made from the catalog.

The same catalog gives the same document, byte for byte, so that it can be committed and compared.
"""
