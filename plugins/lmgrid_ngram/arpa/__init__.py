"""Reads and writes backoff models as ARPA files."""
