"""Readers of documents, one a format: bytes in, pages of text out. Found by content type in ``readers.READERS``."""
