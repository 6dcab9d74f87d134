"""What a network's scores mean: calibrations, read from the file that an evaluation or a user's own pairs left."""

import json
import math
from pathlib import Path
from typing import Any

from utils.metrics.scoring import Calibration
from utils.system.commands import call_of
from utils.system.errors import UserError
from utils.system.files import hash_file, read_text
from utils.system.logger import get_logger

FILE = "calibration.json"
SYSTEM = "cosine"  # the way of scoring that needs nothing but two embeddings
NEEDED = "expected is a calibration.json, of evaluate_verification.py or of tools/recognize.py calibrate"


def read_calibration(checkpoint: Path, window_frames: int, given: Path | None) -> Calibration | None:
    """The calibration in the file that was given, or beside the checkpoint; None where there is none.

    Args:
        given: a calibration of another checkpoint, or of windows of another length, is refused; left alone where it
            was not asked for.

    Raises:
        UserError: no calibration, a malformed one, or another network's.
    """
    path = checkpoint.with_name(FILE) if given is None else given
    if given is None and not path.is_file():
        return None
    content = _read(path)
    is_of_network = content.get("checkpoint") == hash_file(checkpoint)
    frames = content.get("window_frames", window_frames)  # which older versions did not write
    if not is_of_network or frames != window_frames:
        message = f"{path} is the calibration of another network than {checkpoint}"
        if is_of_network:
            message = f"{path} is the calibration of windows of {frames} frames, not of {window_frames}"
        if given is not None:
            raise UserError(f"{message}: make one with '{call_of('tools/recognize.py')} calibrate'")
        get_logger().warning(f"{message}: it is not used")
        return None
    if given is None and isinstance(content.get("systems"), dict) and SYSTEM not in content["systems"]:
        get_logger().warning(f"{path} has no calibration of {SYSTEM} scores, but others: it is not used; {NEEDED}")
        return None
    try:
        calibration = Calibration.from_dict(content["systems"][SYSTEM])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} has no calibration of {SYSTEM} scores; {NEEDED}") from error
    values = calibration.scale, calibration.offset, calibration.target_prior
    if not all(map(math.isfinite, values)) or calibration.scale <= 0 or not 0 < calibration.target_prior < 1:
        raise UserError(f"{path}: scale, offset and target_prior {values} are no calibration; {NEEDED}")
    return calibration


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_text(path, NEEDED))
    except FileNotFoundError as error:
        raise UserError(f"no such file: {path}; {NEEDED}") from error
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}); {NEEDED}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is no calibration; {NEEDED}")
    return content
