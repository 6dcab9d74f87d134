"""What tools/benchmark.py can be asked, and what `--help` says of it; nothing here is slow to import.

A command is a function: its text is what `--help` says that it measures, and it adds the command's options.
"""

import argparse
import inspect

from config import CHOICES
from tools.corpora.sizes import SPEAKERS, UTTERANCES
from utils.system.cli import add_count, at_least, path
from utils.system.errors import UserError

MODES = ("dense", "dense_channels_last", "exact", "sampled")
VARIANTS = ("channels_first", "fp32", "tf32", "bf16")
DEFAULT_VARIANTS = {"cpu": ("channels_first", "fp32", "bf16"), "cuda": ("fp32", "tf32", "bf16")}
SWITCH = {"off": (False,), "on": (True,), "both": (False, True)}
CLASSES = 1251  # of the paper's training on VoxCeleb1
TENTHS = 10  # of a curve's steps, whose mean losses are compared
LARGEST = "max"  # instead of a batch size


def build_parser(description: str | None) -> argparse.ArgumentParser:
    """The command line of all commands."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, formatter_class=form)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (summary, add_options) in COMMANDS.items():
        text = inspect.getdoc(add_options)
        command = commands.add_parser(name, help=summary, description=text, formatter_class=form)
        add_options(command)
        command.add_argument("--json", action="store_true", help="print one JSON object on standard output, no table")
    return parser


def add_network(parser: argparse.ArgumentParser, channels: int) -> None:
    """The options of whatever takes steps of a network."""
    add_count(parser, "--layers", 3, 8, "cells (default: 8)")
    add_count(parser, "--channels", 2, channels, f"of the first cell (default: {channels})")
    add_count(parser, "--frames", 32, 300, "of 10 ms (default: 300)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")


def add_rounds(parser: argparse.ArgumentParser, iterations: int, rounds: int | None, of_rounds: str) -> None:
    """The options of whatever is measured in a process of its own for every row of its table."""
    add_count(parser, "--iterations", 1, iterations, f"measured in every process (default: {iterations})")
    add_count(parser, "--rounds", 1, rounds, f"processes for each row, in turn (default: {of_rounds})")


def batch_size(text: str) -> int | str:
    """A batch size, or LARGEST."""
    if text != LARGEST and (not text.isdecimal() or int(text) < 1):
        raise UserError(f"--batch_size must be whole numbers of 1 or more, or {LARGEST}, not {text!r}")
    return text if text == LARGEST else int(text)


def add_search(parser: argparse.ArgumentParser) -> None:
    """Iterations of a search: an alpha step and a weight step, with each SEARCH.GRADIENT.

    `dense` is run as the original runs it: every operation with its graph in both steps, channels-first;
    `dense_channels_last` is the same in the memory layout of `exact` and `sampled`. Every one runs in a process of its
    own, in turn, --rounds times; seconds are the median over all iterations but each process's first. Memory is what
    the process took at most beyond what it had before its first iteration (on CUDA: the allocator's peak, with the
    weights). `max` is the largest power of two for which an exact iteration fits into the device's memory.
    """
    add_network(parser, channels=16)
    add_rounds(parser, 3, 2, "2")
    parser.add_argument("--batch_size", nargs="+", type=batch_size, default=[2], help="utterances, or max (default: 2)")
    parser.add_argument("--precision", nargs="+", choices=("fp32", "bf16"), default=["fp32"])
    parser.add_argument("--space", choices=CHOICES["SEARCH.SPACE"], default="s2")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))


def add_train(parser: argparse.ArgumentParser) -> None:
    """Steps of training the derived network: how long, how much memory, how much of what the machine can do.

    A step is as in train.py: forward pass, cross-entropy with label smoothing, backward pass, Adam. Variants:

        channels_first   the same network's own code run channels-first, in eager mode, in float32
        fp32             as trained: channels-last, in float32
        tf32             float32 whose products tensor cores round to 10 bits of mantissa (TRAIN.TF32); CUDA only
        bf16             forward passes under bfloat16 autocast (TRAIN.PRECISION)

    Each runs in a process of its own, in turn, --rounds times; with --compile and --graphs also, or only, as
    TRAIN.COMPILE and TRAIN.CUDA_GRAPHS have it done (channels_first never). Seconds are the median over all steps but
    each process's first three. What those three take beyond that is told as compiling, of the first round, whose cache
    is empty. Memory is the most that the process took in the other steps beyond what it had before the first (on CUDA:
    the allocator's peak, with the weights).

    FLOP/s count 2 operations a multiply-accumulate, once for the forward pass and twice for the backward pass. They are
    held against the fastest multiplication of large square matrices of the variant's kind of numbers, measured in the
    same process right before: the share is what all that is not such a multiplication leaves of it.

    Without --data_dir a batch of noise, made on the device, is trained on again and again. With it the batches come
    from the corpus, through loader and front end. Every step is waited for, so that on a GPU the share of waiting for
    data is an upper bound: train.py loads the next batch while the GPU is still at work.

    With --curve all rows train from the same weights on the same batches with the same drop-path, and their losses
    stand side by side. Training amplifies rounding: from Adam's first step on, two ways to compute the same thing part.
    So the first row is run once more, `nudged`, from weights of which about the last bit is changed: a setting whose
    losses differ from the first row's no more than those of the nudged one do does to them what rounding does anyway.
    """
    add_network(parser, channels=64)
    add_rounds(parser, 10, None, "2; with --curve 1")
    add_count(parser, "--batch_size", 1, 8, "utterances (default: 8)")
    add_count(parser, "--classes", 1, None, f"speakers (default: {CLASSES}, or as many as --data_dir has)")
    parser.add_argument("--genotype", help="its text, or a file that holds it (default: the paper's)")
    parser.add_argument("--drop_path", type=float, default=0.1, help="probability (default: 0.1)")
    defaults = "; ".join(f"{' '.join(names)} on {device}" for device, names in DEFAULT_VARIANTS.items())
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, help=f"(default: {defaults})")
    parser.add_argument("--compile", choices=tuple(SWITCH), default="off", help="torch.compile (default: off)")
    parser.add_argument("--graphs", choices=tuple(SWITCH), default="off", help="CUDA graphs (default: off)")
    parser.add_argument("--data_dir", help="a preprocessed corpus, whose crops are trained on instead of noise")
    add_count(parser, "--num_workers", 0, 2, "loader processes, for --data_dir (default: 2)")
    curve = "compare the losses of so many steps, which are measured instead of --iterations (needs --data_dir)"
    parser.add_argument("--curve", type=at_least("--curve", TENTHS), metavar="STEPS", help=curve)


def add_launches(parser: argparse.ArgumentParser) -> None:
    """What a step asks of a GPU: operations launched, waits of the host, copies to the device.

    Counted, not timed, and without a GPU: on PyTorch's meta device, whose tensors have shapes and no numbers, by the
    code that a GPU would run. A small batch on a fast GPU takes as long as its launches do, some microseconds each. A
    step begins with the front end and ends with the running mean of its loss; Adam counts as a dozen launches where it
    is one.
    """
    add_count(parser, "--layers", 3, 8, "cells (default: 8)")
    add_count(parser, "--channels", 2, 16, "of the supernet's first cell (default: 16)")
    add_count(parser, "--train_channels", 2, 128, "of the derived network's (default: 128)")
    add_count(parser, "--frames", 32, 300, "of 10 ms (default: 300)")


def add_data(parser: argparse.ArgumentParser) -> None:
    """Loading training crops from a preprocessed corpus, and whether training has to wait for them.

    Crops/s are those of the loader alone and with the front end on the device, over epoch after epoch for --seconds,
    after an epoch (or --seconds, if that is shorter) to warm up; and those of a loader without processes of its own.
    Bytes and calls a crop are what the system counted of this process's reads while it loaded without others. Waiting
    is the share of a training step of the derived network that goes by until the loader has its next batch; every step
    is waited for, so that on a GPU this is an upper bound. An epoch of a small corpus is short, and each begins with
    empty hands: the loader of a large one is faster. With --augmentation also what a crop costs with each part of it
    that needs no recordings, loaded without other processes, and with the front end.
    """
    add_network(parser, channels=64)
    parser.add_argument("--data_dir", required=True, help="a preprocessed corpus")
    add_count(parser, "--num_workers", 0, 2, "loader processes (default: 2)")
    add_count(parser, "--batch_size", 1, 96, "crops that are loaded at a time (default: 96)")
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement (default: 5)")
    add_count(parser, "--train_batch_size", 1, 8, "utterances in the batches of the network trained (default: 8)")
    parser.add_argument("--augmentation", action="store_true", help="measure what augmentation costs, too")


def add_scale(parser: argparse.ArgumentParser) -> None:
    """What VoxCeleb1's size takes: the index, the first batch, the classes, the trials and their scores.

    On the corpus of --data_dir, which must be preprocessed, or on a simulated one of VoxCeleb1's size (see
    tools/make_simulated_corpus.py), whose wav files are not needed. All steps are taken one after the other in a fresh
    process, --rounds times. Seconds are the median. Memory is beyond what the process had after its imports: `peak` at
    most during a step, `kept` after it. The embeddings that the trials are scored from are drawn at random, before that
    step, and count in its memory.
    """
    parser.add_argument("--data_dir", type=path, help="a preprocessed corpus (default: a simulated one)")
    add_count(parser, "--utterances", 1, UTTERANCES, f"of the simulated corpus (default: {UTTERANCES:,})")
    add_count(parser, "--speakers", 4, SPEAKERS, f"of the simulated corpus (default: {SPEAKERS:,})")
    add_count(parser, "--rounds", 1, 3, "processes, one after the other (default: 3)")


def add_trials(parser: argparse.ArgumentParser) -> None:
    """What it takes to score and judge as many trials as VoxCeleb1-E has, from embeddings as large as the paper's.

    On simulated embeddings: each is its speaker's mean and noise. Half of the trials are of one speaker, half of two;
    their utterances are drawn at random. All steps are taken one after the other, once, in a fresh process. Memory:
    `peak` is the most that the process had during a step, beyond what it had after its imports, embeddings included;
    `added` is beyond what it had when the step began; `process` is all of it.
    """
    add_count(parser, "--trials", 2, 581_480, "default: 581,480, as VoxCeleb1-E has")
    add_count(parser, "--utterances", 1, 145_160, "default: 145,160, as VoxCeleb1-E has")
    add_count(parser, "--dimensions", 1, 2048, "numbers in an embedding (default: 2048)")
    add_count(parser, "--speakers", 2, SPEAKERS, f"default: {SPEAKERS:,}")


def add_preprocess(parser: argparse.ArgumentParser) -> None:
    """How fast data_preprocess.py is over 1, 2, ... processes, and in how much memory.

    On the corpus of --data_dir, or on noise of --minutes minutes in VoxCeleb1's layout, and on every second speaker of
    it, which shows how memory grows with the corpus. Hours of audio a minute count from the end of start-up (Python,
    PyTorch, lists, finding files), whose seconds stand beside them. Memory is the sum of each process's highest
    (VmHWM); pages that processes share count in each. A corpus that was just made lies in the page cache; a disk may be
    slower: VoxCeleb1 is 40 GB. Each run writes its index to a temporary folder.
    """
    parser.add_argument("--data_dir", type=path, help="a corpus (default: noise, made for this)")
    parser.add_argument("--minutes", type=float, default=300, help="of noise, 1.9 MB each (default: 300)")
    text = "processes (default: 1, 2, 4, ... and all cores)"
    parser.add_argument("--workers", nargs="+", type=at_least("--workers", 0), help=text)


def add_recognition(parser: argparse.ArgumentParser) -> None:
    """Who is recognised by whom, strangers among them, and how long a recording takes.

    The speakers of the corpus's trials are enrolled by their first utterances, half of them at a time (drawn by
    --seed), and all other utterances of all speakers are identified, so that each speaker is known once and unknown
    once. Decisions are those of the run's calibration.json. A recording's time is that of reading and embedding it
    alone; the real-time factor is that time over its duration.
    """
    parser.add_argument("--run", type=path, required=True, help="run folder of a trained network, with a calibration")
    parser.add_argument("--data_dir", type=path, required=True, help="a preprocessed corpus")
    add_count(parser, "--enrolment", 1, 3, "utterances that a speaker is enrolled by (default: 3)")
    parser.add_argument("--prior", type=float, help="that two recordings are of one voice (default: the calibration's)")
    add_count(parser, "--seed", 0, 0, "of the halves (default: 0)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")


COMMANDS = {
    "search": ("iterations of a search", add_search),
    "train": ("steps of training the derived network", add_train),
    "launches": ("what a step asks of a GPU, counted without one", add_launches),
    "data": ("loading training crops", add_data),
    "scale": ("what VoxCeleb1's size takes in time and memory, without its files", add_scale),
    "trials": ("what scoring, figures and intervals take for VoxCeleb1-E's trials, without its files", add_trials),
    "recognition": ("enrolled voices recognised, strangers among them", add_recognition),
    "preprocess": ("hours of audio a minute, and memory, of data_preprocess.py", add_preprocess),
}
