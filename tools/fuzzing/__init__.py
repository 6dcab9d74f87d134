"""Broken inputs, and whether what reads them refuses them clearly: tools/fuzz.py."""
