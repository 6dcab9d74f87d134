"""Searches, looked at from outside."""

from pathlib import Path

from utils.search.folder import SearchFolder
from utils.search.loop import training_command
from utils.search.report import write_search_report
from utils.system.errors import UserError
from utils.system.text import printable


def report_search(run_dir: Path, config_file: Path | None) -> Path:
    """Write a search's report; returns its path.

    Args:
        config_file: the settings that the search was given, beside which those of the training may be.

    Raises:
        UserError: it is no run folder of a search, or there is no such file.
    """
    if config_file is not None and not config_file.is_file():
        raise UserError(f"--cfg: there is no file {config_file}; without --cfg the command is by the paper's settings")
    folder = SearchFolder.read(run_dir)
    settings = str(config_file or run_dir / "config.yaml")
    command = training_command(folder.cfg, settings, folder.genotype, folder.classes)
    return write_search_report(run_dir, printable(command))
