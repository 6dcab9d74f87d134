"""What tools/recognize.py does."""
