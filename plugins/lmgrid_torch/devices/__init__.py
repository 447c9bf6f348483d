"""Graphics cards as devices."""
