"""Cells to outcomes: planned, scheduled, and each run in a process that may die."""
