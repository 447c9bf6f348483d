"""Turns records into data frames, tables and files."""
