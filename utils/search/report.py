"""The report of a search: where it stands, what it has found and how it got there, all from its run folder."""

import time
from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from config import default_config, flatten
from utils.reports.html import DASH, Picture, Section, Table, write_report
from utils.search.doubts import doubts_of_search
from utils.search.figures import figures_sections
from utils.search.folder import SearchFolder
from utils.search.monitor import CELLS, COLLAPSE, KINDS, parameter_free_share, skip_share
from utils.search.ranking import RANKING, read_ranking

REPORT = "report.html"
# Beginnings of the settings that a search goes by.
SETTINGS_SHOWN = ("SEARCH.", "MODEL.LAYERS", "MODEL.INIT", "MODEL.NUM", "DATASET.", "TRAIN.", "SEED", "VAL_FREQ")


def write_search_report(
    run_dir: Path, command: str = "", *, ended: str = "", pictures: Mapping[str, Figure] | None = None
) -> Path:
    """Write RUN/report.html, one file that needs nothing else; returns its path.

    Args:
        command: what trains the genotype; empty where that is not known.
        ended: why the search is over, if it is.
        pictures: those of `SearchHistory.pictures`, where they are drawn already.

    Raises:
        UserError: `run_dir` is not the run folder of a search.
        OSError: the file cannot be written.
    """
    folder = SearchFolder.read(run_dir)
    pictures = pictures or folder.history.pictures(folder.genotype, folder.operations)
    sections = [
        _standing_section(folder, ended),
        _genotype_section(folder, command, pictures["genotype"]),
        *figures_sections(folder),
        *_alpha_sections(pictures),
        _settings_section(folder),
    ]
    path = run_dir / REPORT
    write_report(path, f"Search: {run_dir.resolve().name}", warnings=doubts_of_search(folder), sections=sections)
    return path


def _standing_section(folder: SearchFolder, ended: str) -> Section:
    """How far the search is, and how long it takes."""
    over = folder.history.is_over() or ended or ("all epochs are done" if folder.is_whole else "")
    ended_at = folder.of("time").get(folder.epochs)
    speakers = f"{folder.classes:,}; guessing gets {folder.chance:.3g} % right" if folder.classes else DASH
    rows = [
        ("state", over or "goes on, unless it was stopped"),
        ("epochs done", f"{folder.epochs} of {folder.cfg.TRAIN.END_EPOCH}"),
        ("hours used by them", f"{folder.history.hours:.3g}"),
        ("hours left, estimated", DASH if over or not folder.epochs else _left(folder)),
        ("end of the last of them", time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(ended_at)) if ended_at else DASH),
        ("speakers to tell apart", speakers),
        ("run folder", str(folder.path.resolve())),
    ]
    return Section("Where the search stands", "", [Table("The search", ("what", "value"), rows)])


def _left(folder: SearchFolder) -> str:
    """The hours that are left, with what the estimate does not know."""
    limit, left = folder.cfg.SEARCH.MAX_HOURS, folder.hours_left()
    notes = [f"{left:.3g}"]
    if 0 < limit <= folder.history.hours + left:
        notes.append("then SEARCH.MAX_HOURS ends it")
    if len(folder.warm_up()) == folder.epochs:
        notes.append("or more: epochs in which alpha learns take longer, and none is done")
    return "; ".join(notes)


def _genotype_section(folder: SearchFolder, command: str, cells: Figure) -> Section:
    """The genotype as text, what trains it, what it is made of, and both cells."""
    genotype = folder.genotype
    shares = {
        "skip connections": [skip_share(getattr(genotype, kind)) for kind in KINDS],
        "operations without weights": [
            parameter_free_share(getattr(genotype, kind), kind == "reduce") for kind in KINDS
        ],
    }
    rows = [(what, *(f"{100 * share:.3g} %" for share in both)) for what, both in shares.items()]
    note = (
        f"Of a cell's 8 edges. {COLLAPSE} skip connections in the normal cell are a collapse where that lasts: the "
        "network is shallow."
    )
    table = Table("What the cells are made of", ("share", *CELLS.values()), rows, note)
    caption = "Both cells. Data flows from left to right; grey lines lead to the output, all nodes side by side."
    text = [_origin(folder), str(genotype), f"This trains it:\n{command}" if command else ""]
    picture = Picture(caption, cells, f"{caption} {genotype}")
    return Section("The genotype", "\n\n".join(filter(None, text)), [table], [picture])


def _origin(folder: SearchFolder) -> str:
    """Where the genotype is from: a ranking at the end, or alpha after an epoch."""
    ranking = read_ranking(folder.path)
    if ranking is not None and ranking["genotype"].iloc[0] == str(folder.genotype):
        return (
            f"The best of {len(ranking)} genotypes by the supernet's loss on the val part (SEARCH.CHOOSE ranked, "
            f"{RANKING}), from {ranking['source'].iloc[0]}."
        )
    epochs = [entry["epoch"] for entry in folder.history.records if entry["genotype"] == str(folder.genotype)]
    if not folder.epochs:
        return "Of alpha as it was drawn, or as it was when the search was stopped within its first epoch."
    if folder.epochs in epochs:
        return f"Of the last epoch done, {folder.epochs}."
    return (
        f"Of epoch {epochs[-1]}." if epochs else f"Of alpha within epoch {folder.epochs + 1}, where the search ended."
    )


def _alpha_sections(pictures: Mapping[str, Figure]) -> list[Section]:
    """Alpha over the epochs; none before the first one's end."""
    text = (
        "A panel is an edge: its row is the node that it enters, its column where it comes from. In it, epochs go to "
        "the right, a row is an operation, and colour is its probability. Bands that brighten and stay are decisions; "
        "a panel of one colour is an edge that has learnt nothing; a bright none is an edge that the search would do "
        "without."
    )
    drawn = [
        Picture(f"Alpha of the {name}.", pictures[f"alpha-{kind}"])
        for kind, name in CELLS.items()
        if f"alpha-{kind}" in pictures
    ]
    return [Section("Alpha over the epochs", text, pictures=drawn)] if drawn else []


def _settings_section(folder: SearchFolder) -> Section:
    """What the search goes by, beside the defaults."""
    settings, defaults = flatten(folder.cfg), flatten(default_config())
    rows = [(key, str(value), str(defaults[key])) for key, value in settings.items() if key.startswith(SETTINGS_SHOWN)]
    return Section("Settings", "", [Table("Settings of the search", ("key", "value", "default"), rows)])
