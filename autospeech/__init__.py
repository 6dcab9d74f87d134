"""AutoSpeech, installed: the command `autospeech`, and a trained network in use.

    from autospeech import Recognizer, Voices

The project's own code lies in a folder of this package, `root`, and not beside it: `utils` and `models` are names that
others have, too. In a checkout it is the folder above.
"""

import importlib
import sys
from pathlib import Path
from typing import Any

__version__ = "0.1.0"
ROOT = next(path for path in (Path(__file__).with_name("root"), Path(__file__).parents[1]) if path.is_dir())
PUBLIC = {"Recognizer": "utils.recognition.recognizer", "Voices": "utils.recognition.voices"}


def use_root() -> None:
    """Let the project's modules be found, before any other of their names."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))


def __getattr__(name: str) -> Any:
    if name not in PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    use_root()
    return getattr(importlib.import_module(PUBLIC[name]), name)
