"""The folder of a comparison, which is stopped and gone on with: its settings, and the records of what is finished."""

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import yaml
from yacs.config import CfgNode

from config import default_config, flatten
from utils.records.checkpoint import FREE_SETTINGS
from utils.system.errors import UserError
from utils.system.files import write_atomically
from utils.training.state import create_run_dir

SETTINGS, RUNS = "config.yaml", "runs"
Record = dict[str, Any]
# Beginnings of the settings that may be others when a comparison goes on: what may in a run, and what is set for every
# training or is of a search; but all are to be trained for as many epochs.
FREE = {*FREE_SETTINGS, "SEED", "SEARCH", "TRAIN.DROPPATH_PROB", "TRAIN.ARCH_"} - {"TRAIN.END_EPOCH"}


@dataclass(frozen=True)
class Job:
    """What is done once and then recorded: its fields begin the line of the record."""


J = TypeVar("J", bound=Job)


def open_folder(
    cfg: CfgNode, script: str, config_file: str, out: Path | None, records: str, free: tuple[str, ...]
) -> Path:
    """The folder of a comparison, with its settings in config.yaml: `out`, or a new one where that is None.

    Args:
        records: the file of what is finished.
        free: beginnings of the settings that may be others when a comparison goes on.

    Raises:
        UserError: it holds results of other settings, or cannot be made.
    """
    if out is None:
        return create_run_dir(cfg, script, config_file).resolve()
    if (out / records).exists() or (out / RUNS).exists():
        _check_settings(cfg, out, free)
        return out.resolve()
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(out / SETTINGS, cfg.dump())
    except OSError as error:
        raise UserError(f"--out: cannot write to {out} ({error.strerror}); give another folder") from error
    return out.resolve()


def _check_settings(cfg: CfgNode, folder: Path, free: tuple[str, ...]) -> None:
    """Refuse to go on with a comparison under other settings: its results could not be compared."""
    try:
        before = flatten(yaml.safe_load((folder / SETTINGS).read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError, yaml.YAMLError) as error:
        raise UserError(
            f"{folder} holds results, but their settings in {SETTINGS} cannot be read: give another --out"
        ) from error
    before = flatten(default_config()) | before  # a key that is newer than the comparison had no other value
    now = flatten(yaml.safe_load(cfg.dump()))
    differing = [
        f"{key} {before.get(key)} (now {now.get(key)})"
        for key in sorted(now.keys() | before.keys())
        if now.get(key) != before.get(key) and not key.startswith(free)
    ]
    if differing:
        raise UserError(
            f"{folder} holds a comparison with {', '.join(differing)}: go on with --cfg {folder / SETTINGS}, or give "
            "another --out"
        )


def read_records(
    path: Path, kind: type[J], keys: Collection[str], objection: Callable[[J, Record], str]
) -> dict[J, Record]:
    """What is recorded of the finished jobs; half a line, which an interruption can leave, is taken out of the file.

    Args:
        keys: what a record holds besides the job.
        objection: why a record cannot be taken over; empty where it can.

    Raises:
        UserError: a line cannot be read, or there is an objection.
    """
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        write_atomically(path, whole)
    finished = {}
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            record = json.loads(line)
            job = kind(**{field.name: record.pop(field.name) for field in fields(kind)})
            _ = [record[key] for key in keys]
            reason = objection(job, record)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path}, line {number} is damaged: delete it, or give another --out") from error
        if reason:
            raise UserError(f"{path}, line {number}: {reason}")
        finished[job] = record
    return finished
