"""A genotype is searched for."""
