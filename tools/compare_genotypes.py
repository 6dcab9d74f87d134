"""Is what a search found better than chance? Trains it, the paper's genotype and random ones alike, and compares.

    python tools/compare_genotypes.py --cfg exps/mini/scratch.yaml --genotype runs/search/... DATASET.DATA_DIR ...
    python tools/compare_genotypes.py --cfg ... --genotype A --genotype B --random 10 --seeds 1 2 3 4 5 --out comparison

Every genotype is trained with the same settings, data and seeds for TRAIN.END_EPOCH epochs, and the network of the last
epoch is evaluated on the test part (on the val part where the test part is empty): no epoch is chosen. The last line of
standard output is the comparison as JSON; the folder also gets comparison.json, comparison.png and comparison.pdf, the
trainings' figures in trainings.jsonl and their runs in runs/. Stopped and run again with the same --out, it takes over
the trainings that were finished; more --seeds, --genotype or a greater --random add to them.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from config import CHOICES, RANGES, load_config
from utils.system.cli import config_parser
from utils.system.script import run_script

if TYPE_CHECKING:
    from yacs.config import CfgNode

    from models.genotypes import Genotype

TRAININGS, RESULTS = "trainings.jsonl", "comparison"
PAPER = "paper"
FIGURES = {"top1": "Top-1, %", "loss": "cross-entropy"}
# What says nothing of the training of a genotype, besides what may differ when a run goes on (utils/checkpoint.py).
SEARCH_SETTINGS = ("SEARCH", "SEED", "TRAIN.DROPPATH_PROB", "TRAIN.ARCH_")  # as beginnings of keys
Key = tuple[str, int]  # a training's name and seed


# ------------------------------------------------------------------------------------------------------------------
# Command line
# ------------------------------------------------------------------------------------------------------------------
def parse_args() -> argparse.Namespace:
    parser = config_parser(__doc__)
    parser.add_argument(
        "--genotype",
        action="append",
        required=True,
        metavar="GENOTYPE",
        help="a genotype, a file that holds one, or a search's folder; give several with an option each",
    )
    parser.add_argument("--random", type=natural, default=5, metavar="K", help="random genotypes (default: 5)")
    parser.add_argument("--draw_seed", type=natural, default=0, metavar="N", help="draws them (default: 0)")
    parser.add_argument("--space", choices=CHOICES["SEARCH.SPACE"], help="draws from it (default: SEARCH.SPACE)")
    parser.add_argument("--seeds", nargs="+", default=["1", "2", "3"], metavar="N", help="default: 1 2 3")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: a new one, OUT_DIR/compare_genotypes/...")
    args = parser.parse_intermixed_args()
    # An option of many words takes those of KEY VALUE too, if they come next.
    seeds = next((place for place, word in enumerate(args.seeds) if not word.isdecimal()), len(args.seeds))
    args.opts = args.seeds[seeds:] + args.opts
    args.seeds = list(dict.fromkeys(map(int, args.seeds[:seeds])))
    if not args.seeds or max(args.seeds) > RANGES["SEED"][1]:
        parser.error(f"--seeds: whole numbers from {RANGES['SEED'][0]} to {RANGES['SEED'][1]} are needed")
    return args


def natural(text: str) -> int:
    """A whole number, at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"a whole number, at least 0, is needed, not {text!r}")
    return int(text)


