"""benchmark.py data: loading training crops from a preprocessed corpus, and whether training has to wait for them."""

import argparse
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import torch
from yacs.config import CfgNode

from data_objects.corpus import Corpus
from data_objects.datasets import to_device
from models.genotypes import PAPER_GENOTYPE
from tools.benchmarks.measure import CPU, build_settings, describe_machine
from tools.benchmarks.tables import Columns, format_heading, format_table
from tools.benchmarks.train import WARM_UP, build_row, training_steps
from utils.system.device import clock, prepare
from utils.system.errors import UserError
from utils.training.loop import to_features

ORIGINAL_CROPS_PER_SECOND = 1650  # features computed beforehand, in the page cache; measured once, on two other cores
SETTINGS = ("data_dir", "batch_size", "frames", "num_workers", "layers", "channels", "train_batch_size")
READS = {"bytes_per_crop": "rchar", "reads_per_crop": "syscr"}  # in /proc/self/io
FEWEST_STEPS = 5  # of training that are measured, however long they take
ROUNDS = 5  # over all of AUGMENTED
AUGMENTED: dict[str, dict[str, Any]] = {  # what needs no recordings, each in every crop
    "none": {},
    "equalisation": {"AUGMENT.EQ_DB": 6.0},
    "level": {"AUGMENT.GAIN_DB": 6.0},
    "band": {"AUGMENT.BAND_PROBABILITY": 1.0},
    "masks": {"AUGMENT.TIME_MASKS": 2, "AUGMENT.FREQUENCY_MASKS": 2},
    "all four": {
        "AUGMENT.EQ_DB": 6.0,
        "AUGMENT.GAIN_DB": 6.0,
        "AUGMENT.BAND_PROBABILITY": 1.0,
        "AUGMENT.TIME_MASKS": 2,
        "AUGMENT.FREQUENCY_MASKS": 2,
    },
    "speed": {"AUGMENT.SPEED": "0.9 1.1"},
    "speeds as classes": {"AUGMENT.SPEED": "0.9 1.1", "AUGMENT.SPEED_CLASSES": True},
    "babble": {"AUGMENT.BABBLE": 1.0},
}


