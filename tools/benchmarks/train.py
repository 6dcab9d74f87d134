"""Steps of training the derived network: how long, how much memory, how much of what the machine can do.

A step is as in train.py: forward pass, cross-entropy with label smoothing, backward pass, Adam. Variants:

    channels_first   the same network's own code run channels-first, in eager mode, in float32
    fp32             as trained: channels-last, in float32
    tf32             float32 whose products tensor cores round to 10 bits of mantissa (TRAIN.TF32); CUDA only
    bf16             forward passes under bfloat16 autocast (TRAIN.PRECISION)

Each runs in a process of its own, in turn, --rounds times; with --compile also, or only, as TRAIN.COMPILE has it done
(channels_first never). Seconds are the median over all steps but each process's first three. What those three take
beyond that is told as compiling, of the first round, whose cache is empty. Memory is the most that the process took in
the other steps beyond what it had before the first (on CUDA: the allocator's peak, with the weights).

FLOP/s count 2 operations a multiply-accumulate, once for the forward pass and twice for the backward pass. They are
held against the fastest multiplication of large square matrices of the variant's kind of numbers, measured in the same
process right before: the share is what all that is not such a multiplication leaves of it.

Without --data_dir a batch of noise, made on the device, is trained on again and again. With it the batches come from
the corpus, through loader and front end. Every step is waited for, so that on a GPU the share of waiting for data is an
upper bound: train.py loads the next batch while the GPU is still at work.

With --curve all rows train from the same weights on the same batches with the same drop-path, and their losses stand
side by side. Training amplifies rounding: from Adam's first step on, two ways to compute the same thing part. So the
first row is run once more, `nudged`, from weights of which about the last bit is changed: a setting whose losses differ
from the first row's no more than those of the nudged one do does to them what rounding does anyway.
"""

import argparse
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from tools.benchmarks.measure import (
    OUT_OF_MEMORY,
    VOXCELEB1_TRAIN,
    build_settings,
    clock,
    describe_machine,
    forget_peak,
    format_table,
    is_out_of_memory,
    limit_memory,
    memory_mb,
    multiply_rate,
    peak_mb,
    run_case,
)
from utils.system.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from yacs.config import CfgNode

    from models import Network

