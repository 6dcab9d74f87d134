"""benchmark.py data: loading training crops from a preprocessed corpus, and whether training has to wait for them."""

import argparse
import itertools
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from yacs.config import CfgNode

from data_objects.corpus import Corpus
from data_objects.datasets import to_device
from models.genotypes import PAPER_GENOTYPE
from tools.benchmarks.measure import CPU, build_settings, clock, describe_machine
from tools.benchmarks.tables import format_machine, format_settings, format_table
from tools.benchmarks.train import WARM_UP, Step, build_network, load_batches, training_steps
from utils.system.device import prepare
from utils.system.errors import UserError
from utils.training.loop import to_features

ORIGINAL_CROPS_PER_SECOND = 1650  # features computed beforehand, in the page cache; measured once, on two other cores
SETTINGS = ("data_dir", "batch_size", "frames", "num_workers", "layers", "channels", "train_batch_size")
READS = {"bytes_per_crop": "rchar", "reads_per_crop": "syscr"}  # in /proc/self/io
FEWEST_STEPS = 5  # of training that are measured, however long they take


def run(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measure."""
    if not 0 < args.seconds < float("inf"):
        raise UserError(f"--seconds must be more than 0, not {args.seconds}")
    cfg = build_settings(args.device, args.batch_size, args.frames, args.data_dir, args.num_workers)
    train_cfg = build_settings(args.device, args.train_batch_size, args.frames, args.data_dir, args.num_workers)
    device = prepare(cfg)
    corpus, train_corpus = Corpus(cfg), Corpus(train_cfg)
    train_corpus.crops("train")  # told here, before anything is measured, where there are too few
    cfg.DATASET.NUM_WORKERS = 0
    report = {key: getattr(args, key) for key in SETTINGS}
    report |= {"utterances": len(corpus.rows("train"))} | describe_machine(device)
    report |= measure_rates(corpus, device, args.seconds)
    report |= measure_alone(Corpus(cfg), args.seconds)
    report |= {"training": measure_training(train_cfg, train_corpus, args, device)}
    yield report | {"original_crops_per_second": ORIGINAL_CROPS_PER_SECOND}


def measure_rates(corpus: Corpus, device: torch.device, seconds: float) -> dict[str, float]:
    """Crops/s of the loader alone, and of the loader with the front end on the device."""
    crops, front_end = corpus.crops("train"), corpus.build_front_end().to(device)
    batches = crops.endless(0)
    load(itertools.islice(batches, len(crops)), seconds)  # to warm up: an epoch, if that is shorter
    alone = crops_per_second(batches, device, seconds)
    copied = to_device(batches, device)
    to_features(next(copied), front_end, device)  # the first time is slower
    features = (to_features(batch, front_end, device) for batch in copied)
    return {
        "loader_crops_per_second": alone,
        "front_end_crops_per_second": crops_per_second(features, device, seconds),
    }


def crops_per_second(batches: Iterator[Any], device: torch.device, seconds: float) -> float:
    """The rate over so many seconds."""
    began = clock(device)
    return load(batches, seconds) / (clock(device) - began)


def load(batches: Iterator[Any], seconds: float) -> int:
    """Load for so many seconds, or until there are no more batches; returns the number of crops."""
    crops, end = 0, time.perf_counter() + seconds
    for batch in batches:
        crops += len(batch[0])
        if time.perf_counter() > end:
            break
    return crops


def measure_alone(corpus: Corpus, seconds: float) -> dict[str, float | None]:
    """What this process reads for a crop, and crops/s, where it loads without others (NUM_WORKERS 0)."""
    crops = corpus.crops("train")
    batches = crops.endless(0)
    next(batches)  # whatever is read once only: code, the index
    before = count_reads()
    loaded = load(itertools.islice(batches, len(crops)), seconds)
    after = count_reads()
    reads = {name: (after[name] - before[name]) / loaded if before else None for name in READS}
    return reads | {"loader_crops_per_second_without_workers": crops_per_second(batches, CPU, seconds)}


def count_reads() -> dict[str, int]:
    """Bytes and calls of this process's reads so far, by the names in READS; empty where the system does not tell.

    They are those of all its threads and all its files, served from the page cache or not. Besides the samples there
    may be a wav file's header, what a buffered reader fetches ahead, a library's settings, and this very file, read
    when counting begins. Files that are mapped into memory do not count.
    """
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
    except OSError:
        return {}
    counts = dict(line.split(": ") for line in lines)
    return {name: int(counts[field]) for name, field in READS.items()}


def measure_training(cfg: CfgNode, corpus: Corpus, args: argparse.Namespace, device: torch.device) -> dict[str, float]:
    """Seconds of a training step of the derived network, and the shares of waiting for data and of the front end."""
    case = {"row": "fp32", "layers": args.layers, "channels": args.channels, "frames": args.frames, "drop_path": 0.1}
    case |= {"genotype": str(PAPER_GENOTYPE), "classes": len(corpus.speakers)}
    network, _ = build_network(case, device)
    steps = training_steps(cfg, network, *load_batches(corpus, device))
    for _ in range(WARM_UP):
        next(steps)
    measured: list[Step] = []
    end = time.perf_counter() + args.seconds
    while len(measured) < FEWEST_STEPS or time.perf_counter() < end:
        measured.append(next(steps))
    return {
        "steps": len(measured),
        "seconds": statistics.median(step.seconds for step in measured),
        "waiting_share": statistics.median(step.waiting / step.seconds for step in measured),
        "mean_waiting_share": sum(step.waiting for step in measured) / sum(step.seconds for step in measured),
        "front_end_share": statistics.median(step.front_end / step.seconds for step in measured),
    }


def print_report(report: dict[str, Any]) -> None:
    """A report, for people."""
    settings = format_settings(report, ("batch_size", "frames", "num_workers"))
    print(f"\n{settings}; {report['utterances']:,} utterances; {format_machine(report)}")
    names = {
        f"loader, {report['num_workers']} workers": "loader_crops_per_second",
        "loader and front end": "front_end_crops_per_second",
        "loader, 0 workers": "loader_crops_per_second_without_workers",
        "original, features cached (another day)": "original_crops_per_second",
    }
    rows = {name: {"rate": report[key]} for name, key in names.items()}
    print(format_table(rows, {"rate": ("crops/s", "{:.0f}".format)}))
    if report["bytes_per_crop"] is not None:
        print(f"read for a crop: {report['bytes_per_crop']:,.0f} bytes in {report['reads_per_crop']:.2f} calls")
    training = report["training"]
    print(
        f"training step ({report['layers']} cells, {report['channels']} channels, batch {report['train_batch_size']}): "
        f"{training['seconds']:.4f} s, of which waiting for data {training['waiting_share']:.2%} "
        f"(mean {training['mean_waiting_share']:.2%}), front end {training['front_end_share']:.2%}"
    )
