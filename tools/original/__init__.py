"""Networks that the authors' code trained."""
