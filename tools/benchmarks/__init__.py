"""The subcommands of tools/benchmark.py, one a module: SUMMARY, add_arguments(parser) and run(args)."""
