"""Use a trained network: embed recordings, compare two, recognise enrolled voices, calibrate, export to ONNX.

    python tools/recognize.py embed     RUN WAV... [--out embeddings.npz]
    python tools/recognize.py compare   RUN A.wav B.wav
    python tools/recognize.py enrol     RUN --voices VOICES NAME WAV... [--add]
    python tools/recognize.py identify  RUN --voices VOICES WAV... [--top 3]
    python tools/recognize.py verify    RUN --voices VOICES NAME WAV...
    python tools/recognize.py remove    RUN --voices VOICES NAME
    python tools/recognize.py calibrate RUN PAIRS.txt [--out calibration.json]    # lines: 1|0 A.wav B.wav
    python tools/recognize.py export    RUN OUT.onnx

RUN is a run folder of train.py or train_baseline.py, or a checkpoint. Answers are JSON lines on standard output, words
are on standard error. Decisions come from the run's calibration.json, or --calibration; without one there are none.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from utils.system.cli import add_count, path
from utils.system.script import run_script


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    network, judging, hearing, voices = (argparse.ArgumentParser(add_help=False) for _ in range(4))
    network.add_argument("run", metavar="RUN", type=path, help="run folder or checkpoint of a trained network")
    network.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    judging.add_argument(
        "--calibration", metavar="FILE", type=path, help="(default: calibration.json in the run folder)"
    )
    judging.add_argument(
        "--prior", type=float, help="that two recordings are of one speaker (default: the calibration's)"
    )
    hearing.add_argument("--short", type=float, metavar="SECONDS", help="warn of recordings below this (default: 1)")
    hearing.add_argument("--too_short", type=float, metavar="SECONDS", help="refuse those below this (default: 0.4)")
    voices.add_argument("--voices", metavar="VOICES", type=path, required=True, help="file of the enrolled voices")

    embed = commands.add_parser("embed", parents=[network, hearing], help="print or write embeddings")
    embed.add_argument("wavs", metavar="WAV", nargs="+")
    embed.add_argument("--out", type=path, help="an .npz file: files and embeddings, instead of printing these")
    compare = commands.add_parser("compare", parents=[network, judging, hearing], help="are two of one speaker?")
    compare.add_argument("wavs", metavar="WAV", nargs=2)
    enrol = commands.add_parser("enrol", parents=[network, voices, judging, hearing], help="enrol a voice by name")
    enrol.add_argument("name", metavar="NAME")
    enrol.add_argument("wavs", metavar="WAV", nargs="+")
    enrol.add_argument("--add", action="store_true", help="to the recordings that the voice is enrolled by already")
    enrol.add_argument("--no_check", action="store_true", help="do not ask whether all recordings are of one voice")
    identify = commands.add_parser("identify", parents=[network, voices, judging, hearing], help="whose voice is it?")
    identify.add_argument("wavs", metavar="WAV", nargs="+")
    add_count(identify, "--top", 1, 3, "how many candidates to print (default: %(default)s)")
    verify = commands.add_parser("verify", parents=[network, voices, judging, hearing], help="is it this voice?")
    verify.add_argument("name", metavar="NAME")
    verify.add_argument("wavs", metavar="WAV", nargs="+")
    remove = commands.add_parser("remove", parents=[network, voices], help="forget a voice")
    remove.add_argument("name", metavar="NAME")
    calibrate = commands.add_parser("calibrate", parents=[network, hearing], help="fit decisions on pairs of your own")
    calibrate.add_argument("pairs", metavar="PAIRS", type=path, help="lines 1|0 A B; paths relative to this file")
    calibrate.add_argument("--out", type=path, default=Path("calibration.json"), help="(default: %(default)s)")
    export = commands.add_parser("export", parents=[network], help="write the network as ONNX, front end and all")
    export.add_argument("out", metavar="OUT.onnx", type=path)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from tools.recognition.commands import run_command

    sys.exit(run_command(args))


if __name__ == "__main__":
    run_script(main)
