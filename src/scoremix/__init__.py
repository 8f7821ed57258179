"""scoremix."""
