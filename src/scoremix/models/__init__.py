"""Models: cells, the piecewise polynomial of one noise level, and the ladder of levels."""
