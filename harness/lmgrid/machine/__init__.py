"""The machine: its processor and clock, what it is, and what else it does."""
