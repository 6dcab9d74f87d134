"""tools/benchmark.py: `options` reads its command line, `run` does what it says, by a module a command."""
