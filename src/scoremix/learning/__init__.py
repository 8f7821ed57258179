"""Learning: statistics of chunks, small solves, warm starts and the score regression built from them."""
