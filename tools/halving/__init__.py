"""Searching by training candidates: random search with successive halving."""
