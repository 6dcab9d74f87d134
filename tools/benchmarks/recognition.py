"""benchmark.py recognition: who is recognised by whom, strangers among them, and how long a recording takes."""

import argparse
import importlib.util
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data_objects.frontend import pad_reflect
from data_objects.index import load_index
from data_objects.lists import TRIALS, find_list, read_trials, speaker_of
from tools.benchmarks.measure import describe_machine
from tools.benchmarks.tables import format_heading
from utils.recognition.export import PACKAGES, export_onnx, open_session, try_sounds
from utils.recognition.network import build_trained
from utils.recognition.recognizer import Recognizer
from utils.recognition.voices import Voices
from utils.system.errors import UserError

SETTINGS = ("run", "data_dir", "enrolment", "prior")
ROUNDS = 21  # of a window by onnxruntime and by PyTorch; the first is not counted
HALVES = 2  # of the speakers: each half is enrolled in turn, and the other one is unknown


def run(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measure."""
    began = time.perf_counter()
    recognizer = Recognizer.load(args.run, args.device, prior=args.prior)
    loading = time.perf_counter() - began
    if recognizer.calibration is None:
        raise UserError(f"{args.run} has no calibration.json, and so no decisions: run evaluate_verification.py first")
    utterances = find_utterances(args.data_dir, args.enrolment)
    names = [name for of_speaker in utterances.values() for name, _ in of_speaker]
    files = [file for of_speaker in utterances.values() for _, file in of_speaker]
    recognizer.embed(files[0])  # whatever is slower the first time
    began = time.perf_counter()
    vectors = dict(zip(names, map(recognizer.embed, files), strict=True))
    seconds = time.perf_counter() - began
    heard = sum(recognizer.listen(file).seconds for file in files)
    of_speakers = {speaker: [vectors[name] for name, _ in own] for speaker, own in utterances.items()}
    counts = recognise(recognizer, of_speakers, args.enrolment, args.seed)
    yield (
        {
            "run": str(args.run),
            "data_dir": str(args.data_dir),
            "enrolment": args.enrolment,
            "prior": recognizer.prior,
            "threshold": recognizer.decide(0.0).threshold,
            "speakers": len(utterances),
            "counts": counts,
            "shares": shares(counts),
            "recordings": len(files),
            "seconds_to_load": loading,
            "seconds_a_recording": seconds / len(files),
            "real_time_factor": seconds / heard,
            "threads": torch.get_num_threads(),
        }
        | measure_onnx(recognizer)
        | describe_machine(recognizer.trained.device)
    )


def measure_onnx(recognizer: Recognizer) -> dict[str, float | None]:
    """Milliseconds of a window of the training's length, by onnxruntime and by PyTorch in turn, on one thread; MB."""
    names = ("onnx_ms_a_window", "torch_ms_a_window", "onnx_mb")
    if any(importlib.util.find_spec(package) is None for package in PACKAGES):
        return dict.fromkeys(names)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        said = export_onnx(recognizer, path)
        session = open_session(path, threads=1)
        checkpoint = recognizer.trained.checkpoint
        folded = build_trained(checkpoint, path, torch.device("cpu"), folds_norms=True)
        window = try_sounds(int(said["metadata"]["window_samples"]))[:1]
        padded = torch.from_numpy(pad_reflect(window[0])[None])

        def by_torch() -> None:
            with torch.inference_mode():
                folded.network.embed(folded.front_end(padded))

        times = [[_time(lambda: session.run(None, {"waveform": window})), _time(by_torch)] for _ in range(ROUNDS)]
    torch.set_num_threads(before)
    onnx, own = 1000 * np.median(times[1:], axis=0)
    return dict(zip(names, (float(onnx), float(own), said["bytes"] / 1e6), strict=True))


def _time(act: Callable[[], object]) -> float:
    """Seconds."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def find_utterances(data_dir: Path, enrolment: int) -> dict[str, list[tuple[str, Path]]]:
    """Of the speakers of the corpus's trials that have more utterances than enrolment takes: names and files."""
    index = load_index(data_dir, data_dir / "feature")
    tested = set(read_trials(find_list(data_dir, index.feature_dir, TRIALS)).speakers)
    found: dict[str, list[tuple[str, Path]]] = defaultdict(list)
    for row, name in enumerate(index.utterances):
        if speaker_of(name) in tested:
            found[speaker_of(name)].append((name, index.location(row)[0]))
    able = {speaker: own for speaker, own in sorted(found.items()) if len(own) > enrolment}
    if len(able) < HALVES:
        raise UserError(f"{data_dir}: fewer than {HALVES} speakers of {TRIALS} have more than {enrolment} utterances")
    return able


def recognise(
    recognizer: Recognizer, vectors: dict[str, list[np.ndarray]], enrolment: int, seed: int
) -> dict[str, int]:
    """How many recordings of known and of unknown voices were recognised rightly, missed, taken for somebody else."""
    order = np.random.default_rng(seed).permutation(len(vectors))
    speakers = [list(vectors)[place] for place in order]
    counts: Counter[str] = Counter(dict.fromkeys(("right", "missed", "confused", "rejected", "false_alarms"), 0))
    for half in range(HALVES):
        known = speakers[half::HALVES]
        voices = Voices(recognizer)
        for speaker in known:
            voices.add(speaker, np.stack(vectors[speaker][:enrolment]), check=False)
        for speaker, own in vectors.items():
            for vector in own[enrolment:]:
                counts[outcome(voices.identify_embedding(vector, 1).name, speaker, speaker in known)] += 1
    return dict(counts)


def outcome(name: str | None, speaker: str, is_known: bool) -> str:
    """What became of a recording."""
    if not is_known:
        return "rejected" if name is None else "false_alarms"
    return "missed" if name is None else "right" if name == speaker else "confused"


def shares(counts: dict[str, int]) -> dict[str, float]:
    """In per cent: of known voices right, missed and confused; of unknown ones the false alarms."""
    known = counts["right"] + counts["missed"] + counts["confused"]
    unknown = counts["rejected"] + counts["false_alarms"]
    of_known = {name: 100 * counts[name] / known for name in ("right", "missed", "confused")}
    return of_known | {"false_alarms": 100 * counts["false_alarms"] / unknown}


def print_report(report: dict[str, Any]) -> None:
    """For people."""
    counts, of = report["counts"], report["shares"]
    known = counts["right"] + counts["missed"] + counts["confused"]
    unknown = counts["rejected"] + counts["false_alarms"]
    facts = f"{report['speakers']} speakers, half of them known", f"threads {report['threads']}"
    print(format_heading(report, SETTINGS, *facts))
    print(
        f"known voices: {known:,} recordings: right {of['right']:.1f} %, missed {of['missed']:.1f} %, "
        f"taken for another {of['confused']:.1f} %"
    )
    print(f"unknown voices: {unknown:,} recordings: false alarms {of['false_alarms']:.1f} %")
    print(
        f"loading {report['seconds_to_load']:.2f} s, a recording {1000 * report['seconds_a_recording']:.1f} ms, "
        f"real-time factor {report['real_time_factor']:.4f}"
    )
    if report["onnx_mb"] is not None:
        print(
            f"ONNX: {report['onnx_mb']:.1f} MB, a window {report['onnx_ms_a_window']:.1f} ms on one thread, "
            f"by PyTorch {report['torch_ms_a_window']:.1f} ms"
        )
