"""benchmark.py train: steps of training the derived network."""

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from data_objects.corpus import Corpus
from data_objects.datasets import to_device
from models import DERIVED, build_model
from models.genotypes import PAPER_GENOTYPE, read_genotype
from models.network import Network
from tools.benchmarks.measure import (
    base_mb,
    build_settings,
    clock,
    describe_machine,
    draw_batch,
    forget_peak,
    multiply_rate,
    peak_mb,
)
from tools.benchmarks.options import CLASSES, COMPILE, DEFAULT_VARIANTS, TENTHS
from tools.benchmarks.processes import is_short, run_in_turn
from tools.benchmarks.tables import Columns, format_machine, format_settings, format_table
from tools.corpora.sizes import PARTS
from tools.networks.size import count_macs
from utils.system.device import prepare, select_device
from utils.system.errors import UserError
from utils.training.loop import to_features, train_step
from utils.training.optim import build_weight_optimizer

CUDA_ONLY = {"tf32": "CPUs have no such arithmetic"}
COMPILED, NUDGED = "_compiled", "_nudged"  # at the end of a row's name, in this order
LAST_BIT = 2**-23  # of a float32, relative to its value
REFERENCES = ("channels_first", "fp32", f"fp32{COMPILED}")  # the first of these that was run has ratio 1
WARM_UP = 3  # steps that are not measured
EPOCHS = 301  # of the paper's training
TIMES = ("seconds", "waiting", "front_end")  # of a step
SETTINGS = ("layers", "channels", "batch_size", "frames", "classes")
COLUMNS: Columns = {
    "seconds": ("s/step", "{:.4f}".format),
    "utterances_per_second": ("utt/s", "{:.1f}".format),
    "ratio": ("ratio", "{:.2f}x".format),
    "flops_per_second": ("GFLOP/s", lambda rate: f"{rate / 1e9:.1f}"),
    "multiply_flops_per_second": ("of matmul's", lambda rate: f"{rate / 1e9:.1f}"),
    "share": ("share", "{:.1%}".format),
    "peak_mb": ("peak MB", "{:.0f}".format),
    "compile_seconds": ("compiling s", "{:.1f}".format),
    "waiting_share": ("waiting", "{:.1%}".format),
    "front_end_share": ("front end", "{:.1%}".format),
    "voxceleb1_hours": ("hours", "{:.1f}".format),
}

MakeFeatures = Callable[[Any], tuple[Tensor, Tensor]]  # features and labels of a batch, on the device


