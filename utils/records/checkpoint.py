"""Checkpoints: one file that holds all that continuing or evaluating needs.

They hold tensors and plain values alone, so they load with `weights_only=True` and can run no code.
"""

import hashlib
import io
import warnings
import zipfile
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
import yaml

from config import differing_settings, flatten
from data_objects.frontend import SETTINGS, differing_front_end, is_known
from models import USUAL
from utils.system.errors import UserError
from utils.system.files import expand_user, write_atomically

FORMAT = "autospeech-checkpoint"
VERSION = 2
READABLE = (1, 2)  # versions; the first had no checkpoints within an epoch
LAST, PREVIOUS, BEST = "last.pt", "previous.pt", "best.pt"
KEPT, KEPT_FILES = "epoch-{:04}.pt", "epoch-*.pt"  # of an epoch: see TRAIN.KEEP_EPOCHS


ORIGINAL = (
    "{} is a checkpoint of the authors' code: 'python tools/import_original.py' makes a run folder of it, for use here"
)


MOST_LOOKED_AT = 1 << 22  # bytes of a file that is looked through for names


class DamagedCheckpointError(UserError):
    """A file that is no checkpoint, or not all of one."""


@dataclass
class Checkpoint:
    """What a checkpoint file holds.

    Attributes:
        script: search, train or train_baseline.
        architecture: what the network is built from: kind, num_classes and, unless a baseline, layers, channels and
            genotype (as text; the supernet has its space instead); pooling, loss, scale and subcenters where they are
            not as `models.USUAL`.
        model, front_end: state dicts; front_end_settings: what its numbers mean.
        trained: where the model is a moving average (TRAIN.EMA), the weights that it is of, to go on with; not in
            best.pt.
        optimizers: a state dict each, by name.
        generators: torch's generator states, by device type.
        epoch: epochs done; step: iterations done; batch: those of them in the epoch under way.
        best: the figures of the epoch that best.pt holds; empty before the first validation.
        config: the settings, as YAML.
        sub_dir, speakers: what was trained on; a speaker's place is its class.
        index: fingerprint of the index.
        meters, notes: of the epoch under way: see `TrainingState`.
        code: what computed it: see `code_fingerprints`; processes: how many shared the run.
        layout, compiled, graphs: how the run's steps are taken: see `utils.training.tuning`.
        protocol: plain values: who was trained on, chosen on and to be tested on (`guard.Protocol.summary`), the
            validation_speakers, their kinds, and the sha256 of their validation_trials; what is known of the
            pretraining.
        identity: see `identity_of`.
    """

    script: str
    architecture: dict[str, Any]
    model: dict[str, Any]
    front_end: dict[str, Any]
    front_end_settings: dict[str, Any]
    optimizers: dict[str, Any]
    generators: dict[str, Any]
    epoch: int
    step: int
    best: dict[str, Any]
    config: str
    sub_dir: str
    speakers: list[str]
    index: str
    trained: dict[str, Any] = field(default_factory=dict)
    batch: int = 0
    meters: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)
    processes: int = 1
    layout: str = "channels_last"
    compiled: bool = False
    graphs: bool = False
    protocol: dict[str, Any] = field(default_factory=dict)
    identity: dict[str, str] = field(default_factory=dict)


def save_checkpoint(checkpoint: Checkpoint, path: Path, keep_as: Path | None = None) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        keep_as: where the checkpoint that was there stays.

    Raises:
        UserError: it cannot be written: the disk is full, say. What was there is left as it was.
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "version": VERSION, **vars(checkpoint)}, buffer)
    try:
        write_atomically(path, buffer.getvalue(), keep_as)
    except OSError as error:
        is_there = any(file.exists() for file in (path, path.with_name(LAST), path.with_name(PREVIOUS)))
        there = f"the one before is intact: make room and go on with --load_path {path.parent}"
        raise UserError(
            f"cannot write the checkpoint {path} of {len(buffer.getvalue()) / 1e6:.1f} MB ({error.strerror or error}); "
            f"{there if is_there else 'there is none before it: make room and begin anew'}"
        ) from error


def find_checkpoint(path: str | Path, which: str, option: str = "--load_path") -> Path:
    """The file that an option means: itself, or last.pt or best.pt (`which`) in a run folder.

    Raises:
        UserError: there is none.
    """
    path = expand_user(path, option)
    if path.is_dir():
        if which == LAST and not (path / LAST).is_file() and (path / PREVIOUS).is_file():
            return path / PREVIOUS
        if not (path / which).is_file():
            reason = "nothing was saved" if which == LAST else "it is a search, or has not validated yet"
            raise UserError(f"{option}: no {which} in {path}: {reason}, or it is no run folder")
        return path / which
    if not path.is_file():
        raise UserError(f"{option}: no such file or folder: {path}")
    return path


