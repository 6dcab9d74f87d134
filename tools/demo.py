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


def home(text: str) -> Path:
    """A path, with the home folder in place of ~."""
    return Path(text).expanduser()


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=home, default=Path("demo"), help="folder for corpus and runs (default: demo)")
    parser.add_argument("--search_epochs", type=int, default=3)
    parser.add_argument("--train_epochs", type=int, default=30)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    began = time.perf_counter()
    corpus, runs = (args.out.resolve() / name for name in ("corpus", "runs"))
    if not (corpus / "veri_test.txt").is_file():  # the list that is written last
        run("tools/make_toy_corpus.py", str(corpus))
    run("data_preprocess.py", str(corpus), "-s")
    options = ["DATASET.DATA_DIR", str(corpus), "OUT_DIR", str(runs), "PRINT_FREQ", "20"]
    searching = ["--cfg", "exps/mini/search.yaml", *options, "TRAIN.END_EPOCH", str(args.search_epochs)]
    text, command = run("search.py", *searching)[-2:]
    print(f"\n{text}\nsays how to train it:\n  {command}\n", flush=True)
    training = ["--text_arch", text, *options, "TRAIN.END_EPOCH", str(args.train_epochs), "VAL_FREQ", "5"]
    merged, dev = (ask("train.py", *training, "DATASET.SUB_DIR", part) for part in ("merged", "dev"))
    identification = ask("evaluate_identification.py", *options, "--load_path", merged["run_dir"])
    verification = ask("evaluate_verification.py", *options, "--load_path", dev["run_dir"])
    from models.genotypes import parse_genotype

    genotype = parse_genotype(text)
    rows = {
        "genotype, normal cell": " ".join(f"{operation}({source})" for operation, source in genotype.normal),
        "genotype, reduction cell": " ".join(f"{operation}({source})" for operation, source in genotype.reduce),
        "parameters": f"{merged['parameters']:,}",
        "Top-1": f"{identification['top1']:.2f} % of {identification['utterances']} test utterances, "
        f"{identification['speakers']} speakers",
        "EER": f"{verification['eer']:.2f} % on {verification['trials']} trials, "
        f"{verification['speaker_overlap']} of their speakers trained or chosen on",
        "reports with pictures": f"{merged['run_dir']}/identification/report.html",
        "": f"{dev['run_dir']}/verification/report.html",
        "identification model": merged["run_dir"],
        "verification model": dev["run_dir"],
        "time": f"{time.perf_counter() - began:.0f} s",
    }
    print("\nThe toy corpus is synthetic: these figures show that everything runs, not how well it does on speech.\n")
    print("\n".join(f"{name:26}{value}" for name, value in rows.items()))


def ask(script: str, *arguments: str) -> dict[str, Any]:
    """What a script says of the network of exps/mini, as JSON in its last line."""
    return json.loads(run(script, "--cfg", SCRATCH, *arguments)[-1])


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
