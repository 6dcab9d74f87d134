"""benchmark.py preprocess: how fast data_preprocess.py is over 1, 2, ... processes, and in how much memory."""

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_objects.audio import SAMPLE_RATE
from data_objects.index import load_index
from data_objects.lists import META, SPLIT, TRIALS
from data_objects.sources import LAYOUTS
from tools.benchmarks.measure import memory_mb
from tools.benchmarks.tables import Columns, format_table
from tools.corpora.simulated import make_corpus
from tools.corpora.sizes import HOURS, scale_sizes
from utils.system.errors import UserError
from utils.system.files import ROOT

SECONDS = 8.25  # an utterance, on average
INTERVAL = 0.03  # seconds between two looks at the processes
COLUMNS: Columns = {
    "hours_a_minute": ("hours/minute", "{:.1f}".format),
    "speedup": ("speed-up", "{:.2f}x".format),
    "startup_seconds": ("start-up s", "{:.1f}".format),
    "peak_mb": ("peak MB", "{:.0f}".format),
    "half": ("of the half", lambda half: f"{half['peak_mb']:.0f}"),
    "voxceleb1_hours": ("hours for VoxCeleb1", "{:.2f}".format),
}


def run(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measure."""
    utterances = round(args.minutes * 60 / SECONDS)
    if utterances < 40:
        raise UserError(f"--minutes must be at least 5.5, not {args.minutes}")
    cores = os.cpu_count() or 1
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        whole = args.data_dir or Path(folder) / "corpus"
        if args.data_dir is None:
            # A process takes a speaker at a time: ten utterances each let all end as one, as 123 do of 1,251 speakers.
            make_corpus(whole, scale_sizes(utterances, utterances // 10), files="full")
        half = take_half(whole.resolve(), Path(folder) / "half")
        for workers in args.workers or numbers_of_workers(cores):
            taken = preprocess(whole, Path(folder) / "feature", workers)
            of_half = preprocess(half, Path(folder) / "feature", workers)
            runs.append({"workers": workers, **taken, "half": of_half})
            runs[-1]["speedup"] = taken["hours_a_minute"] / runs[0]["hours_a_minute"]
            runs[-1]["voxceleb1_hours"] = HOURS / taken["hours_a_minute"] / 60
    yield {"runs": runs, "cores": cores}


def numbers_of_workers(cores: int) -> list[int]:
    """1, 2, 4, ... and all cores."""
    return sorted({cores, *(2**power for power in range(cores.bit_length()))})


def take_half(data_dir: Path, folder: Path) -> Path:
    """Links to every second speaker of a corpus, with its lists."""
    folder.mkdir()
    for file in (META, SPLIT, TRIALS):
        if not (data_dir / file).is_file():
            raise UserError(f"{data_dir} has no {file}: give the folder that holds wav/ and the lists of VoxCeleb1")
        shutil.copy(data_dir / file, folder)
    for layout in LAYOUTS:
        if (data_dir / layout).is_dir():
            (folder / layout).mkdir(parents=True)
            for speaker in sorted((data_dir / layout).iterdir())[::2]:
                (folder / layout / speaker.name).symlink_to(speaker)
    return folder


def preprocess(data_dir: Path, out_dir: Path, workers: int) -> dict[str, Any]:
    """Index a corpus as a user does: its hours, seconds, hours a minute, and the most memory of all processes."""
    shutil.rmtree(out_dir, ignore_errors=True)
    options = ("--out_dir", out_dir, "--num_workers", str(workers))
    began, began_reading = time.perf_counter(), None
    highest: dict[int, float] = {}  # of each process
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            [sys.executable, "data_preprocess.py", data_dir.resolve(), *options], cwd=ROOT, stdout=output, stderr=output
        )
        while process.poll() is None:
            if began_reading is None and (out_dir / "parts").exists():  # what it does first after starting up
                began_reading = time.perf_counter()
            for pid in family_of(process.pid):
                with contextlib.suppress(OSError, UserError):  # it has just ended
                    highest[pid] = memory_mb("VmHWM", f"/proc/{pid}/status")
            time.sleep(INTERVAL)
        ended = time.perf_counter()
        output.seek(0)
        message = output.read().strip()
    if process.returncode or began_reading is None:
        raise UserError(f"data_preprocess.py {data_dir} failed: {(message or 'no message').splitlines()[-1]}")
    seconds = ended - began_reading
    hours = load_index(data_dir, out_dir).samples.sum().item() / SAMPLE_RATE / 3600
    return {
        "hours": hours,
        "startup_seconds": began_reading - began,
        "seconds": seconds,
        "hours_a_minute": hours / seconds * 60,
        "peak_mb": sum(highest.values()),
        "processes": len(highest),
    }


def family_of(pid: int) -> list[int]:
    """A process and all below it."""
    family = [pid]
    for member in family:  # which grows meanwhile
        for file in Path(f"/proc/{member}/task").glob("*/children"):
            with contextlib.suppress(OSError):  # it has just ended
                family += map(int, file.read_text().split())
    return family


def print_report(report: dict[str, Any]) -> None:
    """A report, for people."""
    runs = report["runs"]
    print(f"{runs[0]['hours']:.2f} hours, and {runs[0]['half']['hours']:.2f} of them; {report['cores']} cores")
    print(format_table({str(taken["workers"]): taken for taken in runs}, COLUMNS, "processes"))
