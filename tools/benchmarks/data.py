"""Loading training crops from a preprocessed corpus, and whether training has to wait for them.

Crops/s are those of the loader alone and with the front end on the device, over epoch after epoch for --seconds, after
an epoch (or --seconds, if that is shorter) to warm up; and those of a loader without processes of its own. Bytes and
calls a crop are what the system counted of this process's reads while it loaded without others. Waiting is the share of
a training step of the derived network that goes by until the loader has its next batch; every step is waited for, so
that on a GPU this is an upper bound. An epoch of a small corpus is short, and each begins with empty hands: the loader
of a large one is faster.
"""

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.benchmarks.measure import build_settings, clock, describe_machine, format_table
from tools.benchmarks.train import WARM_UP, build_network, load_batches, training_steps
from utils.system.errors import UserError

if TYPE_CHECKING:
    import torch
    from yacs.config import CfgNode

    from data_objects.corpus import Corpus

SUMMARY = "loading training crops"
ORIGINAL_CROPS_PER_SECOND = 1650  # features computed beforehand, in the page cache; measured once, on two other cores
SETTINGS = ("data_dir", "batch_size", "frames", "num_workers", "layers", "channels", "train_batch_size")
READS = {"bytes_per_crop": "rchar", "reads_per_crop": "syscr"}  # in /proc/self/io
FEWEST_STEPS = 5  # of training that are measured, however long they take


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `benchmark.py data`."""
    parser.add_argument("--data_dir", required=True, help="a preprocessed corpus")
    parser.add_argument("--num_workers", type=int, default=2, help="loader processes (default: 2)")
    parser.add_argument("--batch_size", type=int, default=96, help="crops that are loaded at a time (default: 96)")
    parser.add_argument("--frames", type=int, default=300, help="of 10 ms (default: 300)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement (default: 5)")
    parser.add_argument("--layers", type=int, default=8, help="cells of the network trained (default: 8)")
    parser.add_argument("--channels", type=int, default=64, help="of its first cell (default: 64)")
    parser.add_argument("--train_batch_size", type=int, default=8, help="utterances in its batches (default: 8)")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output, no table")


def run(args: argparse.Namespace) -> None:
    """Measure and print."""
    import torch

    from data_objects.corpus import Corpus
    from utils.system.device import prepare

    check_sizes(args)
    cfg = build_settings(args.device, args.batch_size, args.frames, args.data_dir, args.num_workers)
    train_cfg = build_settings(args.device, args.train_batch_size, args.frames, args.data_dir, args.num_workers)
    device = prepare(cfg)
    corpus, train_corpus = Corpus(cfg), Corpus(train_cfg)
    train_corpus.crops("train")  # told here, before anything is measured, where there are too few
    cfg.DATASET.NUM_WORKERS = 0
    report = {key: getattr(args, key) for key in SETTINGS}
    report |= {"utterances": len(corpus.rows("train")), "machine": describe_machine(device), "torch": torch.__version__}
    report |= measure_rates(corpus, device, args.seconds)
    report |= measure_alone(Corpus(cfg), args.seconds)
    report |= {"training": measure_training(train_cfg, train_corpus, args, device)}
    report["original_crops_per_second"] = ORIGINAL_CROPS_PER_SECOND
    if args.json:
        print(json.dumps(report))
    else:
        print_report(report)


def check_sizes(args: argparse.Namespace) -> None:
    """Refuse options that cannot be."""
    least = {"num_workers": 0, "batch_size": 1, "frames": 32, "layers": 3, "channels": 2, "train_batch_size": 1}
    for name, limit in least.items():
        if getattr(args, name) < limit:
            raise UserError(f"--{name} must be at least {limit}, not {getattr(args, name)}")
    if not 0 < args.seconds < float("inf"):
        raise UserError(f"--seconds must be more than 0, not {args.seconds}")


def measure_rates(corpus: "Corpus", device: "torch.device", seconds: float) -> dict:
    """Crops/s of the loader alone, and of the loader with the front end on the device."""
    from data_objects.datasets import to_device
    from utils.training.loop import to_features

    crops, front_end = corpus.crops("train"), corpus.build_front_end().to(device)
    batches = crops.endless(0)
    warm_up(batches, len(crops), seconds)
    alone = count_crops(batches, device, seconds)
    copied = to_device(batches, device)
    to_features(next(copied), front_end, device)  # the first time is slower
    features = (to_features(batch, front_end, device) for batch in copied)
    return {
        "loader_crops_per_second": alone,
        "front_end_crops_per_second": count_crops(features, device, seconds),
    }


def warm_up(batches: Iterator[Any], count: int, seconds: float) -> None:
    """Load so many batches, or for so many seconds if that is shorter."""
    end = time.perf_counter() + seconds
    for _ in itertools.takewhile(lambda _: time.perf_counter() < end, itertools.islice(batches, count)):
        pass


def count_crops(batches: Iterator[Any], device: "torch.device", seconds: float) -> float:
    """Crops a second, over so many seconds."""
    began, crops = clock(device), 0
    while time.perf_counter() - began < seconds:
        crops += len(next(batches)[0])
    return crops / (clock(device) - began)


def measure_alone(corpus: "Corpus", seconds: float) -> dict:
    """What this process reads for a crop, and crops/s, where it loads without others (NUM_WORKERS 0)."""
    import torch

    crops = corpus.crops("train")
    batches = crops.endless(0)
    next(batches)  # whatever is read once only: code, the index
    before, loaded = count_reads(), 0
    end = time.perf_counter() + seconds
    for batch in itertools.islice(batches, len(crops)):
        loaded += len(batch[0])
        if time.perf_counter() > end:
            break
    after = count_reads()
    report = {name: (after[name] - before[name]) / loaded if before else None for name in READS}
    return report | {"loader_crops_per_second_without_workers": count_crops(batches, torch.device("cpu"), seconds)}


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


def measure_training(cfg: "CfgNode", corpus: "Corpus", args: argparse.Namespace, device: "torch.device") -> dict:
    """Seconds of a training step of the derived network, and the shares of waiting for data and of the front end."""
    from models.genotypes import PAPER_GENOTYPE

    case = {"row": "fp32", "layers": args.layers, "channels": args.channels, "frames": args.frames, "drop_path": 0.1}
    case |= {"genotype": str(PAPER_GENOTYPE), "classes": len(corpus.speakers)}
    network, _ = build_network(case, device)
    steps = training_steps(cfg, network, *load_batches(corpus, device))
    for _ in range(WARM_UP):
        next(steps)
    end, measured = time.perf_counter() + args.seconds, []
    while len(measured) < FEWEST_STEPS or time.perf_counter() < end:
        measured.append(next(steps))
    return {
        "steps": len(measured),
        "seconds": statistics.median(step.seconds for step in measured),
        "waiting_share": statistics.median(step.waiting / step.seconds for step in measured),
        "mean_waiting_share": sum(step.waiting for step in measured) / sum(step.seconds for step in measured),
        "front_end_share": statistics.median(step.front_end / step.seconds for step in measured),
    }


def print_report(report: dict) -> None:
    """A report, for people."""
    settings = ", ".join(f"{key} {report[key]}" for key in ("batch_size", "frames", "num_workers"))
    print(f"\n{settings}; {report['utterances']:,} utterances; {report['machine']}, torch {report['torch']}")
    rows = [
        [name, f"{report[key]:.0f}"]
        for name, key in (
            (f"loader, {report['num_workers']} workers", "loader_crops_per_second"),
            ("loader and front end", "front_end_crops_per_second"),
            ("loader, 0 workers", "loader_crops_per_second_without_workers"),
            ("original, features cached (another day)", "original_crops_per_second"),
        )
    ]
    print(format_table(["", "crops/s"], rows))
    if report["bytes_per_crop"] is not None:
        print(f"read for a crop: {report['bytes_per_crop']:,.0f} bytes in {report['reads_per_crop']:.2f} calls")
    training = report["training"]
    print(
        f"training step ({report['layers']} cells, {report['channels']} channels, batch {report['train_batch_size']}): "
        f"{training['seconds']:.4f} s, of which waiting for data {training['waiting_share']:.2%} "
        f"(mean {training['mean_waiting_share']:.2%}), front end {training['front_end_share']:.2%}"
    )
