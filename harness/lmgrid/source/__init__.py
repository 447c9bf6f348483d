"""Which code decides a number, and what it means."""