def run(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measure."""
    device = select_device(args.device)
    case = build_case(args, device)
    rows = list_rows(args.variants or DEFAULT_VARIANTS[device.type], args.compile, device)
    nudged = [f"{rows[0]}{NUDGED}"] if args.curve else []
    cases = {row: case | {"row": row} for row in rows + nudged}
    with tempfile.TemporaryDirectory() as cache:  # what was compiled on another day would be found in the usual one
        rounds = args.rounds or (1 if args.curve else 2)
        outcomes = run_in_turn("train", cases, rounds, {"TORCHINDUCTOR_CACHE_DIR": cache})
    report = {key: value for key, value in case.items() if key != "steps"} | describe_machine(device)
    report |= summarise(case, {row: outcomes[row] for row in rows})
    yield report | ({"curve": compare_curves(outcomes)} if args.curve else {})


def build_case(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """What the rows have in common, for `measure`.

    Raises:
        UserError: options that cannot be; a corpus that is missing, has too few utterances, or more speakers.
    """
    if not 0 <= args.drop_path < 1:
        raise UserError(f"--drop_path must be a probability under 1, not {args.drop_path}")
    if args.curve and not args.data_dir:
        raise UserError("--curve needs --data_dir: on noise, a loss says nothing")
    keys = ("layers", "channels", "batch_size", "frames", "drop_path", "data_dir", "num_workers")
    case = {key: getattr(args, key) for key in keys} | {"device": device.type}
    case["genotype"] = str(read_genotype(args.genotype) if args.genotype else PAPER_GENOTYPE)
    case["steps"] = args.curve or WARM_UP + args.iterations
    speakers = 0
    if args.data_dir:
        corpus = Corpus(build_settings(device.type, args.batch_size, args.frames, args.data_dir, args.num_workers))
        corpus.crops("train")  # told here, before any process is begun, where there are too few
        speakers = len(corpus.speakers)
    case["classes"] = args.classes or speakers or CLASSES
    if case["classes"] < speakers:
        raise UserError(f"--classes {case['classes']} is less than the {speakers} speakers of {args.data_dir}")
    return case


def list_rows(variants: Iterable[str], compiled: str, device: torch.device) -> list[str]:
    """The rows of the table: the variants, and those that are compiled.

    Raises:
        UserError: a variant that the device cannot run.
    """
    rows = []
    for variant in dict.fromkeys(variants):
        if device.type != "cuda" and variant in CUDA_ONLY:
            raise UserError(f"--variants {variant} needs a CUDA device: {CUDA_ONLY[variant]}")
        choices = (False,) if variant == "channels_first" else COMPILE[compiled]
        rows += [f"{variant}{COMPILED * is_compiled}" for is_compiled in choices]
    return rows


class Step(NamedTuple):
    """A training step: its seconds, and which of them went by until a batch was there, and until it was features."""

    seconds: float
    waiting: float
    front_end: float
    loss: Tensor


def measure(case: dict[str, Any]) -> dict[str, Any]:
    """Times and losses of the steps of a row in this process, its peak memory in MB, and the machine's own rate."""
    variant = case["row"].removesuffix(NUDGED).removesuffix(COMPILED)
    cfg = build_settings(*(case[key] for key in ("device", "batch_size", "frames", "data_dir", "num_workers")))
    cfg.TRAIN.PRECISION = "bf16" if variant == "bf16" else "fp32"
    cfg.TRAIN.TF32 = variant == "tf32"
    device = prepare(cfg)
    network, macs = build_network(case, device)
    before = base_mb(device)
    rate = multiply_rate(device, torch.bfloat16 if variant == "bf16" else torch.float32)
    torch.manual_seed(cfg.SEED)  # all rows draw the same drop-path
    steps: list[Step] = []
    for step in itertools.islice(training_steps(cfg, network, *batches_of(cfg, case, device)), case["steps"]):
        steps.append(step)
        if len(steps) == WARM_UP:
            forget_peak(device)
    times = {name: [getattr(step, name) for step in steps] for name in TIMES}
    losses = [step.loss.item() for step in steps]
    return times | {"losses": losses, "macs": macs, "rate": rate, "peak_mb": peak_mb(device) - before}


def build_network(case: dict[str, Any], device: torch.device) -> tuple[Network, int]:
    """The network of a row, ready for training, and its multiply-accumulates for one input."""
    architecture = {key: case[key] for key in ("layers", "channels", "genotype")}
    network = build_model(architecture | {"kind": DERIVED, "num_classes": case["classes"]})
    assert isinstance(network, Network)
    macs = count_macs(network, case["frames"])
    row = case["row"].removesuffix(NUDGED)
    if row == "channels_first":
        network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    if row != case["row"]:
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(1 + LAST_BIT)
    network.drop_path_probability = case["drop_path"]
    if row.endswith(COMPILED):
        network.compile_for_training()
    return network.to(device).train(), macs


def batches_of(cfg: CfgNode, case: dict[str, Any], device: torch.device) -> tuple[Iterator[Any], MakeFeatures]:
    """Batches without end, and what makes features and labels of one: noise, or a corpus's crops."""
    if cfg.DATASET.DATA_DIR:
        return load_batches(Corpus(cfg), device)
    batch = draw_batch(case["batch_size"], case["frames"], case["classes"], device)
    return itertools.repeat(batch), lambda batch: batch


def load_batches(corpus: Corpus, device: torch.device) -> tuple[Iterator[Any], MakeFeatures]:
    """Batches of the train part's crops, epoch after epoch, and what makes features and labels of one."""
    front_end = corpus.build_front_end().to(device)
    batches = to_device(corpus.crops("train").endless(0), device)
    return iter(batches), lambda batch: to_features(batch, front_end, device)


def training_steps(
    cfg: CfgNode, network: Network, batches: Iterator[Any], make_features: MakeFeatures
) -> Iterator[Step]:
    """Train on one batch after the other, as `utils.training.loop` does."""
    device = next(network.parameters()).device
    optimizer = build_weight_optimizer(cfg, network.parameters())
    criterion = nn.CrossEntropyLoss(label_smoothing=cfg.TRAIN.LABEL_SMOOTHING)
    while True:
        began = clock(device)
        batch = next(batches)
        arrived = time.perf_counter()
        features = make_features(batch)
        made = clock(device)
        loss, _, _ = train_step(network, optimizer, features, criterion, cfg.TRAIN.PRECISION)
        yield Step(clock(device) - began, arrived - began, made - arrived, loss.detach())


def summarise(case: dict[str, Any], outcomes: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Figures for every row, as COLUMNS has them; all None where memory was short."""
    measured = {name: summarise_row(case, name, rounds) for name, rounds in outcomes.items() if not is_short(rounds)}
    reference = next((name for name in (*REFERENCES, *measured) if name in measured), None)
    if reference is not None:
        for row in measured.values():
            row["ratio"] = measured[reference]["seconds"] / row["seconds"]
    macs = next((outcomes[name][0]["macs"] for name in measured), None)
    rows = {name: measured.get(name, dict.fromkeys(COLUMNS)) for name in outcomes}
    return {"macs": macs, "reference": reference, "variants": rows}


def summarise_row(case: dict[str, Any], name: str, rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures of a row's rounds, all but the ratio, which takes another row."""
    measured = {key: [value for outcome in rounds for value in outcome[key][WARM_UP:]] for key in TIMES}
    seconds = statistics.median(measured["seconds"])
    per_second = case["batch_size"] / seconds
    flops, rate = 3 * 2 * rounds[0]["macs"] * per_second, max(outcome["rate"] for outcome in rounds)
    row = dict.fromkeys(COLUMNS) | {
        "seconds": seconds,
        "utterances_per_second": per_second,
        "flops_per_second": flops,
        "multiply_flops_per_second": rate,
        "share": flops / rate,
        "peak_mb": max(outcome["peak_mb"] for outcome in rounds),
        "voxceleb1_hours": EPOCHS * PARTS[0] / per_second / 3600,
    }
    if name.endswith(COMPILED):
        row["compile_seconds"] = sum(rounds[0]["seconds"][:WARM_UP]) - WARM_UP * seconds
    if case["data_dir"]:
        row["waiting_share"] = sum(measured["waiting"]) / sum(measured["seconds"])
        row["front_end_share"] = sum(measured["front_end"]) / sum(measured["seconds"])
    return row


def compare_curves(outcomes: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """The mean loss of each tenth of the first round's steps, and the largest difference to the first row's."""
    losses = {name: rounds[0]["losses"] for name, rounds in outcomes.items() if "losses" in rounds[0]}
    tenths = {name: [statistics.fmean(part) for part in split_in_tenths(values)] for name, values in losses.items()}
    first = next(iter(tenths.values()), [])
    differences = {
        name: max(abs(value - other) for value, other in zip(values, first, strict=True))
        for name, values in tenths.items()
    }
    return {"steps": len(next(iter(losses.values()), [])), "tenths": tenths, "largest_difference": differences}


def split_in_tenths(values: list[float]) -> list[np.ndarray]:
    """Ten parts as long as each other, as far as that goes."""
    return np.split(np.array(values), [len(values) * tenth // TENTHS for tenth in range(1, TENTHS)])


def print_report(report: dict[str, Any]) -> None:
    """A report, for people."""
    print(f"\n{format_settings(report, SETTINGS)}; {format_machine(report)}")
    print(format_table(report["variants"], COLUMNS))
    if report["macs"]:
        print(f"hours: {EPOCHS} epochs of VoxCeleb1; {report['macs'] / 1e9:.3f} G multiply-accumulates an input")
    if "curve" in report:
        print_curve(report["curve"])


def print_curve(curve: dict[str, Any]) -> None:
    """The losses side by side."""
    columns: Columns = {name: (name, str) for name in curve["tenths"]}
    rows = {
        f"{tenth + 1}/{TENTHS}": {name: f"{losses[tenth]:.5f}" for name, losses in curve["tenths"].items()}
        for tenth in range(TENTHS)
    }
    rows["largest difference"] = {name: f"{value:.2e}" for name, value in curve["largest_difference"].items()}
    print(f"\nmean loss of each tenth of {curve['steps']} steps, and the largest difference to the first column")
    print(format_table(rows, columns))
