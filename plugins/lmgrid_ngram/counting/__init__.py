"""Encodes words as ids and counts n-grams of ids."""
