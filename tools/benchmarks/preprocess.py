"""How fast data_preprocess.py is over 1, 2, ... processes, and in how much memory.

On the corpus of --data_dir, or on noise of --minutes minutes in VoxCeleb1's layout, and on every second speaker of it,
which shows how memory grows with the corpus. Hours of audio a minute count from the end of start-up (Python, PyTorch,
lists, finding files), whose seconds stand beside them. Memory is the sum of each process's highest (VmHWM); pages that
processes share count in each. A corpus that was just made lies in the page cache; a disk may be slower: VoxCeleb1 is
40 GB. Each run writes its index to a temporary folder.
"""

import argparse
import contextlib
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tools.benchmarks.measure import ROOT, format_table, memory_mb
from utils.system.errors import UserError

SUMMARY = "hours of audio a minute, and memory, of data_preprocess.py"
VOXCELEB1_HOURS = 352
SECONDS = 8.25  # an utterance, on average
INTERVAL = 0.03  # seconds between two looks at the processes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `benchmark.py preprocess`."""
    parser.add_argument("--data_dir", type=Path, help="a corpus (default: noise, made for this)")
    parser.add_argument("--minutes", type=float, default=300, help="of noise, 1.9 MB each (default: 300)")
    parser.add_argument("--workers", nargs="+", type=int, help="processes (default: 1, 2, 4, ... and all cores)")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output, no table")


def run(args: argparse.Namespace) -> None:
    """Measure and print."""
    utterances = round(args.minutes * 60 / SECONDS)
    if utterances < 40 or min(args.workers or [1]) < 0:
        raise UserError("needed are --minutes 5.5 and --workers 0, or more")
    cores = os.cpu_count()
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        whole, half = corpora(Path(folder), args.data_dir, utterances)
        for workers in args.workers or numbers_of_workers(cores):
            taken = preprocess(whole, Path(folder) / "feature", workers)
            of_half = preprocess(half, Path(folder) / "feature", workers)
            runs.append({"workers": workers, **taken, "half": of_half})
            runs[-1]["speedup"] = taken["hours_a_minute"] / runs[0]["hours_a_minute"]
            runs[-1]["voxceleb1_hours"] = VOXCELEB1_HOURS / taken["hours_a_minute"] / 60
    report = {"runs": runs, "cores": cores}
    if args.json:
        print(json.dumps(report))
    else:
        print_table(report)


def numbers_of_workers(cores: int) -> list[int]:
    """1, 2, 4, ... and all cores."""
    return sorted({cores, *(2**power for power in range(cores.bit_length()))})


# ------------------------------------------------------------------------------------------------------------------
# Corpora
# ------------------------------------------------------------------------------------------------------------------
def corpora(folder: Path, data_dir: Path | None, utterances: int) -> tuple[Path, Path]:
    """A corpus, the one given or noise, and one of every second speaker of it; what is made is below the folder."""
    if data_dir is None:
        from tools.make_simulated_corpus import make_corpus, scale_sizes

        data_dir = folder / "corpus"
        # A process takes a speaker at a time. Ten utterances each let all end together, as 123 do of 1,251 speakers.
        make_corpus(data_dir, scale_sizes(utterances, utterances // 10), files="full")
    return data_dir, take_half(data_dir.resolve(), folder / "half")


def take_half(data_dir: Path, folder: Path) -> Path:
    """Links to every second speaker of a corpus, with its lists."""
    from data_objects.lists import META, SPLIT, TRIALS
    from data_objects.voxceleb import LAYOUTS

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


# ------------------------------------------------------------------------------------------------------------------
# One run
# ------------------------------------------------------------------------------------------------------------------
def preprocess(data_dir: Path, out_dir: Path, workers: int) -> dict:
    """Index a corpus as a user does: its hours, seconds, hours a minute, and the most memory of all processes."""
    shutil.rmtree(out_dir, ignore_errors=True)
    command = [sys.executable, "data_preprocess.py", data_dir.resolve(), "--out_dir", out_dir]
    command += ["--num_workers", str(workers)]
    began, began_reading = time.perf_counter(), None
    highest: dict[int, float] = {}  # of each process
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
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
    hours, seconds = count_hours(out_dir), ended - began_reading
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


def count_hours(out_dir: Path) -> float:
    """Hours of speech in an index."""
    from data_objects.audio import SAMPLE_RATE
    from data_objects.index import UTTERANCES

    with open(out_dir / UTTERANCES, newline="", encoding="utf-8", errors="surrogateescape") as file:
        return sum(int(row["samples"]) for row in csv.DictReader(file)) / SAMPLE_RATE / 3600


def print_table(report: dict) -> None:
    """A report, for people."""
    first = report["runs"][0]
    print(f"{first['hours']:.2f} hours, and {first['half']['hours']:.2f} of them; {report['cores']} cores")
    header = ("processes", "hours/minute", "speed-up", "start-up s", "peak MB", "of the half", "hours for VoxCeleb1")
    rows = [
        (
            str(taken["workers"]),
            f"{taken['hours_a_minute']:.1f}",
            f"{taken['speedup']:.2f}x",
            f"{taken['startup_seconds']:.1f}",
            f"{taken['peak_mb']:.0f}",
            f"{taken['half']['peak_mb']:.0f}",
            f"{taken['voxceleb1_hours']:.2f}",
        )
        for taken in report["runs"]
    ]
    print(format_table(header, rows))
