"""What is not one of the six steps: scripts, and packages that do their work."""
