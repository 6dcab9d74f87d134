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

ROOT = Path(__file__).resolve().parents[1]
SCRATCH = "exps/mini/scratch.yaml"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for corpus and runs (default: demo)")
    parser.add_argument("--search_epochs", type=int, default=3)
    parser.add_argument("--train_epochs", type=int, default=30)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    began = time.perf_counter()
    corpus, out = (args.out / "corpus").resolve(), args.out.resolve()
    if not (corpus / "veri_test.txt").is_file():  # the list that is written last
        run("tools/make_toy_corpus.py", str(corpus))
    run("data_preprocess.py", str(corpus), "-s")
    options = ["DATASET.DATA_DIR", str(corpus), "OUT_DIR", str(out / "runs"), "PRINT_FREQ", "20"]

    found = run("search.py", "--cfg", "exps/mini/search.yaml", *options, "TRAIN.END_EPOCH", str(args.search_epochs))
    genotype, command = found[-2:]
    print(f"\n{genotype}\nsays how to train it:\n  {command}\n", flush=True)

    training = [*options, "TRAIN.END_EPOCH", str(args.train_epochs), "VAL_FREQ", "5"]
    trained = {}
    for sub_dir in ("merged", "dev"):
        output = run("train.py", "--cfg", SCRATCH, "--text_arch", genotype, *training, "DATASET.SUB_DIR", sub_dir)
        trained[sub_dir] = json.loads(output[-1])
    evaluation = ["--cfg", SCRATCH, *options, "--load_path"]
    identification = json.loads(run("evaluate_identification.py", *evaluation, trained["merged"]["run_dir"])[-1])
    verification = json.loads(run("evaluate_verification.py", *evaluation, trained["dev"]["run_dir"])[-1])

    rows = {
        "genotype, normal cell": genotype_cell(genotype, "normal"),
        "genotype, reduction cell": genotype_cell(genotype, "reduce"),
        "parameters": f"{trained['merged']['parameters']:,}",
        "Top-1": f"{identification['top1']:.2f} % of {identification['utterances']} test utterances, "
        f"{identification['speakers']} speakers",
        "EER": f"{verification['eer']:.2f} % on {verification['trials']} trials, "
        f"{verification['speaker_overlap']} of their speakers trained or chosen on",
        "reports with pictures": f"{trained['merged']['run_dir']}/identification/report.html",
        "": f"{trained['dev']['run_dir']}/verification/report.html",
        "identification model": trained["merged"]["run_dir"],
        "verification model": trained["dev"]["run_dir"],
        "time": f"{time.perf_counter() - began:.0f} s",
    }
    print("\nThe toy corpus is synthetic: these figures show that everything runs, not how well it does on speech.\n")
    print("\n".join(f"{name:26}{value}" for name, value in rows.items()))


def run(script: str, *arguments: str) -> list[str]:
    """Run a script of the project as a user would; returns the lines of its standard output."""
    words = [f'"{word}"' if "Genotype(" in word else shlex.quote(word) for word in (script, *arguments)]
    shown = f"$ python {' '.join(words)}"
    print(shown if len(shown) < 300 else f"{shown[:300]}...", flush=True)
    done = subprocess.run([sys.executable, script, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"{script} failed with exit status {done.returncode}")
    return done.stdout.strip().splitlines()


def genotype_cell(genotype: str, cell: str) -> str:
    """One cell of a genotype's text, shortened to operation(source)."""
    sys.path.insert(0, str(ROOT))
    from models.genotypes import parse_genotype

    return " ".join(f"{operation}({source})" for operation, source in getattr(parse_genotype(genotype), cell))


if __name__ == "__main__":
    main()