def run(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measure."""
    if not 0 < args.seconds < float("inf"):
        raise UserError(f"--seconds must be more than 0, not {args.seconds}")
    options = vars(args)
    cfg, train_cfg = build_settings(options), build_settings(options | {"batch_size": args.train_batch_size})
    device = prepare(cfg)
    corpus, train_corpus = Corpus(cfg), Corpus(train_cfg)
    train_corpus.crops("train")  # told here, before anything is measured, where there are too few
    report = {key: options[key] for key in SETTINGS} | {"utterances": len(corpus.rows("train"))}
    report |= describe_machine(device) | measure_rates(corpus, device, args.seconds)
    alone = build_settings(options | {"num_workers": 0})
    report |= measure_alone(Corpus(alone), args.seconds)
    if args.augmentation:
        report["augmentation"] = measure_augmentation(alone, device, args.seconds)
    report["training"] = measure_training(train_cfg, options | {"classes": len(train_corpus.speakers)}, device)
    yield report | {"original_crops_per_second": ORIGINAL_CROPS_PER_SECOND}


def measure_rates(corpus: Corpus, device: torch.device, seconds: float) -> dict[str, float]:
    """Crops/s of the loader alone, and of the loader with the front end on the device."""
    crops, front_end = corpus.crops("train"), corpus.build_front_end().to(device)
    batches = crops.endless(0)
    load(itertools.islice(batches, len(crops)), seconds)  # to warm up: an epoch, if that is shorter
    _, alone = load(batches, seconds, device)
    copied = to_device(batches, device)
    to_features(next(copied), front_end, device)  # the first time is slower
    _, with_front_end = load((to_features(batch, front_end, device) for batch in copied), seconds, device)
    return {"loader_crops_per_second": alone, "front_end_crops_per_second": with_front_end}


def load(batches: Iterator[Any], seconds: float, device: torch.device = CPU) -> tuple[int, float]:
    """Load for so many seconds, or until there are no more batches: the number of crops, and how many a second."""
    crops, began = 0, clock(device)
    for batch in batches:
        crops += len(batch[0])
        if time.perf_counter() > began + seconds:
            break
    return crops, crops / (clock(device) - began)


def measure_alone(corpus: Corpus, seconds: float) -> dict[str, float | None]:
    """What this process reads for a crop, and crops/s, where it loads without others (NUM_WORKERS 0)."""
    crops = corpus.crops("train")
    batches = crops.endless(0)
    next(batches)  # whatever is read once only: code, the index
    before = count_reads()
    loaded, _ = load(itertools.islice(batches, len(crops)), seconds)
    after = count_reads()
    reads = {name: (after[name] - before[name]) / loaded if before else None for name in READS}
    return reads | {"loader_crops_per_second_without_workers": load(batches, seconds)[1]}


def measure_augmentation(cfg: CfgNode, device: torch.device, seconds: float) -> dict[str, dict[str, float]]:
    """Microseconds of a crop in this process, by what is done to it: to load it, and with the front end besides.

    The median of so many rounds, each over all of them in turn.
    """
    loaded: dict[str, dict[str, list[float]]] = {name: {"loader": [], "with_front_end": []} for name in AUGMENTED}
    loaders = {name: Corpus(_augmented(cfg, settings)).crops("train") for name, settings in AUGMENTED.items()}
    front_end = Corpus(cfg).build_front_end().to(device)
    for number in range(1 + ROUNDS):
        for name, crops in loaders.items():
            batches = crops.endless(number * len(crops))
            features = (to_features(batch, front_end, device) for batch in batches)
            for kind, made in (("loader", batches), ("with_front_end", features)):
                rate = load(made, seconds / ROUNDS, device)[1]
                if number:  # the first time is slower
                    loaded[name][kind].append(1e6 / rate)
    return {name: {kind: median(values) for kind, values in kinds.items()} for name, kinds in loaded.items()}


def _augmented(cfg: CfgNode, settings: dict[str, Any]) -> CfgNode:
    own = cfg.clone()
    own.AUGMENT.PROBABILITY = 1.0
    own.merge_from_list([item for pair in settings.items() for item in pair])
    return own


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


def measure_training(cfg: CfgNode, options: dict[str, Any], device: torch.device) -> dict[str, float]:
    """Seconds of a training step of the derived network, and the shares of waiting for data and of the front end."""
    case = options | {"row": "fp32", "genotype": str(PAPER_GENOTYPE), "drop_path": 0.1}
    network, _ = build_row(cfg, case, device)
    steps = training_steps(cfg, case, network)
    measured, end = list(itertools.islice(steps, WARM_UP)), time.perf_counter() + options["seconds"]
    while len(measured) < WARM_UP + FEWEST_STEPS or time.perf_counter() < end:
        measured.append(next(steps))
    table = pd.DataFrame(measured[WARM_UP:])
    shares = table.div(table.seconds, axis="index").median()
    return {
        "steps": len(table),
        "seconds": table.seconds.median(),
        "waiting_share": shares.waiting,
        "mean_waiting_share": table.waiting.sum() / table.seconds.sum(),
        "front_end_share": shares.front_end,
    }


def print_augmentation(rows: dict[str, dict[str, float]]) -> None:
    """What augmentation costs, and its ratio to what a crop costs without."""
    plain = rows["none"]
    table: dict[str, dict[str, Any]] = {
        name: row | {f"{kind}_ratio": row[kind] / plain[kind] for kind in plain} for name, row in rows.items()
    }
    columns: Columns = {
        "loader": ("µs/crop", "{:.0f}".format),
        "loader_ratio": ("ratio", "{:.2f}".format),
        "with_front_end": ("with front end", "{:.0f}".format),
        "with_front_end_ratio": ("ratio", "{:.2f}".format),
    }
    print(format_table(table, columns))


def print_report(report: dict[str, Any]) -> None:
    """A report, for people."""
    settings = ("batch_size", "frames", "num_workers")
    utterances = f"{report['utterances']:,} utterances"
    print(f"\n{format_heading(report, settings, utterances)}")
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
    if "augmentation" in report:
        print_augmentation(report["augmentation"])
    training = report["training"]
    print(
        f"training step ({report['layers']} cells, {report['channels']} channels, batch {report['train_batch_size']}): "
        f"{training['seconds']:.4f} s, of which waiting for data {training['waiting_share']:.2%} "
        f"(mean {training['mean_waiting_share']:.2%}), front end {training['front_end_share']:.2%}"
    )
