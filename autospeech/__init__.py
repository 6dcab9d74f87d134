"""AutoSpeech: neural architecture search for speaker recognition. `from autospeech import Recognizer, Voices`."""

__version__ = "0.1.0"
