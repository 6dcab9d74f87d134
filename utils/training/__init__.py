"""A network is trained."""
