"""Step 5: verification by a trained network: EER, minDCF, actDCF, Cllr with 95 % intervals, on any lists of trials.

    python evaluate_verification.py --cfg exps/scratch/scratch_veri.yaml --load_path runs/train/...
    python evaluate_verification.py --cfg ... --load_path ... --trials veri_test2.txt list_test_hard.txt
    python evaluate_verification.py --cfg ... --load_path ... EVAL.BACKENDS cosine,centred,snorm
    torchrun --standalone --nproc_per_node 8 evaluate_verification.py --cfg ... --load_path ...    # on 8 GPUs

The genotype and the front end come from the checkpoint. Every utterance is embedded once (the mean over its 3-second
windows; kept in embeddings.npz); a trial's score is the cosine of two embeddings, or what EVAL.BACKENDS says. A network
with held-out speakers has its scores calibrated on their trials. Writes, beside the checkpoint, the figures and where
they come from (results-verification.json), scores.txt (score label enrolment test), calibration.json (how to decide
"same" or "different") and verification/report.html with pictures. The last line printed is {"eer" in per cent,
"min_dcf" at a target prior of 0.01, "trials", "skipped_trials", "utterances", "speaker_overlap", "speaker_disjoint"}.
"""

import argparse
from pathlib import Path

from config import backends, load_config
from utils.cli import config_parser, take_options
from utils.runtime import run_script

SUMMARY = ("eer", "min_dcf", "trials", "skipped_trials", "utterances", "speaker_overlap", "speaker_disjoint")


def parse_args() -> argparse.Namespace:
    parser = config_parser(__doc__, load_path="trained model: a run folder or a checkpoint", load_path_required=True)
    parser.add_argument(
        "--trials", nargs="+", default=[], metavar="LIST", help="lists of trials (default: veri_test.txt of DATA_DIR)"
    )
    parser.add_argument("--text_arch", metavar="GENOTYPE", help="make sure that the network is this genotype's")
    parser.add_argument(
        "--allow_missing", action="store_true", help="skip trials without utterances, instead of refusing the list"
    )
    parser.add_argument(
        "--allow_index_change", action="store_true", help="evaluate on another index than that of the training"
    )
    parser.add_argument("--out_dir", type=Path, metavar="FOLDER", help="for the results (default: the checkpoint's)")
    args = parser.parse_intermixed_args()
    args.trials = take_options(args.trials, args)
    return args


def main() -> None:
    args = parse_args()
    cfg = load_config(args.cfg, args.opts)
    from data_objects.datasets import Corpus
    from data_objects.voxceleb import TRIALS
    from utils.engine import check_genotype, load_system
    from utils.logger import WarningCollector
    from utils.protocol import check_index
    from utils.results import prepare_folder
    from utils.runtime import prepare
    from utils.verification import open_lists

    device = prepare(cfg)
    warned = WarningCollector()
    network, front_end, checkpoint, path = load_system(cfg, args.load_path, device)
    check_genotype(checkpoint, args.text_arch, path)
    corpus = Corpus(cfg)
    check_index(checkpoint, corpus.index, path, args.allow_index_change)
    files = [Path(file) for file in args.trials] or [corpus.data_dir / TRIALS]
    lists = open_lists(files, corpus.index, args.allow_missing)
    folder = prepare_folder(args.out_dir or path.parent)
    prepare_folder(folder / "verification")
    evaluation = evaluate(cfg, (network, front_end, checkpoint, path), corpus, lists, device)
    if evaluation is not None:  # the main process goes on alone
        write(cfg, evaluation, checkpoint, path, corpus, folder, device, warned.messages)


def evaluate(cfg, system, corpus, lists, device):
    """Embed, score, calibrate and measure; None on other processes than the main one."""
    import yaml

    from data_objects.voxceleb import META, read_meta
    from utils import verification
    from utils.embeddings import embed_kept
    from utils.logger import get_logger

    checkpoint = system[2]
    protocols = verification.protocols_of(checkpoint, corpus.index, lists)
    verification.warn_of_overlap(checkpoint, lists, protocols)
    meta = corpus.data_dir / META
    speakers = read_meta(meta) if meta.is_file() else {}
    if not speakers:
        get_logger().warning(f"WARNING: {meta} is missing: nothing is known of gender and nationality")
    systems = backends(cfg)
    trained_with = yaml.safe_load(checkpoint.config)
    trials = verification.validation_trials(checkpoint, trained_with, corpus.index) if cfg.EVAL.CALIBRATION else None
    of_cohort = []
    if set(systems) != {"cosine"}:
        of_cohort = verification.choose_cohort(checkpoint, corpus.index, cfg.EVAL.COHORT_UTTERANCES, lists)
    used = [entry.trials.utterances for entry in lists] + [of_cohort, [] if trials is None else trials.utterances]
    embeddings = embed_kept(cfg, system, corpus, sorted(set().union(*used)), device)
    if embeddings is None:
        return None
    cohort = of_cohort, cfg.EVAL.COHORT_TOP_N
    scores, calibrations = verification.score_systems(embeddings, lists, systems, trials, *cohort)
    del embeddings  # what follows needs the room: 1.2 GB for the utterances of Vox1-E
    evaluation = verification.Verification(lists, systems, scores, calibrations, protocols)
    verification.measure_all(evaluation, corpus.index, speakers, cfg.EVAL.BOOTSTRAP)
    return evaluation


def write(cfg, evaluation, checkpoint, path, corpus, folder, device, warnings) -> None:
    """Everything that an evaluation leaves, and a table of it on standard error."""
    from utils import verification
    from utils import verification_report as report
    from utils.logger import get_logger
    from utils.results import build_provenance, remove_earlier, write_results

    provenance = build_provenance(
        cfg,
        checkpoint,
        path,
        corpus.index,
        evaluation.protocols[verification.ALL],
        device,
        trials={entry.name: entry.source() for entry in evaluation.lists},
        skipped_trials=sum(len(entry.skipped) for entry in evaluation.lists),
    )
    results = verification.results_of(evaluation)
    results |= {"checkpoint": str(path), "epoch": checkpoint.epoch, "window_frames": corpus.window_frames}
    results["warnings"] = warnings
    page, *pictures = report.write_report_page(folder / "verification", evaluation, results, provenance)
    files = [page, *pictures, *report.write_scores(folder, evaluation), *report.write_skipped(folder, evaluation)]
    files += report.write_calibrations(folder, evaluation, provenance)
    get_logger().info(f"\n{report.format_table(evaluation)}\npictures and all tables: {page}")
    path = folder / "results-verification.json"
    write_results(path, results | {"files": remove_earlier(path, files)}, provenance, keys=SUMMARY)


if __name__ == "__main__":
    run_script(main)
