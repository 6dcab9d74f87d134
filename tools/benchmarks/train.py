"""benchmark.py train: steps of training the derived network."""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice, product, repeat
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from data_objects.corpus import Corpus
from data_objects.datasets import to_device
from models import build_network
from models.genotypes import PAPER_GENOTYPE, parse_genotype, read_genotype
from models.network import Network
from tools.benchmarks.measure import Peak, build_settings, describe_machine, draw_batch, multiply_rate
from tools.benchmarks.options import CLASSES, DEFAULT_VARIANTS, SWITCH, TENTHS
from tools.benchmarks.processes import Case, Outcome, run_in_turn, summarise
from tools.benchmarks.tables import Columns, format_heading, format_table
from tools.corpora.sizes import PARTS
from tools.networks.size import count_macs
from utils.system.device import clock, prepare, select_device
from utils.system.errors import UserError
from utils.training.loop import to_features, train_step
from utils.training.optim import build_weight_optimizer
from utils.training.tuning import Way

COMPILED, GRAPHS, NUDGED = "_compiled", "_graphs", "_nudged"  # at the end of a row's name, in this order
LAST_BIT = 2**-23  # of a float32, relative to its value
REFERENCES = ("channels_first", "fp32", f"fp32{COMPILED}")  # the first of these that was run has ratio 1
WARM_UP = 3  # steps that are not measured
EPOCHS = 301  # of the paper's training
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
    rows = list_rows(args.variants or DEFAULT_VARIANTS[device.type], args.compile, args.graphs, device)
    nudged = [f"{rows[0]}{NUDGED}"] if args.curve else []
    with tempfile.TemporaryDirectory() as cache:  # what was compiled on another day would be found in the usual one
        cases = {row: case | {"row": row, "cache": cache} for row in rows + nudged}
        outcomes = run_in_turn(measure, cases, args.rounds or (1 if args.curve else 2))
    report = {key: value for key, value in case.items() if key != "steps"} | describe_machine(device)
    report |= compare_rows(case, rows, outcomes)
    yield report | ({"curve": compare_curves(outcomes)} if args.curve else {})


def build_case(args: argparse.Namespace, device: torch.device) -> Case:
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
        corpus = Corpus(build_settings(case))
        corpus.crops("train")  # told here, before any process is begun, where there are too few
        speakers = len(corpus.speakers)
    case["classes"] = args.classes or speakers or CLASSES
    if case["classes"] < speakers:
        raise UserError(f"--classes {case['classes']} is less than the {speakers} speakers of {args.data_dir}")
    return case


def list_rows(variants: Iterable[str], compiled: str, graphs: str, device: torch.device) -> list[str]:
    """The rows of the table: the variants, and those that are compiled, or replayed as CUDA graphs.

    Raises:
        UserError: a variant, or CUDA graphs, that the device cannot run.
    """
    if device.type != "cuda" and any(SWITCH[graphs]):
        raise UserError(f"--graphs {graphs} needs a CUDA device")
    rows = []
    for variant in dict.fromkeys(variants):
        if device.type != "cuda" and variant == "tf32":
            raise UserError("--variants tf32 needs a CUDA device: CPUs have no such arithmetic")
        choices = [(False, False)] if variant == "channels_first" else product(SWITCH[compiled], SWITCH[graphs])
        rows += [f"{variant}{COMPILED * is_compiled}{GRAPHS * has_graphs}" for is_compiled, has_graphs in choices]
    return rows


def variant_of(row: str) -> str:
    """Without what is at the end of a row's name."""
    return row.removesuffix(NUDGED).removesuffix(GRAPHS).removesuffix(COMPILED)


class Step(NamedTuple):
    """A training step: its seconds, and which of them went by until a batch was there, and until it was features."""

    seconds: float
    waiting: float
    front_end: float
    loss: float


def measure(case: Case) -> Outcome:
    """The steps of a row in this process, its peak memory in MB, and the machine's own rate.

    Returns:
        Lists of the measured steps' `seconds`, `waiting` and `front_end`; of all steps the `losses`; the first steps'
        `warm_up_seconds`; `peak_mb`; `macs` of an input; the `rate` of multiplications.
    """
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = case["cache"]  # of this process and those that compile for it
    variant = variant_of(case["row"])
    cfg = build_settings(case | {"precision": "bf16" if variant == "bf16" else "fp32"})
    cfg.TRAIN.TF32 = variant == "tf32"
    device = prepare(cfg)
    network, macs = build_row(cfg, case, device)
    peak = Peak(device)
    rate = multiply_rate(device, torch.bfloat16 if variant == "bf16" else torch.float32)
    torch.manual_seed(cfg.SEED)  # all rows draw the same drop-path
    steps = training_steps(cfg, case, network)
    first = list(islice(steps, WARM_UP))
    peak.forget()
    others = list(islice(steps, case["steps"] - WARM_UP))
    outcome: Outcome = {"rate": rate, "macs": macs, "peak_mb": peak.read()}
    outcome |= {
        "warm_up_seconds": sum(step.seconds for step in first),
        "losses": [step.loss for step in first + others],
    }
    return outcome | pd.DataFrame(others).drop(columns="loss").to_dict("list")


