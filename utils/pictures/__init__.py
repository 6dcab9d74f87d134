"""Arrays in, figure out."""
