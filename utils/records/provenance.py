"""Results, which cannot be written without saying where they come from."""

import contextlib
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import yaml
from yacs.config import CfgNode

from data_objects.index import Index
from utils.records.checkpoint import Checkpoint
from utils.records.code import code_fingerprints
from utils.records.guard import Protocol, is_pretraining_known, is_training_known
from utils.system.commands import this_call
from utils.system.errors import UserError
from utils.system.files import hash_file, write_atomically
from utils.system.processes import is_main, processes

PACKAGES = ("torch", "torchaudio", "numpy", "scipy", "scikit-learn", "soundfile", "soxr", "matplotlib")
MAY_BE_EMPTY = ("trials", "skipped_trials")  # of a provenance: identification has no trials


@dataclass(frozen=True)
class Provenance:
    """What a result comes from: what one needs to get it again, and to see what it is worth.

    Attributes:
        command: how the script was called.
        checkpoint: file, sha256, epoch, figures of the best epoch.
        protocol: speakers, utterances and the hash of their names for everything trained on, chosen on and tested on;
            what of it overlaps; whether the utterances trained on, and the pretraining, are known for certain.
        index: its folder, its sha256, and the sha256 of that of the training.
        trials: of every list its file, sha256 and, if it is one, what it is known as.
        skipped_trials: how many trials are not in the result.
        config, training_config: the settings of the evaluation and of the training.
        packages, code, machine: versions; hashes of the source files; what it ran on.
    """

    command: str
    checkpoint: dict[str, Any]
    protocol: dict[str, Any]
    index: dict[str, str]
    trials: dict[str, dict[str, Any]]
    skipped_trials: int
    config: dict[str, Any]
    training_config: dict[str, Any]
    packages: dict[str, str]
    code: dict[str, str]
    machine: dict[str, Any]

    def check(self) -> None:
        """Make sure that nothing is left out.

        Raises:
            ValueError: something is.
        """
        missing = [entry.name for entry in fields(self) if not getattr(self, entry.name)]
        missing = [name for name in missing if name not in MAY_BE_EMPTY]
        if not self.protocol.get("roles"):
            missing.append("protocol.roles")
        missing += [f"trials.{name}.sha256" for name, entry in self.trials.items() if not entry.get("sha256")]
        if missing:
            raise ValueError(f"a result needs to say where it comes from: its provenance has no {missing[0]}")


def build_provenance(
    cfg: CfgNode,
    checkpoint: Checkpoint,
    path: Path,
    index: Index,
    protocol: Protocol,
    device: torch.device,
    *,
    script: str,
    trials: dict[str, dict[str, Any]] | None = None,
    skipped_trials: int = 0,
) -> Provenance:
    """The provenance of what a checkpoint at `path` gives on an index.

    Args:
        script: the file, relative to the project, that computes the results.
        trials, skipped_trials: see `Provenance`.
    """
    known = {
        "training_utterances_known": is_training_known(checkpoint, protocol),
        "pretraining_known": is_pretraining_known(checkpoint),
    }
    return Provenance(
        command=this_call(),
        checkpoint={"file": str(path), "sha256": hash_file(path)}
        | {name: getattr(checkpoint, name) for name in ("epoch", "best", "architecture")},
        protocol=protocol.summary() | known,
        index={
            "folder": str(index.feature_dir),
            "sha256": index.fingerprint,
            "sha256_at_training": checkpoint.index,
        },
        trials=trials or {},
        skipped_trials=skipped_trials,
        config=yaml.safe_load(cfg.dump()),
        training_config=yaml.safe_load(checkpoint.config),
        packages=package_versions(),
        code=code_fingerprints(script),
        machine=_describe_machine(device),
    )


def _describe_machine(device: torch.device) -> dict[str, Any]:
    return {
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        "threads": torch.get_num_threads(),
        "processes": processes(),
    }


def package_versions() -> dict[str, str]:
    """Of Python and of the packages that what is computed depends on."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def write_results(path: Path, results: dict[str, Any], provenance: Provenance, *, keys: Sequence[str] = ()) -> None:
    """Write results and where they come from as JSON, and `keys` of them (all, by default) on a line of stdout.

    Only the main process does.

    Raises:
        ValueError: the provenance leaves something out; nothing is written then.
    """
    provenance.check()
    if is_main():
        content = results | {"provenance": asdict(provenance)}
        write_atomically(path, json.dumps(content, indent=2) + "\n")
        print(json.dumps({key: results[key] for key in keys or results}))


def remove_earlier(results: Path, files: Sequence[Path]) -> list[str]:
    """Remove what an earlier evaluation left beside its results and a new one did not write again.

    Args:
        results: the file of results, which lists the earlier evaluation's files.
        files: those of the new evaluation.

    Returns:
        The new list, relative to the folder of the results.
    """
    try:
        before = json.loads(results.read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        before = []
    folder = results.parent
    new = [file.relative_to(folder).as_posix() for file in files]
    for name in before:
        if name not in new and (folder / name).resolve().is_relative_to(folder.resolve()):
            (folder / name).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # not empty
                (folder / name).parent.rmdir()
    return new


def prepare_folder(folder: Path, option: str = "--out_dir") -> Path:
    """The folder for results, made if it is not there.

    Args:
        option: what names it, for messages.

    Raises:
        UserError: it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make {folder} ({error.strerror}): give another folder with {option}") from error
    if not os.access(folder, os.W_OK):
        raise UserError(f"cannot write to {folder}: give another folder with {option}")
    return folder