def build_row(cfg: CfgNode, case: Case, device: torch.device) -> tuple[Network, int]:
    """The network of a row, ready for training, and its multiply-accumulates for one input."""
    network = build_network(cfg, parse_genotype(case["genotype"]), case["classes"])
    macs = count_macs(network, case["frames"])
    row = case["row"]
    if row.endswith(NUDGED):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(1 + LAST_BIT)
    network.drop_path_probability = case["drop_path"]
    layout = "channels_first" if variant_of(row) == "channels_first" else "channels_last"
    Way(layout, compiled=COMPILED in row, graphs=GRAPHS in row).take(network)
    return network.to(device).train(), macs


def open_batches(cfg: CfgNode, case: Case, device: torch.device) -> tuple[Iterator[Any], MakeFeatures]:
    """Batches without end, and what makes features and labels of one: noise, or a corpus's crops, epoch after epoch."""
    if not cfg.DATASET.DATA_DIR:
        return repeat(draw_batch(case, case["classes"], device)), lambda batch: batch
    corpus = Corpus(cfg)
    front_end = corpus.build_front_end().to(device)
    batches = to_device(corpus.crops("train").endless(0), device)
    return iter(batches), lambda batch: to_features(batch, front_end, device)


def training_steps(cfg: CfgNode, case: Case, network: Network) -> Iterator[Step]:
    """Train on one batch after the other, as `utils.training.loop` does."""
    device = next(network.parameters()).device
    batches, make_features = open_batches(cfg, case, device)
    optimizer = build_weight_optimizer(cfg, network.parameters())
    criterion = nn.CrossEntropyLoss(label_smoothing=cfg.TRAIN.LABEL_SMOOTHING)
    while True:
        began = clock(device)
        batch = next(batches)
        arrived = time.perf_counter()
        features = make_features(batch)
        made = clock(device)
        loss, _, _ = train_step(network, optimizer, features, criterion, cfg.TRAIN.PRECISION)
        seconds = clock(device) - began
        yield Step(seconds, arrived - began, made - arrived, loss.item())


def compare_rows(case: Case, rows: Iterable[str], outcomes: dict[str, list[Outcome]]) -> dict[str, Any]:
    """Figures for every row, as COLUMNS has them; all None where memory was short."""
    figures: dict[str, dict[str, Any]] = {
        row: report_row(case, row, outcomes[row]) if row in outcomes else dict.fromkeys(COLUMNS) for row in rows
    }
    measured = [row for row in figures if row in outcomes]
    reference = next((row for row in (*REFERENCES, *measured) if row in measured), None)
    for row in measured:
        figures[row]["ratio"] = figures[str(reference)]["seconds"] / figures[row]["seconds"]
    macs = outcomes[measured[0]][0]["macs"] if measured else None
    return {"macs": macs, "reference": reference, "variants": figures}


def report_row(case: Case, row: str, rounds: list[Outcome]) -> dict[str, Any]:
    """The figures of a row's rounds, all but the ratio, which takes another row."""
    figures: dict[str, Any] = dict.fromkeys(COLUMNS) | summarise(rounds)
    per_second = case["batch_size"] / figures["seconds"]
    flops, rate = 3 * 2 * rounds[0]["macs"] * per_second, max(outcome["rate"] for outcome in rounds)
    figures |= {"utterances_per_second": per_second, "voxceleb1_hours": EPOCHS * PARTS[0] / per_second / 3600}
    figures |= {"flops_per_second": flops, "multiply_flops_per_second": rate, "share": flops / rate}
    if COMPILED in row or GRAPHS in row:
        figures["compile_seconds"] = rounds[0]["warm_up_seconds"] - WARM_UP * figures["seconds"]
    if case["data_dir"]:
        sums = {part: sum(sum(outcome[part]) for outcome in rounds) for part in ("seconds", "waiting", "front_end")}
        figures |= {f"{part}_share": sums[part] / sums["seconds"] for part in ("waiting", "front_end")}
    return figures


def compare_curves(outcomes: dict[str, list[Outcome]]) -> dict[str, Any]:
    """The mean loss of each tenth of the first round's steps, and the largest difference to the first row's."""
    losses = pd.DataFrame({row: rounds[0]["losses"] for row, rounds in outcomes.items()})
    if losses.empty:  # memory was short for every row
        return {"steps": 0, "tenths": {}, "largest_difference": {}}
    # Parts as long as each other, as far as it goes.
    tenth = (TENTHS * np.arange(1, len(losses) + 1) - 1) // len(losses)
    means = losses.groupby(tenth).mean()
    differences = means.sub(means.iloc[:, 0], axis="index").abs().max()
    return {"steps": len(losses), "tenths": means.to_dict("list"), "largest_difference": differences.to_dict()}


def print_report(report: dict[str, Any]) -> None:
    """A report, for people."""
    print(f"\n{format_heading(report, SETTINGS)}\n{format_table(report['variants'], COLUMNS)}")
    if report["macs"]:
        print(f"hours: {EPOCHS} epochs of VoxCeleb1; {report['macs'] / 1e9:.3f} G multiply-accumulates an input")
    if "curve" in report:
        curve = report["curve"]
        table = pd.DataFrame(curve["tenths"], [f"{tenth + 1}/{TENTHS}" for tenth in range(TENTHS)]).map("{:.5f}".format)
        table.loc["largest difference"] = pd.Series(curve["largest_difference"]).map("{:.2e}".format)
        print(f"\nmean loss of each tenth of {curve['steps']} steps, and the largest difference to the first column")
        print(format_table(table.to_dict("index"), {name: (name, str) for name in table}))