def main() -> None:
    args = parse_args()
    cfg = load_config(args.cfg, args.opts)
    from data_objects.corpus import Corpus
    from tools.comparison.folder import open_folder
    from utils.system.errors import UserError
    from utils.system.files import write_atomically
    from utils.system.logger import get_logger

    if cfg.MODEL.PRETRAINED:
        raise UserError("MODEL.PRETRAINED must be empty: the genotypes are compared by training from scratch")
    genotypes = choose_genotypes(args.genotype, args.random, args.draw_seed, args.space or cfg.SEARCH.SPACE)
    corpus = Corpus(cfg)
    part = "test" if len(corpus.index.rows(corpus.sub_dir, "test")) else "val"
    if part == "val":
        get_logger().warning(f"SUB_DIR {corpus.sub_dir} has no test part: the val part is evaluated instead")
    rows = corpus.rows(part)
    folder = open_folder(cfg, "compare_genotypes", args.cfg, args.out, TRAININGS, is_free)
    done = read_trainings(folder / TRAININGS, genotypes, corpus.index.fingerprint)
    train_missing(cfg, folder, genotypes, args.seeds, part, done)
    comparison = {"part": part, "utterances": len(rows)} | compare(genotypes, args.seeds, done)
    get_logger().info(format_table(comparison))
    texts = {name: str(genotype) for name, genotype in genotypes.items()}
    content = json.dumps(comparison | {"genotypes": texts}, indent=2)
    write_atomically(folder / f"{RESULTS}.json", content + "\n")
    draw(comparison, args.seeds, done, folder / RESULTS)
    print(json.dumps(comparison))


def choose_genotypes(given: list[str], count: int, draw_seed: int, space: str) -> "dict[str, Genotype]":
    """By name: found, found-2, ... as given; paper; random-1, ... A greater count leaves the first ones as they are."""
    import numpy as np

    from models.genotypes import PAPER_GENOTYPE, SEARCH_SPACES, random_genotype, read_genotype

    found = [read_genotype(text) for text in given]
    generator = np.random.default_rng(draw_seed)
    genotypes = {"found" if number == 1 else f"found-{number}": genotype for number, genotype in enumerate(found, 1)}
    genotypes[PAPER] = PAPER_GENOTYPE
    genotypes |= {
        f"random-{number}": random_genotype(SEARCH_SPACES[space], generator) for number in range(1, count + 1)
    }
    return genotypes


def is_random(name: str) -> bool:
    """Whether a genotype of this name was drawn by chance."""
    return name.startswith("random-")


# ------------------------------------------------------------------------------------------------------------------
# The folder
# ------------------------------------------------------------------------------------------------------------------
def is_free(key: str) -> bool:
    """Whether a setting may be another when a comparison goes on."""
    from utils.records.checkpoint import FREE_SETTINGS

    free = set(FREE_SETTINGS) - {"TRAIN.END_EPOCH"}
    return key in free or key.split(".")[0] in free or key.startswith(SEARCH_SETTINGS)


def read_trainings(path: Path, genotypes: "dict[str, Genotype]", fingerprint: str) -> dict[Key, dict[str, Any]]:
    """The finished trainings by name and seed; a half line, which an interruption can leave, is taken out.

    Raises:
        UserError: one is of another genotype than its name means now, or of another index; a line cannot be read.
    """
    from tools.comparison.folder import read_records
    from utils.system.errors import UserError

    done = {}
    for number, line in enumerate(read_records(path), start=1):
        try:
            record = json.loads(line)
            name, seed, genotype, index = (record[key] for key in ("name", "seed", "genotype", "index"))
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}, line {number} is damaged: delete it, or give another --out") from error
        if name in genotypes and genotype != str(genotypes[name]):
            culprit = "--draw_seed or --space" if is_random(name) else "--genotype"
            raise UserError(
                f"{path}, line {number}: {name} is another genotype there, of another {culprit}: give the same, or "
                "another --out"
            )
        if index != fingerprint:
            raise UserError(
                f"{path}, line {number}: {name} was trained with another index than DATASET.DATA_DIR has now: give "
                "another --out"
            )
        done[name, seed] = record
    return done


