"""Step 4: identification by a trained network: Top-1 and Top-5 with 95 % intervals on the test part of SUB_DIR merged.

    python evaluate_identification.py --cfg exps/scratch/scratch.yaml --load_path runs/train/...
    torchrun --standalone --nproc_per_node 8 evaluate_identification.py --cfg ... --load_path ...    # on 8 GPUs

The genotype, the classes and the front end come from the checkpoint. An utterance's embedding is the mean of those of
its 3-second windows (kept in embeddings.npz), its decision the classifier's for that embedding. Writes, beside the
checkpoint, results-identification.json with all figures and where they come from, accuracy_per_speaker.csv, and
identification/report.html with pictures. The last line printed is {"top1", "top5" in per cent, "utterances",
"speakers"}.
"""

import argparse
from pathlib import Path

from config import load_config
from utils.cli import config_parser
from utils.runtime import run_script

TITLES = {"top1": "Top-1", "top5": "Top-5"}
SUMMARY = ("top1", "top5", "utterances", "speakers")


def parse_args() -> argparse.Namespace:
    parser = config_parser(__doc__, load_path="trained model: a run folder or a checkpoint", load_path_required=True)
    parser.add_argument("--text_arch", metavar="GENOTYPE", help="make sure that the network is this genotype's")
    parser.add_argument(
        "--allow_index_change", action="store_true", help="evaluate on another index than that of the training"
    )
    parser.add_argument("--out_dir", type=Path, metavar="FOLDER", help="for the results (default: the checkpoint's)")
    return parser.parse_intermixed_args()


def main() -> None:
    args = parse_args()
    cfg = load_config(args.cfg, args.opts)
    from data_objects.datasets import Corpus
    from utils.engine import check_genotype, load_system
    from utils.identification import check_class_list
    from utils.logger import WarningCollector
    from utils.protocol import check_index
    from utils.results import prepare_folder
    from utils.runtime import prepare

    device = prepare(cfg)
    warned = WarningCollector()
    network, front_end, checkpoint, path = load_system(cfg, args.load_path, device)
    check_genotype(checkpoint, args.text_arch, path)
    corpus = Corpus(cfg)
    check_class_list(checkpoint, corpus.index, path)
    check_index(checkpoint, corpus.index, path, args.allow_index_change)
    folder = prepare_folder(args.out_dir or path.parent)
    prepare_folder(folder / "identification")
    identification = identify(cfg, (network, front_end, checkpoint, path), corpus, device)
    if identification is not None:  # the main process goes on alone
        write(cfg, identification, checkpoint, path, corpus, folder, device, warned.messages)


def identify(cfg, system, corpus, device):
    """Embed and classify the test part; None on other processes than the main one.

    Raises:
        UserError: there is no test part.
    """
    import torch

    from utils.embeddings import embed_kept
    from utils.errors import UserError
    from utils.identification import Identification

    network, _, checkpoint, _ = system
    rows = corpus.index.rows("merged", "test")
    if not len(rows):
        raise UserError(f"the test part of {corpus.data_dir} has no utterances; check its iden_split.txt")
    utterances = [corpus.index.utterances[row] for row in rows]
    embeddings = embed_kept(cfg, system, corpus, utterances, device)
    if embeddings is None:
        return None
    vectors = torch.from_numpy(embeddings.vectors[embeddings.places(utterances)])
    with torch.inference_mode():
        logits = network.classifier(vectors.to(device)).float().cpu().numpy()
    labels = corpus.index.labels(checkpoint.speakers)[rows]
    return Identification(utterances, rows, checkpoint.speakers, labels, logits)


def write(cfg, identification, checkpoint, path, corpus, folder, device, warnings) -> None:
    """Everything that an evaluation leaves."""
    from data_objects.voxceleb import META, read_meta
    from utils import protocol as guard
    from utils.identification import write_per_speaker
    from utils.identification_report import write_identification_report
    from utils.logger import get_logger
    from utils.provenance_report import format_estimate
    from utils.results import build_provenance, remove_earlier, write_results

    tested = guard.role_of_rows(guard.TEST, corpus.index, identification.rows)
    roles = guard.roles_of_checkpoint(checkpoint, corpus.index) | {guard.TEST: tested}
    protocol = guard.Protocol(guard.IDENTIFICATION, roles)
    get_logger().info(str(protocol))
    if not guard.is_pretraining_known(checkpoint):
        get_logger().warning(f"WARNING: {guard.UNKNOWN_PRETRAINING}")
    for overlap in protocol.forbidden + protocol.doubtful:
        get_logger().warning(f"WARNING: {overlap}")
    meta = corpus.data_dir / META
    speakers = read_meta(meta) if meta.is_file() else {}
    per_speaker = identification.per_speaker()
    results = identification.figures(cfg.EVAL.BOOTSTRAP) | {
        "utterances": len(identification.rows),
        "speakers": len(per_speaker),
        "classes": len(checkpoint.speakers),
        "test_utterances_trained_on": guard.count_common(protocol, "utterances", guard.TRAIN, guard.TEST),
        "checkpoint": str(path),
        "epoch": checkpoint.epoch,
        "window_frames": corpus.window_frames,
        "warnings": warnings,
        "worst_speakers": per_speaker[:5],
        "breakdowns": identification.break_down(corpus.index, speakers, cfg.EVAL.BOOTSTRAP),
    }
    provenance = build_provenance(cfg, checkpoint, path, corpus.index, protocol, device)
    page, *files = write_identification_report(folder / "identification", identification, results, provenance)
    files = [page, *files, write_per_speaker(folder, per_speaker)]
    intervals = results.get("intervals", {})
    shown = (f"{title} {format_estimate(results[key], intervals.get(key))} %" for key, title in TITLES.items())
    get_logger().info(f"{', '.join(shown)}; pictures and all tables: {page}")
    path = folder / "results-identification.json"
    write_results(path, results | {"files": remove_earlier(path, files)}, provenance, keys=SUMMARY)


if __name__ == "__main__":
    run_script(main)
