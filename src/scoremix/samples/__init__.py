"""Samples: where they come from, how they are walked in chunks, and the tables they are read from."""