# ------------------------------------------------------------------------------------------------------------------
# Training
# ------------------------------------------------------------------------------------------------------------------
def train_missing(
    cfg: "CfgNode",
    folder: Path,
    genotypes: "dict[str, Genotype]",
    seeds: list[int],
    part: str,
    done: dict[Key, dict[str, Any]],
) -> None:
    """Train what is not done yet, seed by seed, and add it to `done` and to the folder.

    Raises:
        UserError: see `utils.engine.train_network`; the genotype and the seed come first.
    """
    from utils.system.errors import UserError
    from utils.system.logger import get_logger

    wanted = [(name, seed) for seed in seeds for name in genotypes]
    missing = [key for key in wanted if key not in done]
    get_logger().info(
        f"{len(wanted)} trainings, of which {len(wanted) - len(missing)} are done; stopped, they go on with "
        f"--out {folder}"
    )
    for number, (name, seed) in enumerate(missing, start=1):
        get_logger().info(f"training {number}/{len(missing)}: {name}, seed {seed}")
        try:
            record = {"name": name, "seed": seed} | train(cfg, folder, name, genotypes[name], seed, part)
        except UserError as error:
            raise UserError(f"{name}, seed {seed}: {error}") from error
        with open(folder / TRAININGS, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        done[name, seed] = record
        get_logger().info(f"{name}, seed {seed}: {part} Top-1 {record['top1']:.2f} %, loss {record['loss']:.4f}")


def train(cfg: "CfgNode", folder: Path, name: str, genotype: "Genotype", seed: int, part: str) -> dict[str, Any]:
    """Train the network of a genotype and evaluate it as its last epoch leaves it; returns what is recorded of it."""
    from data_objects.corpus import Corpus
    from models import build_network, count_parameters
    from utils.recognition.network import identify
    from utils.system.device import prepare
    from utils.training.loop import train_network

    cfg = cfg.clone()
    cfg.defrost()
    cfg.SEED, cfg.OUT_DIR = seed, str(folder / "runs")
    cfg.freeze()
    began = time.perf_counter()
    device = prepare(cfg)
    corpus = Corpus(cfg)
    network = build_network(cfg, genotype, corpus.check_num_classes(cfg.MODEL.NUM_CLASSES))
    run_dir = train_network(
        cfg, network, corpus, script="train", config_file=f"{name}-seed{seed}", load_path=None, device=device
    )
    front_end = corpus.build_front_end().to(device)
    figures = identify(network, front_end, corpus, corpus.rows(part), corpus.speakers, device)
    return {
        "genotype": str(genotype),
        "parameters": count_parameters(network),
        "epochs": cfg.TRAIN.END_EPOCH - cfg.TRAIN.BEGIN_EPOCH,
        "top1": figures["top1"],
        "loss": figures["loss"],
        "seconds": round(time.perf_counter() - began, 3),
        "run_dir": str(run_dir),
        "index": corpus.index.fingerprint,
    }


# ------------------------------------------------------------------------------------------------------------------
# Comparing
# ------------------------------------------------------------------------------------------------------------------
def spread(name: str, values: list[float]) -> dict[str, float | None]:
    """The mean and the standard deviation of a sample; None where there are too few values for either."""
    return {
        f"{name}_mean": statistics.fmean(values) if values else None,
        f"{name}_std": statistics.stdev(values) if len(values) > 1 else None,
    }


def compare(genotypes: "dict[str, Genotype]", seeds: list[int], done: dict[Key, dict[str, Any]]) -> dict[str, Any]:
    """Mean and deviation of every genotype, and of the random ones' means; how many of these beat each other one."""
    results = {}
    for name in genotypes:
        records = [done[name, seed] for seed in seeds]
        results[name] = {"parameters": records[0]["parameters"]}
        for figure in FIGURES:
            results[name] |= spread(figure, [record[figure] for record in records])
        results[name]["seeds"] = seeds
    drawn = [result for name, result in results.items() if is_random(name)]
    chance: dict[str, Any] = {"number": len(drawn)}
    for figure in FIGURES:
        chance |= spread(figure, [result[f"{figure}_mean"] for result in drawn])
    beaten = {
        name: {
            "loss": sum(other["loss_mean"] < result["loss_mean"] for other in drawn),
            "top1": sum(other["top1_mean"] > result["top1_mean"] for other in drawn),
        }
        for name, result in results.items()
        if not is_random(name)
    }
    return {"results": results, "random": chance, "beaten_by_random": beaten}


def format_table(comparison: dict[str, Any]) -> str:
    """The comparison for the console."""
    lines = [
        f"means ± standard deviations over the seeds, {comparison['utterances']} utterances of the "
        f"{comparison['part']} part, last epoch:",
        f"{'genotype':16}{'parameters':>12}{'Top-1, %':>18}{'cross-entropy':>20}{'seeds':>8}",
    ]
    for name, result in comparison["results"].items():
        seeds = len(result["seeds"])
        lines.append(f"{name:16}{result['parameters']:>12,}{format_figures(result)}{seeds:>8}")
    chance = comparison["random"]
    if chance["number"]:
        lines.append(f"{'random, means':16}{'':12}{format_figures(chance)}{'':8}  over {chance['number']} genotypes")
        lines += [
            f"{name}: of {chance['number']} random genotypes, {beaten['loss']} have a lower mean loss and "
            f"{beaten['top1']} a higher mean Top-1"
            for name, beaten in comparison["beaten_by_random"].items()
        ]
    return "\n".join(lines)


def format_figures(result: dict[str, Any]) -> str:
    """Two columns of the table: Top-1 and loss."""
    texts = []
    for figure, digits, width in (("top1", 2, 18), ("loss", 4, 20)):
        mean, deviation = result[f"{figure}_mean"], result[f"{figure}_std"]
        text = f"{mean:.{digits}f}" + ("" if deviation is None else f" ± {deviation:.{digits}f}")
        texts.append(f"{text:>{width}}")
    return "".join(texts)


# ------------------------------------------------------------------------------------------------------------------
# Drawing
# ------------------------------------------------------------------------------------------------------------------
def draw(comparison: dict[str, Any], seeds: list[int], done: dict[Key, dict[str, Any]], path: Path) -> None:
    """Write the comparison as a picture: a row a genotype, a dot a seed, the mean and the deviation beneath."""
    from matplotlib.figure import Figure

    from utils.pictures.figure import save_figure

    names = list(comparison["results"])
    chance = comparison["random"]
    figure = Figure(figsize=(8, 1.6 + 0.38 * len(names)), layout="constrained")
    panels = figure.subplots(1, len(FIGURES), sharey=True)
    for axes, (kind, label) in zip(panels, FIGURES.items(), strict=True):
        for row, name in enumerate(names):
            values = [done[name, seed][kind] for seed in seeds]
            draw_row(axes, row, values, comparison["results"][name], kind, colour_of(name))
        if chance["number"]:
            mean, deviation = chance[f"{kind}_mean"], chance[f"{kind}_std"] or 0
            colour = colour_of("random-1")
            axes.axvspan(mean - deviation, mean + deviation, color=colour, alpha=0.12, linewidth=0, zorder=0)
            axes.axvline(mean, color=colour, linestyle="--", linewidth=1, zorder=1, label="random: mean ± deviation")
        axes.set_xlabel(f"{label} ({comparison['part']} part)")
        axes.grid(axis="x", color="#e4e4e4", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.4, -0.6)
    handles, labels = panels[0].get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    figure.legend(unique.values(), unique.keys(), loc="outside lower center", ncols=3, frameon=False, fontsize="small")
    save_figure(figure, path)


def draw_row(axes, row: int, values: list[float], result: dict[str, Any], kind: str, colour: str) -> None:
    """One genotype in one panel."""
    style = {"color": colour, "linestyle": "none", "zorder": 3}
    axes.plot(values, [row - 0.1] * len(values), marker="o", markersize=4.5, alpha=0.6, label="one seed", **style)
    mean, deviation = result[f"{kind}_mean"], result[f"{kind}_std"]
    axes.errorbar(
        mean, row + 0.2, xerr=deviation, marker="D", markersize=4, capsize=3, label="mean ± deviation", **style
    )


def colour_of(name: str) -> str:
    """What the search found in blue, the paper's in orange, all random ones in grey."""
    return "#6b6b6b" if is_random(name) else "#bf4b00" if name == PAPER else "#0067a5"


if __name__ == "__main__":
    run_script(main)
