"""The settings that come with the project: the files of exps/."""

from pathlib import Path

from utils.system.errors import UserError
from utils.system.files import ROOT, write_atomically

EXPERIMENTS = "exps"


def shipped_configs(to: Path | None = None) -> list[Path]:
    """The shipped files, as exps/...; or, where there is a folder to copy them to, their copies in it.

    Raises:
        UserError: one of them is there already, or cannot be written; the former is found before any is written.
    """
    shipped = sorted(path for path in (ROOT / EXPERIMENTS).rglob("*") if path.suffix in (".yaml", ".txt"))
    if to is None:
        return [path.relative_to(ROOT) for path in shipped]
    copies = {path: to / path.relative_to(ROOT / EXPERIMENTS) for path in shipped}
    if there := [copy for copy in copies.values() if copy.exists()]:
        raise UserError(f"{there[0]} is there already, and nothing was copied: give another folder with --to")
    for path, copy in copies.items():
        try:
            copy.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(copy, path.read_bytes())
        except OSError as error:
            raise UserError(f"cannot write {copy} ({error.strerror}): give another folder with --to") from error
    return list(copies.values())
