"""Reads grid files: TOML to a Grid, and the JSON schema of such files."""