SUMMARY = "steps of training the derived network"
VARIANTS = ("channels_first", "fp32", "tf32", "bf16")
DEFAULT_VARIANTS = {"cpu": ("channels_first", "fp32", "bf16"), "cuda": ("fp32", "tf32", "bf16")}
CUDA_ONLY = {
    "tf32": "CPUs have no such arithmetic",
}
COMPILED, NUDGED = "_compiled", "_nudged"  # at the end of a row's name, in this order
LAST_BIT = 2**-23  # of a float32, relative to its value
REFERENCES = ("channels_first", "fp32", f"fp32{COMPILED}")  # the first of these that was run has ratio 1
COMPILE = {"off": (False,), "on": (True,), "both": (False, True)}
WARM_UP = 3  # steps that are not measured
TENTHS = 10
CLASSES, EPOCHS = 1251, 301  # of the paper's training on VoxCeleb1
TIMES = ("seconds", "waiting", "front_end")  # of a step
# What is told of a row: the column's heading, and how its cells are written: format, scale
COLUMNS = {
    "seconds": ("s/step", "{:.4f}", 1),
    "utterances_per_second": ("utt/s", "{:.1f}", 1),
    "ratio": ("ratio", "{:.2f}x", 1),
    "flops_per_second": ("GFLOP/s", "{:.1f}", 1e-9),
    "multiply_flops_per_second": ("of matmul's", "{:.1f}", 1e-9),
    "share": ("share", "{:.1%}", 1),
    "peak_mb": ("peak MB", "{:.0f}", 1),
    "compile_seconds": ("compiling s", "{:.1f}", 1),
    "waiting_share": ("waiting", "{:.1%}", 1),
    "front_end_share": ("front end", "{:.1%}", 1),
    "voxceleb1_hours": ("hours", "{:.1f}", 1),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `benchmark.py train`."""
    parser.add_argument("--layers", type=int, default=8, help="cells (default: 8)")
    parser.add_argument("--channels", type=int, default=64, help="of the first cell (default: 64)")
    parser.add_argument("--batch_size", type=int, default=8, help="utterances (default: 8)")
    parser.add_argument("--frames", type=int, default=300, help="of 10 ms (default: 300)")
    parser.add_argument("--classes", type=int, help=f"speakers (default: {CLASSES}, or as many as --data_dir has)")
    parser.add_argument("--genotype", help="its text, or a file that holds it (default: the paper's)")
    parser.add_argument("--drop_path", type=float, default=0.1, help="probability (default: 0.1)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    defaults = "; ".join(f"{' '.join(names)} on {device}" for device, names in DEFAULT_VARIANTS.items())
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, help=f"(default: {defaults})")
    parser.add_argument("--compile", choices=tuple(COMPILE), default="off", help="torch.compile (default: off)")
    parser.add_argument("--iterations", type=int, default=10, help="steps measured in every process (default: 10)")
    parser.add_argument("--rounds", type=int, help="processes for each row, in turn (default: 2; with --curve 1)")
    parser.add_argument("--data_dir", help="a preprocessed corpus, whose crops are trained on instead of noise")
    parser.add_argument("--num_workers", type=int, default=2, help="loader processes, for --data_dir (default: 2)")
    parser.add_argument(
        "--curve",
        type=int,
        metavar="STEPS",
        help="compare the losses of so many steps, which are measured instead of --iterations (needs --data_dir)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output, no table")
    parser.add_argument("--worker", help=argparse.SUPPRESS)  # a case to measure in this process, as JSON


def run(args: argparse.Namespace) -> None:
    """Measure and print."""
    if args.worker:
        case = json.loads(args.worker)
        limit_memory(case["device"] == "cuda")
        print(json.dumps(measure(case)))
        return
    import torch

    from utils.system.device import select_device

    device = select_device(args.device)
    case = build_case(args, device)
    variants = args.variants or DEFAULT_VARIANTS[device.type]
    check_variants(variants, device)
    rounds = (1 if args.curve else 2) if args.rounds is None else args.rounds
    rows = list_rows(variants, args.compile)
    nudged = [f"{rows[0]}{NUDGED}"] if args.curve else []
    outcomes = measure_rows(case, [*rows, *nudged], rounds)
    report = {key: value for key, value in case.items() if key != "steps"}
    report |= {"machine": describe_machine(device), "torch": torch.__version__}
    report |= summarise(case, {row: outcomes[row] for row in rows})
    if args.curve:
        report["curve"] = compare_curves(outcomes)
    if args.json:
        print(json.dumps(report))
    else:
        print_report(report)


def build_case(args: argparse.Namespace, device: "torch.device") -> dict:
    """What the rows have in common, for `measure`.

    Raises:
        UserError: sizes that cannot be; a corpus that is missing, has too few utterances, or more speakers.
    """
    from data_objects.corpus import Corpus
    from models.genotypes import PAPER_GENOTYPE, read_genotype

    check_sizes(args)
    keys = ("layers", "channels", "batch_size", "frames", "drop_path", "data_dir", "num_workers")
    case = {key: getattr(args, key) for key in keys} | {"device": device.type}
    case["genotype"] = str(read_genotype(args.genotype) if args.genotype else PAPER_GENOTYPE)
    case["steps"] = args.curve or WARM_UP + args.iterations
    speakers = 0
    if args.data_dir:
        corpus = Corpus(build_settings(device.type, args.batch_size, args.frames, args.data_dir, args.num_workers))
        corpus.crops("train")  # told here, before any process is begun, where there are too few
        speakers = len(corpus.speakers)
    case["classes"] = args.classes if args.classes is not None else speakers or CLASSES
    if case["classes"] < speakers:
        raise UserError(f"--classes {case['classes']} is less than the {speakers} speakers of {args.data_dir}")
    return case


def check_sizes(args: argparse.Namespace) -> None:
    """Refuse options that cannot be."""
    least = {"layers": 3, "channels": 2, "batch_size": 1, "frames": 32, "classes": 1, "iterations": 1, "rounds": 1}
    least |= {"num_workers": 0, "curve": TENTHS}
    for name, limit in least.items():
        value = getattr(args, name)
        if value is not None and value < limit:
            raise UserError(f"--{name} must be at least {limit}, not {value}")
    if not 0 <= args.drop_path < 1:
        raise UserError(f"--drop_path must be a probability under 1, not {args.drop_path}")
    if args.curve and not args.data_dir:
        raise UserError("--curve needs --data_dir: on noise, a loss says nothing")


def check_variants(variants: Iterable[str], device: "torch.device") -> None:
    """Refuse variants that the device cannot run."""
    for name in variants:
        if device.type != "cuda" and name in CUDA_ONLY:
            raise UserError(f"--variants {name} needs a CUDA device: {CUDA_ONLY[name]}")


def list_rows(variants: Iterable[str], compiled: str) -> list[str]:
    """The rows of the table: the variants, and those that are compiled."""
    rows = []
    for variant in dict.fromkeys(variants):
        choices = (False,) if variant == "channels_first" else COMPILE[compiled]
        rows += [f"{variant}{COMPILED * is_compiled}" for is_compiled in choices]
    return rows


# ------------------------------------------------------------------------------------------------------------------
# One process
# ------------------------------------------------------------------------------------------------------------------
class Step(NamedTuple):
    """A training step: its seconds, and which of them went by until a batch was there, and until it was features."""

    seconds: float
    waiting: float
    front_end: float
    loss: "Tensor"


def measure(case: dict) -> dict:
    """Times and losses of the steps of a row in this process, its peak memory in MB, and the machine's own rate."""
    import torch

    from utils.system.device import prepare

    variant = case["row"].removesuffix(NUDGED).removesuffix(COMPILED)
    cfg = build_settings(*(case[key] for key in ("device", "batch_size", "frames", "data_dir", "num_workers")))
    cfg.TRAIN.PRECISION = "bf16" if variant == "bf16" else "fp32"
    cfg.TRAIN.TF32 = variant == "tf32"
    device = prepare(cfg)
    network, macs = build_network(case, device)
    before = memory_mb("VmRSS") if device.type == "cpu" else 0
    rate = multiply_rate(device, torch.bfloat16 if variant == "bf16" else torch.float32)
    torch.manual_seed(cfg.SEED)  # all rows draw the same drop-path
    steps: list[Step] = []
    try:
        for step in itertools.islice(training_steps(cfg, network, *batches_of(cfg, case, device)), case["steps"]):
            steps.append(step)
            if len(steps) == WARM_UP:
                forget_peak(device)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return {"error": OUT_OF_MEMORY}
    times = {name: [getattr(step, name) for step in steps] for name in TIMES}
    losses = [step.loss.item() for step in steps]
    return times | {"losses": losses, "macs": macs, "rate": rate, "peak_mb": peak_mb(device) - before}


def build_network(case: dict, device: "torch.device") -> "tuple[Network, int]":
    """The network of a row, ready for training, and its multiply-accumulates for one input."""
    import torch

    from models import DERIVED, build_model
    from tools.summarize import count_macs

    architecture = {key: case[key] for key in ("layers", "channels", "genotype")}
    network = build_model(architecture | {"kind": DERIVED, "num_classes": case["classes"]})
    macs = count_macs(network, case["frames"])
    row = case["row"].removesuffix(NUDGED)
    if row == "channels_first":
        network = network.to(memory_format=torch.contiguous_format)
    if row != case["row"]:
        with torch.no_grad():
            for parameter in network.parameters():
                parameter *= 1 + LAST_BIT
    network.drop_path_probability = case["drop_path"]
    if row.endswith(COMPILED):
        network.compile_for_training()
    return network.to(device).train(), macs


def batches_of(
    cfg: "CfgNode", case: dict, device: "torch.device"
) -> "tuple[Iterator[Any], Callable[[Any], tuple[Tensor, Tensor]]]":
    """Batches without end, and what makes features and labels of one: noise, or a corpus's crops."""
    import torch

    from data_objects.corpus import Corpus
    from data_objects.frontend import BINS

    if cfg.DATASET.DATA_DIR:
        return load_batches(Corpus(cfg), device)
    features = torch.randn(case["batch_size"], case["frames"], BINS).to(device)
    labels = torch.randint(case["classes"], (case["batch_size"],)).to(device)
    return itertools.repeat((features, labels)), lambda batch: batch


def load_batches(corpus, device: "torch.device") -> "tuple[Iterator[Any], Callable[[Any], tuple[Tensor, Tensor]]]":
    """Batches of the train part's crops, epoch after epoch, and what makes features and labels of one."""
    from data_objects.datasets import to_device
    from utils.training.loop import to_features

    front_end = corpus.build_front_end().to(device)
    batches = to_device(corpus.crops("train").endless(0), device)
    return iter(batches), lambda batch: to_features(batch, front_end, device)


def training_steps(
    cfg: "CfgNode",
    network: "Network",
    batches: Iterator[Any],
    make_features: "Callable[[Any], tuple[Tensor, Tensor]]",
) -> Iterator[Step]:
    """Train on one batch after the other, as `utils.engine.train_epoch` does."""
    from torch import nn

    from utils.training.loop import train_step
    from utils.training.optim import build_weight_optimizer

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


# ------------------------------------------------------------------------------------------------------------------
# All of them
# ------------------------------------------------------------------------------------------------------------------
def measure_rows(case: dict, rows: list[str], rounds: int) -> dict[str, list[dict]]:
    """Every row's outcomes, one a round; after one that is out of memory it is not run again."""
    outcomes: dict[str, list[dict]] = {row: [] for row in rows}
    with tempfile.TemporaryDirectory() as cache:  # what was compiled on another day would be found in the usual one
        for _ in range(rounds):
            for row in rows:
                if not any("error" in outcome for outcome in outcomes[row]):
                    outcomes[row].append(
                        run_case("train", case | {"row": row}, row, {"TORCHINDUCTOR_CACHE_DIR": cache})
                    )
    return outcomes


def summarise(case: dict, outcomes: dict[str, list[dict]]) -> dict:
    """Figures for every row, as COLUMNS has them; all None where memory was short."""
    rows: dict[str, dict] = {}
    for name, rounds in outcomes.items():
        is_short = any("error" in outcome for outcome in rounds)
        rows[name] = dict.fromkeys(COLUMNS) if is_short else summarise_row(case, name, rounds)
    measured = {name: row["seconds"] for name, row in rows.items() if row["seconds"]}
    reference = next((name for name in (*REFERENCES, *rows) if name in measured), None)
    for name, seconds in measured.items():
        rows[name]["ratio"] = measured[reference] / seconds
    macs = next((outcomes[name][0]["macs"] for name in measured), None)
    return {"macs": macs, "reference": reference, "variants": rows}


def summarise_row(case: dict, name: str, rounds: list[dict]) -> dict:
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
        "voxceleb1_hours": EPOCHS * VOXCELEB1_TRAIN / per_second / 3600,
    }
    if name.endswith(COMPILED):
        row["compile_seconds"] = sum(rounds[0]["seconds"][:WARM_UP]) - WARM_UP * seconds
    if case["data_dir"]:
        row["waiting_share"] = sum(measured["waiting"]) / sum(measured["seconds"])
        row["front_end_share"] = sum(measured["front_end"]) / sum(measured["seconds"])
    return row


