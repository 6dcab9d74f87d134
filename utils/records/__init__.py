"""What a run or a result was made by and of: checkpoints, the guard, provenance."""
