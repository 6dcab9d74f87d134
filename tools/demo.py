"""The whole job on the toy corpus, from wavs to EER, by the commands that a user would type: `make demo`.

    python tools/demo.py [--out demo]

Searches once; trains the genotype twice, on all speakers for identification and without the test speakers for
verification; evaluates both; prints a table. The corpus is synthetic: the figures show that everything runs, no more.
"""

import argparse
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

SCRATCH = "exps/mini/scratch.yaml"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for corpus and runs (default: demo)")
    parser.add_argument("--search_epochs", type=int, default=3)
    parser.add_argument("--train_epochs", type=int, default=30)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from models.genotypes import parse_genotype

    began = time.perf_counter()
    options = ["DATASET.DATA_DIR", str(prepare_corpus(args.out.resolve() / "corpus"))]
    options += ["OUT_DIR", str(args.out.resolve() / "runs"), "PRINT_FREQ", "20"]
    searching = ["--cfg", "exps/mini/search.yaml", *options, "TRAIN.END_EPOCH", str(args.search_epochs)]
    text, command = run("search.py", *searching)[-2:]
    print(f"\n{text}\nsays how to train it:\n  {command}\n", flush=True)
    trained = {part: train(text, options, args.train_epochs, part) for part in ("merged", "dev")}
    folders = {part: results["run_dir"] for part, results in trained.items()}
    identification = evaluate("evaluate_identification.py", options, folders["merged"])
    verification = evaluate("evaluate_verification.py", options, folders["dev"])
    genotype = parse_genotype(text)
    rows = {
        "genotype, normal cell": " ".join(f"{operation}({source})" for operation, source in genotype.normal),
        "genotype, reduction cell": " ".join(f"{operation}({source})" for operation, source in genotype.reduce),
        "parameters": f"{trained['merged']['parameters']:,}",
        "Top-1": f"{identification['top1']:.2f} % of {identification['utterances']} test utterances, "
        f"{identification['speakers']} speakers",
        "EER": f"{verification['eer']:.2f} % on {verification['trials']} trials, "
        f"{verification['speaker_overlap']} of their speakers trained or chosen on",
        "reports with pictures": f"{folders['merged']}/identification/report.html",
        "": f"{folders['dev']}/verification/report.html",
        "identification model": folders["merged"],
        "verification model": folders["dev"],
        "time": f"{time.perf_counter() - began:.0f} s",
    }
    print("\nThe toy corpus is synthetic: these figures show that everything runs, not how well it does on speech.\n")
    print("\n".join(f"{name:26}{value}" for name, value in rows.items()))


def prepare_corpus(folder: Path) -> Path:
    """Make the toy corpus, if it is not there, and index it."""
    if not (folder / "veri_test.txt").is_file():  # the list that is written last
        run("tools/make_toy_corpus.py", str(folder))
    run("data_preprocess.py", str(folder), "-s")
    return folder


def train(genotype: str, options: list[str], epochs: int, sub_dir: str) -> dict[str, Any]:
    """Train the genotype on one of the parts; returns what train.py says."""
    settings = [*options, "TRAIN.END_EPOCH", str(epochs), "VAL_FREQ", "5", "DATASET.SUB_DIR", sub_dir]
    return json.loads(run("train.py", "--cfg", SCRATCH, "--text_arch", genotype, *settings)[-1])


def evaluate(script: str, options: list[str], folder: str) -> dict[str, Any]:
    """What an evaluation says of the run in a folder."""
    return json.loads(run(script, "--cfg", SCRATCH, *options, "--load_path", folder)[-1])


def run(script: str, *arguments: str) -> list[str]:
    """Run a script of the project as a user would; returns the lines of its standard output."""
    words = [f'"{word}"' if "Genotype(" in word else shlex.quote(word) for word in (script, *arguments)]
    shown = f"$ python {' '.join(words)}"
    print(shown if len(shown) < 300 else f"{shown[:300]}...", flush=True)
    done = subprocess.run([sys.executable, script, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"{script} failed with exit status {done.returncode}")
    return done.stdout.strip().splitlines()


if __name__ == "__main__":
    main()
