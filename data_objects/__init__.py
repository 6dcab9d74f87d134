"""From wav files on disk to batches of features."""
