"""A trained network in use: embeddings, identification, verification."""
