"""Corpora that are made, not recorded: what tools/make_*.py write."""
