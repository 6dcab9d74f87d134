"""Comparisons of many trainings, which are stopped and gone on with: their folder, its settings, what is finished."""

from collections.abc import Callable
from pathlib import Path

import yaml
from yacs.config import CfgNode

from config import default_config, flatten
from utils.system.errors import UserError
from utils.system.files import write_atomically
from utils.training.state import create_run_dir

SETTINGS = "config.yaml"


def open_folder(
    cfg: "CfgNode", script: str, config_file: str, out: Path | None, begun: str, is_free: Callable[[str], bool]
) -> Path:
    """The folder of a comparison, with its settings in config.yaml: `out`, or a new one where that is None.

    Args:
        begun: a file or folder that is there once something is finished, or under way.
        is_free: whether a setting may be another when a comparison goes on.

    Raises:
        UserError: it holds results of other settings, or cannot be made.
    """
    if out is None:
        return create_run_dir(cfg, script, config_file).resolve()
    if (out / begun).exists():
        _check_settings(cfg, out, is_free)
        return out.resolve()
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(out / SETTINGS, cfg.dump())
    except OSError as error:
        raise UserError(f"--out: cannot write to {out} ({error.strerror}); give another folder") from error
    return out.resolve()


def _check_settings(cfg: "CfgNode", folder: Path, is_free: Callable[[str], bool]) -> None:
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
        if now.get(key) != before.get(key) and not is_free(key)
    ]
    if differing:
        raise UserError(
            f"{folder} holds a comparison with {', '.join(differing)}: go on with --cfg {folder / SETTINGS}, or give "
            "another --out"
        )


def read_records(path: Path) -> list[str]:
    """The lines of what is finished; half a line, which an interruption can leave, is taken out of the file."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        write_atomically(path, whole)
    return whole.splitlines()
