"""Records to frames, compared lines and tables, and these to text and files."""
