"""From a checkpoint of the authors' code to a run folder of ours: names, shapes, and what nobody knows."""

import argparse
import json
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from config import default_config
from data_objects.frontend import BINS, SETTINGS, FrontEnd
from data_objects.names import encode
from models import DERIVED, build_model
from models.genotypes import parse_genotype, read_genotype
from utils.records.checkpoint import BEST, Checkpoint, identity_of, save_checkpoint
from utils.records.guard import IMPORTED, UNTRAINED
from utils.system.errors import UserError
from utils.system.files import hash_file, read_text, write_atomically

ORIGIN = "origin.json"  # in the run folder: what it was made of
RENAMED = (  # of a derived network: what a part is called there, and here
    (r"^stem(\d)\.", r"stem_\1."),
    (r"\.preprocess0\.", ".preprocess_older."),
    (r"\.preprocess1\.", ".preprocess_newer."),
    (r"\._ops\.", ".operations."),
    (r"\.bn\.", ".norm."),
    (r"\.op\.", "."),
    (r"^fc\.", "classifier."),
)
BLOCKS = {8: "resnet18", 16: "resnet34"}  # by the number of their basic blocks


class Genotype(NamedTuple):
    """What the authors' checkpoints call utils.Genotype; nothing but its four values."""

    normal: list[tuple[str, int]]
    normal_concat: range
    reduce: list[tuple[str, int]]
    reduce_concat: range


class Inert:
    """In place of NumPy's numbers, such as a best EER, which are not needed and of which nothing is made."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


def import_original(args: argparse.Namespace) -> str:
    """What tools/import_original.py does: the run folder, and what it holds, in a line.

    Raises:
        UserError: a file cannot be read, is something else, or does not go with the others; RUN is there already.
    """
    if args.out.exists():
        raise UserError(f"--out: {args.out} is there already: name a new folder")
    content = read_original(args.file)
    weights = rename(content["state_dict"])
    given = str(read_genotype(args.text_arch)) if args.text_arch else None
    architecture = describe(weights, given or find_genotype(content), args.file)
    speakers = read_speakers(args.speakers)
    if len(speakers) != architecture["num_classes"]:
        raise UserError(
            f"--speakers: {args.speakers} names {len(speakers):,} speakers, {args.file} has "
            f"{architecture['num_classes']:,} classes: give those that it was trained on"
        )
    front_end = FrontEnd(read_statistics("--mean", args.mean), read_statistics("--std", args.std))
    sub_dir = args.sub_dir or args.speakers.name
    if sub_dir not in ("merged", "dev"):
        raise UserError(f"--sub_dir: say whether it was trained on merged or dev; {args.speakers} does not")
    checkpoint = make_checkpoint(
        architecture, fit(weights, architecture, args.file), front_end, speakers, sub_dir, args
    )
    args.out.mkdir(parents=True)
    save_checkpoint(checkpoint, args.out / BEST)
    write_atomically(args.out / "config.yaml", checkpoint.config)
    origin = {name: str(getattr(args, name)) for name in ("file", "mean", "std", "speakers")}
    origin["sha256"] = hash_file(args.file)
    write_atomically(args.out / ORIGIN, json.dumps(origin, indent=2) + "\n")
    kind = f"{architecture['layers']} cells of {architecture['channels']} channels" if "layers" in architecture else ""
    return (
        f"{args.out}: {kind or architecture['kind']}, {len(speakers):,} speakers of {sub_dir}, {len(weights):,} tensors"
    )


def read_original(path: Path) -> dict[str, Any]:
    """A checkpoint's content: tensors, plain values, and of classes none but the genotype.

    Raises:
        UserError: no such file; one that holds anything else, none of which is run; no weights in it.
    """
    if not path.is_file():
        raise UserError(f"no such file: {path}")
    allowed: list[Any] = [(Genotype, "utils.Genotype"), (range, "builtins.range"), (range, "__builtin__.xrange")]
    allowed += [(Inert, f"numpy.{name}") for name in ("dtype", "core.multiarray.scalar", "_core.multiarray.scalar")]
    try:
        with torch.serialization.safe_globals(allowed), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of forms of pickles that it may not know
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what reading garbage raises depends on the garbage
        named = re.search(r"(?:GLOBAL|global) ([\w.]+)", str(error))
        what = f"it wants {named[1]}, which is not run" if named else type(error).__name__
        raise UserError(f"{path} is no checkpoint of the authors' code, or damaged: {what}") from error
    weights = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(_is_weight(*item) for item in weights.items()):
        raise UserError(f"{path} is no checkpoint of the authors' code: it has no state_dict of finite tensors")
    return content


def _is_weight(name: object, value: object) -> bool:
    """Whether an entry of a state_dict is one: named, real and finite."""
    return (
        isinstance(name, str) and isinstance(value, Tensor) and not value.is_complex() and bool(value.isfinite().all())
    )


def rename(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by our names, in their order."""
    renamed = {}
    for name, value in weights.items():
        own = name.removeprefix("module.")  # of DataParallel
        for pattern, replacement in RENAMED:
            own = re.sub(pattern, replacement, own)
        renamed[own] = value
    return renamed


def find_genotype(content: Mapping[str, Any]) -> str | None:
    """The genotype in a checkpoint, as text; None for a baseline's."""
    for value in content.values():
        if isinstance(value, Genotype):
            fields = ", ".join(f"{name}={_plain(own)!r}" for name, own in value._asdict().items())
            return str(parse_genotype(f"Genotype({fields})"))
        if isinstance(value, str) and value.startswith("Genotype("):
            return str(parse_genotype(value))
    return None


