"""What tools/summarize.py and tools/draw_genotype.py say and show of a network."""