def compare_curves(outcomes: dict[str, list[dict]]) -> dict:
    """The mean loss of each tenth of the first round's steps, and the largest difference to the first row's."""
    losses = {name: rounds[0]["losses"] for name, rounds in outcomes.items() if "losses" in rounds[0]}
    tenths = {name: [statistics.fmean(part) for part in split_in_tenths(values)] for name, values in losses.items()}
    first = next(iter(tenths.values()), [])
    differences = {
        name: max(abs(value - other) for value, other in zip(values, first, strict=True))
        for name, values in tenths.items()
    }
    return {"steps": len(next(iter(losses.values()), [])), "tenths": tenths, "largest_difference": differences}


def split_in_tenths(values: list[float]) -> list[list[float]]:
    """Ten parts as long as each other, as far as that goes."""
    ends = [len(values) * tenth // TENTHS for tenth in range(TENTHS + 1)]
    return [values[begin:end] for begin, end in itertools.pairwise(ends)]


def print_report(report: dict) -> None:
    """A report, for people."""
    settings = ", ".join(f"{key} {report[key]}" for key in ("layers", "channels", "batch_size", "frames", "classes"))
    print(f"\n{settings}; {report['machine']}, torch {report['torch']}")
    rows = report["variants"]
    columns = {key: column for key, column in COLUMNS.items() if any(row[key] is not None for row in rows.values())}
    table = [
        [name if row["seconds"] else f"{name}: {OUT_OF_MEMORY}"]
        + ["" if row[key] is None else text.format(row[key] * scale) for key, (_, text, scale) in columns.items()]
        for name, row in rows.items()
    ]
    print(format_table(["", *(heading for heading, _, _ in columns.values())], table))
    if report["macs"]:
        print(f"hours: {EPOCHS} epochs of VoxCeleb1; {report['macs'] / 1e9:.3f} G multiply-accumulates an input")
    if "curve" in report:
        print_curve(report["curve"])


def print_curve(curve: dict) -> None:
    """The losses side by side."""
    names = list(curve["tenths"])
    table = [[f"{tenth}/{TENTHS}"] for tenth in range(1, TENTHS + 1)]
    for row, values in zip(table, zip(*curve["tenths"].values(), strict=True), strict=False):
        row += [f"{value:.5f}" for value in values]
    differences = ["largest difference", *(f"{curve['largest_difference'][name]:.2e}" for name in names)]
    print(f"\nmean loss of each tenth of {curve['steps']} steps, and the largest difference to the first column")
    print(format_table(["", *names], [*table, differences]))
