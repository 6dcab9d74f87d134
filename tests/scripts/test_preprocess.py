"""data_preprocess.py killed, and going on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.helpers import ROOT, environment, noise, preprocess, run_script, write_audio, write_small_corpus


def test_killed_preprocessing_goes_on(tmp_path: Path) -> None:
    """Killed without warning, it leaves no index that looks whole; -s goes on to the same result."""
    corpus = write_small_corpus(tmp_path / "corpus")
    # The last speaker takes longest: resampling is slow to start.
    write_audio(corpus / "wav" / "id10003/train/00001.wav", noise(8_000), rate=8_000)
    preprocess(corpus)
    out_dir = tmp_path / "feature"
    arguments = ["data_preprocess.py", str(corpus), "--out_dir", str(out_dir), "--num_workers", "2"]
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not list(out_dir.glob("parts/*.npz")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)  # the workers too
    assert process.wait() == -signal.SIGKILL
    assert not (out_dir / "utterances.csv").exists()
    outcome = run_script(*arguments, "-s", check=True)
    assert "taken over from an earlier run" in outcome.stdout
    for name in ("utterances.csv", "stats.npz", "rejected.csv"):
        assert (out_dir / name).read_bytes() == (corpus / "feature" / name).read_bytes()