def load_checkpoint(path: Path, scripts: tuple[str, ...]) -> Checkpoint:
    """Read a checkpoint to the CPU.

    Args:
        scripts: which scripts' checkpoints will do.

    Raises:
        UserError: not a checkpoint of ours, of another version, or of another script.
    """
    return checkpoint_of(read_tensors(path), path, scripts)


def checkpoint_of(content: Any, path: Path, scripts: tuple[str, ...]) -> Checkpoint:
    """The checkpoint in a file's content; see `load_checkpoint`."""
    if is_original(content):
        raise UserError(ORIGINAL.format(path))
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DamagedCheckpointError(f"{path} is not a checkpoint of this project")
    if content["version"] not in READABLE:
        raise UserError(f"{path} is a checkpoint of version {content['version']}; this code reads {READABLE}")
    needed = {entry.name for entry in fields(Checkpoint) if entry.default_factory is entry.default is MISSING}
    names = Checkpoint.__dataclass_fields__.keys() & content.keys()
    if missing := needed - names:
        raise DamagedCheckpointError(f"{path} is not a checkpoint of this project: it has no {min(missing)}")
    checkpoint = Checkpoint(**{name: content[name] for name in names})
    if checkpoint.script not in scripts:
        remedy = "; train its genotype with train.py first" if checkpoint.script == "search" else ""
        raise UserError(
            f"{path} is a checkpoint of {checkpoint.script}.py; needed is one of "
            f"{' or '.join(f'{script}.py' for script in scripts)}{remedy}"
        )
    return checkpoint


def read_tensors(path: Path) -> Any:
    try:
        with warnings.catch_warnings():  # of forms of pickles that it may not know: it then says so in an error
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): make it readable for you") from error
    except Exception as error:  # what reading garbage raises depends on the garbage
        if mentions_genotype(path):
            raise UserError(ORIGINAL.format(path)) from error
        raise DamagedCheckpointError(f"{path} is not a checkpoint, or damaged ({type(error).__name__})") from error


def is_original(content: Any) -> bool:
    """Whether a file's content is as the authors' code writes it, by the names of its weights."""
    weights = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(weights, dict):
        return False
    names = {str(name).removeprefix("module.") for name in weights}
    return "classifier.weight" in names and bool({"stem0.0.weight", "conv1.weight"} & names)


