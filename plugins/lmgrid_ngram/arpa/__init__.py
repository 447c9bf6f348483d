"""Models as ARPA files, read and written."""
