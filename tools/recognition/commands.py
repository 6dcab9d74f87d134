"""The subcommands of tools/recognize.py: JSON lines on standard output, words on standard error."""

import argparse
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path

import numpy as np

from tools.recognition.pairs import calibrate
from utils.recognition.export import export_onnx
from utils.recognition.recognizer import Recognizer
from utils.recognition.voices import Voices
from utils.system.commands import call_of
from utils.system.errors import UserError
from utils.system.files import partial_file
from utils.system.locks import locked
from utils.system.logger import get_logger


def run_command(args: argparse.Namespace) -> int:
    """Do a subcommand; 1 where some of several files could not be used, else 0.

    Raises:
        UserError: what a user can mend, in one line.
    """
    check_output(args)
    given = ("calibration", "prior", "short", "too_short")
    options = {name: value for name in given if (value := getattr(args, name, None)) is not None}
    recognizer = Recognizer.load(args.run, args.device, **options)
    return COMMANDS[args.command](args, recognizer)


def check_output(args: argparse.Namespace) -> None:
    """Refuse, before any work, a place that cannot be written to, or where something is that must not be lost.

    Raises:
        UserError: naming it.
    """
    keeps_voices = args.command in ("enrol", "remove")
    out = args.voices if keeps_voices else getattr(args, "out", None)
    if out is None:
        return
    if not out.parent.is_dir():
        raise UserError(f"{out}: there is no folder {out.parent}: make it, or name another place")
    if out.exists() and not (keeps_voices and out.is_file()):
        raise UserError(f"{out} is there already: name another file, or take it away")


def alone_with(voices: Path) -> AbstractContextManager[object]:
    """Read and write the file of voices while no other process does: one would undo what the other enrols."""
    return locked(voices.with_name(f"{voices.name}.lock"))


def say(**answer: object) -> None:
    """A JSON line on standard output: ASCII, so that no name can move a terminal."""
    print(json.dumps(answer, allow_nan=False), flush=True)


def each(wavs: Sequence[str], do: Callable[[str], None]) -> int:
    """Do something with every file; those that cannot be used are named, on both outputs, and the others go on."""
    failed = 0
    for wav in wavs:
        try:
            do(wav)
        except UserError as error:
            if len(wavs) == 1:
                raise
            failed += 1
            say(file=wav, error=str(error))
            get_logger().error(str(error))
    if failed:
        get_logger().error(f"{failed:,} of {len(wavs):,} files could not be used")
    return int(failed > 0)


def run_embed(args: argparse.Namespace, recognizer: Recognizer) -> int:
    files: list[str] = []
    vectors: list[np.ndarray] = []

    def embed(wav: str) -> None:
        speech = recognizer.listen(wav)
        vector = recognizer.embed_speech([speech])[0]
        files.append(wav)
        vectors.append(vector if args.out else vector[:0])
        values = {} if args.out else {"embedding": vector.tolist()}
        say(file=wav, seconds=round(speech.seconds, 3), **values)

    status = each(args.wavs, embed)
    if args.out and files:
        names = np.array([name.encode(errors="surrogateescape") for name in files], dtype=np.bytes_)
        network = np.array(recognizer.fingerprint)
        with partial_file(args.out) as file:
            np.savez(file, files=names, embeddings=np.stack(vectors), network=network)
        get_logger().info(f"{len(files):,} embeddings of {recognizer.embedding_dim} values in {args.out}")
    return status


def run_compare(args: argparse.Namespace, recognizer: Recognizer) -> int:
    tell_of_decisions(recognizer)
    say(**recognizer.compare(*args.wavs).as_dict())
    return 0


def tell_of_decisions(recognizer: Recognizer) -> None:
    """How to get a calibration, where there is none."""
    if recognizer.calibration is None:
        get_logger().warning(
            f"no decision: {recognizer.trained.path.parent} has no calibration.json of cosine scores: "
            f"'{call_of('evaluate_verification.py')}' makes one for a network trained on `dev`, with cosine among "
            "EVAL.BACKENDS, "
            f"'{call_of('tools/recognize.py')} calibrate' one of pairs of yours (--calibration)"
        )


def run_enrol(args: argparse.Namespace, recognizer: Recognizer) -> int:
    if recognizer.calibration is None and not args.no_check:
        get_logger().warning("without a calibration nobody checks that all recordings are of one voice")
    with alone_with(args.voices):
        voices = Voices.load(args.voices, recognizer) if args.voices.exists() else Voices(recognizer)
        voices.enrol(args.name, args.wavs, add=args.add, check=not args.no_check)
        voices.save(args.voices)
    say(name=args.name, recordings=voices.count(args.name), voices=len(voices))
    return 0


def run_remove(args: argparse.Namespace, recognizer: Recognizer) -> int:
    with alone_with(args.voices):
        voices = Voices.load(args.voices, recognizer)
        voices.remove(args.name)
        voices.save(args.voices)
    say(removed=args.name, voices=len(voices))
    return 0


def run_identify(args: argparse.Namespace, recognizer: Recognizer) -> int:
    voices = Voices.load(args.voices, recognizer)
    tell_of_decisions(recognizer)

    def identify(wav: str) -> None:
        found = voices.identify(wav, args.top)
        say(file=wav, name=found.name, score=found.score, candidates=list(map(asdict, found.candidates)))

    return each(args.wavs, identify)


def run_verify(args: argparse.Namespace, recognizer: Recognizer) -> int:
    voices = Voices.load(args.voices, recognizer)
    tell_of_decisions(recognizer)
    return each(args.wavs, lambda wav: say(file=wav, name=args.name, **voices.verify(args.name, wav).as_dict()))


def run_calibrate(args: argparse.Namespace, recognizer: Recognizer) -> int:
    say(**calibrate(recognizer, args.pairs, args.out))
    get_logger().info(f"{args.out}: use it with --calibration {args.out}")
    return 0


def run_export(args: argparse.Namespace, recognizer: Recognizer) -> int:
    say(**export_onnx(recognizer, args.out))
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace, Recognizer], int]] = {
    "embed": run_embed,
    "compare": run_compare,
    "enrol": run_enrol,
    "remove": run_remove,
    "identify": run_identify,
    "verify": run_verify,
    "calibrate": run_calibrate,
    "export": run_export,
}
