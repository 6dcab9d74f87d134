"""`python -m autospeech`, and what torchrun starts: `torchrun --nproc_per_node 8 -m autospeech train ...`."""

from autospeech.cli import main

if __name__ == "__main__":
    main()
