"""Running, logging, measuring: what the scripts share and the networks do not know."""
