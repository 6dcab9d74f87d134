"""Tests; the modules mirror the packages, and `helpers` holds what several of them need."""