def mentions_genotype(path: Path) -> bool:
    """Whether a file that cannot be read with tensors alone holds weights and a genotype of the authors' code.

    Its pickle is looked through for names, and not run.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                names = [name for name in archive.namelist() if name.endswith("data.pkl")]
                with archive.open(names[0]) if names else io.BytesIO() as entry:
                    head = entry.read(MOST_LOOKED_AT)
        else:  # as PyTorch wrote them before version 1.6
            with open(path, "rb") as file:
                head = file.read(MOST_LOOKED_AT)
    except Exception:  # what a damaged archive raises depends on the damage
        return False
    return b"state_dict" in head and b"Genotype" in head


def load_last(path: str | Path, scripts: tuple[str, ...]) -> tuple[Checkpoint, Path]:
    """The checkpoint that a run goes on from, and its file: last.pt, or previous.pt where that is damaged.

    Raises:
        UserError: see `find_checkpoint` and `load_checkpoint`.
    """
    file = find_checkpoint(path, LAST)
    before = file.with_name(PREVIOUS)
    try:
        return load_checkpoint(file, scripts), file
    except DamagedCheckpointError:
        if file.name != LAST or not before.is_file():
            raise
        return load_checkpoint(before, scripts), before


def check_architecture(expected: dict[str, Any], checkpoint: Checkpoint, path: Path) -> None:
    """Refuse a checkpoint of another network than the settings describe.

    Raises:
        UserError: naming what differs, with both values.
    """
    found = USUAL | checkpoint.architecture
    for name, value in (expected | USUAL | expected).items():  # also what neither need say, after the rest
        if found.get(name) != value:
            raise UserError(
                f"{path} holds another network: its {name} is {found.get(name)}, the settings say {value}; "
                "give the settings that it was trained with (config.yaml in its run folder)"
            )


def check_front_end(checkpoint: Checkpoint, path: Path, expected: dict[str, Any] | None = None) -> None:
    """Refuse a checkpoint of a front end that this code does not have, or of another one than the settings ask for.

    Args:
        expected: by the settings; None: any that this code has.

    Raises:
        UserError: naming both.
    """
    found = checkpoint.front_end_settings
    if not is_known(found):
        raise UserError(f"{path}: its front end is {found}, this code's is {SETTINGS}")
    if expected is not None and (differing := differing_front_end(found, expected)):
        raise UserError(
            f"{path} holds another network: its front end has {differing}; give the settings that it was trained with "
            "(config.yaml in its run folder)"
        )


def identity_of(checkpoint: Checkpoint) -> dict[str, str]:
    """A sha256 each of what makes the numbers of a checkpoint mean what they mean."""
    statistics = b"".join(value.cpu().numpy().tobytes() for _, value in sorted(checkpoint.front_end.items()))
    parts = {
        "front end": repr(sorted(checkpoint.front_end_settings.items())).encode() + statistics,
        "architecture": repr(sorted(checkpoint.architecture.items())).encode(),
        "class list": "\n".join(checkpoint.speakers).encode(errors="surrogateescape"),
        "index": checkpoint.index.encode(),
    }
    if "genotype" in checkpoint.architecture:
        parts["genotype"] = checkpoint.architecture["genotype"].encode()
    return {name: hashlib.sha256(content).hexdigest() for name, content in parts.items()}


def check_identity(checkpoint: Checkpoint, path: Path) -> None:
    """Refuse a checkpoint in which something is not what it was when it was written.

    Raises:
        UserError: naming what: the front end, the genotype, the class list, ...
    """
    now = identity_of(checkpoint) if checkpoint.identity else {}
    changed = [name for name in ("genotype", *now) if name in now and checkpoint.identity.get(name) != now[name]]
    if changed:
        raise UserError(
            f"{path}: its {changed[0]} has been changed since it was trained: take the file that was written"
        )
    if len(checkpoint.speakers) != checkpoint.architecture["num_classes"]:
        raise UserError(
            f"{path}: its class list has {len(checkpoint.speakers)} speakers, its classifier "
            f"{checkpoint.architecture['num_classes']}"
        )


# Beginnings of the settings that may differ when a run goes on: none changes what a step computes (but for rounding:
# the device, cuDNN and COMPILE; VAL_FREQ and STOP_EPOCH decide which epochs can be the best) except END_EPOCH, for
# those who train on.
FREE_SETTINGS = (
    "PRINT_FREQ",
    "VAL_FREQ",
    "DEVICE",
    "OUT_DIR",
    "CUDNN",
    "DATASET.DATA_DIR",
    "DATASET.FEATURE_DIR",
    "DATASET.NUM_WORKERS",
    "MODEL.NAME",  # the architecture is compared by itself
    "MODEL.NUM_CLASSES",
    "MODEL.PRETRAINED",
    "SEARCH.MAX_HOURS",
    "SEARCH.COLLAPSE_PATIENCE",
    "SEARCH.CHOOSE",
    "SEARCH.CANDIDATES",
    "SEARCH.RANDOM_PATHS",
    "SEARCH.REPORT",
    "EVAL",
    "TRAIN.CHECKPOINT_MINUTES",
    "TRAIN.KEEP_EPOCHS",
    "TRAIN.COMPILE",
    "TRAIN.CUDA_GRAPHS",
    "TRAIN.END_EPOCH",
    "TRAIN.STOP_EPOCH",
)


def check_settings(config: str, checkpoint: Checkpoint, path: Path) -> None:
    """Refuse to go on with a run under other settings than it was begun with.

    Args:
        config: the settings, as YAML.

    Raises:
        UserError: naming what differs, with both values.
    """
    now, before = (flatten(yaml.safe_load(text)) for text in (config, checkpoint.config))
    before = {"DATASET.VAL_SPEAKERS": 0} | before  # before there was this key, no speakers were held out
    if now["DATASET.SUB_DIR"] == "merged":  # nobody is held out there
        before |= {key: now[key] for key in now if key.startswith("DATASET.VAL_")}
    if differing := differing_settings(before, now, FREE_SETTINGS):
        raise UserError(
            f"{path} is of a run with {differing}: go on with --cfg {path.parent / 'config.yaml'}, or begin a new run"
        )


def generator_states() -> dict[str, Any]:
    """The states of torch's generators."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_initialized():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def restore_generators(states: dict[str, Any]) -> None:
    """Set torch's generators to earlier states."""
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
