"""python -m autospeech."""

from autospeech.cli import main

main()
