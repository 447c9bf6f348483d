"""Plugins found and checked, and their parts by kind and name."""
