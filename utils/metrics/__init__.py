"""Figures of merit, as pure functions over arrays."""