def _plain(value: object) -> object:
    return list(value) if isinstance(value, list | tuple) else value


def describe(weights: Mapping[str, Tensor], genotype: str | None, path: Path) -> dict[str, Any]:
    """What `models.build_model` builds the network from, by the shapes of its weights.

    Raises:
        UserError: it is a network that we do not know.
    """
    if "classifier.weight" not in weights:
        raise UserError(f"{path} has no classifier: it is no derived network and no ResNet of the authors' code")
    classes = len(weights["classifier.weight"])
    if genotype is None and "stem_0.3.weight" in weights:
        raise UserError(
            f"{path} is a derived network, but holds no genotype (the authors' training for verification saves none): "
            "give the one that it was trained with as --text_arch"
        )
    if genotype is not None:
        cells = {match[1] for name in weights if (match := re.match(r"cells\.(\d+)\.", name))}
        channels = len(weights["stem_0.3.weight"]) if "stem_0.3.weight" in weights else 0
        if not cells or not channels:
            raise UserError(f"{path} has a genotype, but no stem and cells: it is no derived network")
        return {
            "kind": DERIVED,
            "layers": len(cells),
            "channels": channels,
            "num_classes": classes,
            "genotype": genotype,
        }
    blocks = {match[0] for name in weights if (match := re.match(r"layer\d\.\d+", name))}
    if len(blocks) not in BLOCKS:
        raise UserError(f"{path} is no derived network (it has no genotype), and no ResNet-18 or -34")
    return {"kind": BLOCKS[len(blocks)], "num_classes": classes}


def fit(weights: Mapping[str, Tensor], architecture: dict[str, Any], path: Path) -> dict[str, Tensor]:
    """The weights as the network's state, all of them and nothing else.

    Raises:
        UserError: one is missing, unknown, or of another shape.
    """
    needed = build_model(architecture).state_dict()
    for name, value in needed.items():
        if name not in weights and not name.endswith("num_batches_tracked"):
            raise UserError(f"{path} has no tensor for {name}")
        if name in weights and weights[name].shape != value.shape:
            raise UserError(f"{path}: {name} is {tuple(weights[name].shape)}, needed is {tuple(value.shape)}")
    if unknown := sorted(weights.keys() - needed.keys()):
        raise UserError(f"{path} has {len(unknown)} tensors more than the network: {', '.join(unknown[:3])}")
    return {name: weights.get(name, value).clone() for name, value in needed.items()}


def read_speakers(path: Path) -> list[str]:
    """The speakers trained on, in the order of their classes: sorted, as the authors' code has them.

    Raises:
        UserError: there is no such folder or file, or none in it.
    """
    if path.is_dir():
        names = [entry.name for entry in path.iterdir() if entry.is_dir()]
    elif path.is_file():
        lines = read_text(path, "expected is a speaker's name a line").splitlines()
        names = [line.strip() for line in lines if line.strip()]
    else:
        raise UserError(f"--speakers: no such folder or file: {path}")
    if len(set(names)) < len(names) or not names:
        raise UserError(f"--speakers: {path} names {'a speaker twice' if names else 'nobody'}")
    return list(map(encode, sorted(names)))


def read_statistics(option: str, path: Path) -> np.ndarray:
    """Means or deviations (257,) float32.

    Raises:
        UserError: no .npy file of 257 finite numbers.
    """
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{option}: {path} is no .npy file of numbers ({type(error).__name__})") from error
    values = np.asarray(values).squeeze()
    if values.shape != (BINS,) or values.dtype.kind != "f" or not np.isfinite(values).all():
        raise UserError(f"{option}: {path} must hold {BINS} finite numbers, one a frequency bin, not {values.shape}")
    if option == "--std" and values.min() <= 0:
        raise UserError(f"{option}: {path} has a deviation of {values.min():g}; all must be more than 0")
    return values.astype(np.float32)


def make_checkpoint(
    architecture: dict[str, Any],
    weights: dict[str, Tensor],
    front_end: FrontEnd,
    speakers: list[str],
    sub_dir: str,
    args: argparse.Namespace,
) -> Checkpoint:
    """The checkpoint, in which is marked what nobody knows."""
    cfg = default_config()
    cfg.DATASET.SUB_DIR, cfg.DATASET.PARTIAL_N_FRAMES = sub_dir, args.frames
    if architecture["kind"] == DERIVED:
        cfg.MODEL.LAYERS, cfg.MODEL.INIT_CHANNELS = architecture["layers"], architecture["channels"]
    else:
        cfg.MODEL.NAME = architecture["kind"]
    checkpoint = Checkpoint(
        script="train" if architecture["kind"] == DERIVED else "train_baseline",
        architecture=architecture,
        model=weights,
        front_end=front_end.state_dict(),
        front_end_settings=SETTINGS,
        optimizers={},
        generators={},
        epoch=0,  # not known
        step=0,
        best={},
        config=cfg.dump(),
        sub_dir=sub_dir,
        speakers=speakers,
        index="",
        protocol={
            IMPORTED: hash_file(args.file),
            UNTRAINED: [],
            "validation_speakers": [],
            "validation_trials": "",
            "pretraining": [],
            "pretraining_known": False,
        },
    )
    checkpoint.identity = identity_of(checkpoint)
    return checkpoint
