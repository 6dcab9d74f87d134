"""Comparing many trainings under one recipe."""
