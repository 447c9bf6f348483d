"""Estimates a backoff model from counts under each smoothing, and prunes it."""
