"""silent.csv: what is silent, as preprocessing found it."""

from pathlib import Path

import numpy as np
import pytest

from data_objects.silence import SILENT, read_silent
from tests.helpers import preprocess, write_audio, write_small_corpus
from utils.system.errors import UserError


def test_silent_utterances(tmp_path: Path) -> None:
    """Those whose samples are all zero; written anew with every index, and not there before there was the file."""
    folder = write_small_corpus(tmp_path)
    assert read_silent(folder / "feature") == set()
    preprocess(folder)
    assert (folder / "feature" / SILENT).read_text() == "utterance\n"
    name = "id10002/test/00001.wav"
    write_audio(folder / "wav" / name, np.zeros(16_000, dtype=np.float32))
    preprocess(folder)
    assert read_silent(folder / "feature") == {name}


@pytest.mark.parametrize("content", ["", "name\n", "utterance\na,b\n", None])
def test_damaged_file(tmp_path: Path, content: str | None) -> None:
    """It is named, with what to do."""
    if content is None:
        (tmp_path / SILENT).mkdir()
    else:
        (tmp_path / SILENT).write_text(content)
    with pytest.raises(UserError, match=r"silent\.csv .*run data_preprocess\.py again"):
        read_silent(tmp_path)
