"""Words to ids, and ids to the counts of their n-grams."""
