"""What evaluations leave, for people."""
