"""AutoSpeech: neural architecture search for speaker recognition. `from autospeech import Recognizer, Voices`."""

import importlib
from typing import Any

__version__ = "0.1.0"

# What a program may import from here, and where it lives; found when it is asked for, since it needs torch.
_PLACES = {
    "Recognizer": "utils.recognition.recognizer",
    "Voices": "utils.recognition.voices",
    "UserError": "utils.system.errors",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for.

    Raises:
        AttributeError: there is no such name.
        ImportError: its module is not in this installation.
    """
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; there are {', '.join(_PLACES)}")
    place = f"autospeech.library.{_PLACES[name]}"
    try:
        return vars(importlib.import_module(place))[name]
    except ModuleNotFoundError as error:
        if error.name != place:
            raise  # a package that it needs
        raise ImportError(f"this installation of autospeech has no {name} ({_PLACES[name]} is missing)") from error
