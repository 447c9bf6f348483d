"""What went into a cell and what came out, kept in a results folder by address."""
