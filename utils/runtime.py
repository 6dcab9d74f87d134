"""What every script does around its work: errors told in one line, device, seed, run folder."""

import errno
import os
import random
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from utils import distributed
from utils.errors import UserError
from utils.files import write_atomically
from utils.interruption import RunStoppedError

if TYPE_CHECKING:  # torch is imported where it is used, so that --help answers at once
    import torch
    from yacs.config import CfgNode


def limit_spinning() -> None:
    """Let PyTorch's CPU threads wait politely for each other; to be called before torch is imported.

    GNU OpenMP's threads spin for milliseconds at every barrier. Where other programs share the cores, that keeps the
    awaited thread from running: of two trainings on the same two cores, each took ten to a hundred times as long. After
    1,000 turns a thread sleeps instead. On idle cores that costs a training step of 8 cells and 64 channels some 6 %
    (5,000 turns do not; but with 10,000, two such trainings at once take more than twice as long as with 1,000). A
    value that the user has set stays.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")


# Of a disk that is full, a quota, a file size limit, a file system that cannot be written to.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def run_script(main: Callable[[], object]) -> None:
    """Run a script's `main`. What a user can mend becomes one line on standard error and an exit status.

    A UserError and a full disk: status 2; Ctrl-C: 130; a run that a signal stopped: 128 and the signal's number; where
    several processes share the job and another one is gone: 1.
    """
    limit_spinning()
    try:
        main()
        distributed.stop()
    except KeyboardInterrupt:
        _exit("interrupted; a run goes on with --load_path and its folder", 130)
    except BrokenPipeError:  # whoever read our standard output has had enough
        sys.stderr.close()
        sys.exit(141)
    except RunStoppedError as error:
        _exit(str(error) if distributed.is_main() else "", error.status)
    except Exception as error:
        message, status = _explain(error)
        if not message and distributed.processes() == 1:
            raise
        _exit(message or traceback.format_exc(), status)


def _explain(error: Exception) -> tuple[str, int]:
    """The line that tells a user what to mend, empty for an error of ours; and the exit status."""
    if isinstance(error, UserError):
        # One line by contract; from a loader's process it comes with that process's traceback before it.
        return f"error: {str(error).strip().splitlines()[-1].removeprefix('utils.errors.UserError: ')}", 2
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        file = error.filename or "a file"
        return f"error: cannot write {file} ({error.strerror}): make room; a run goes on with --load_path", 2
    if distributed.is_lost(error):
        message = "another process of the job is gone: its own message, or torchrun's, says why"
        return f"error: {message}; go on with --load_path", 1
    return "", 1


def _exit(message: str, status: int) -> None:
    number = f" (rank {distributed.rank()})" if distributed.processes() > 1 else ""
    if message:
        print(f"{Path(sys.argv[0]).name}{number}: {message}", file=sys.stderr, flush=True)
    if distributed.processes() > 1:
        sys.stdout.flush()
        os._exit(status)  # ending in an orderly way would wait for the others
    sys.exit(status)


def select_device(name: str) -> "torch.device":
    """The device that DEVICE (auto, cpu or cuda) means here; of several GPUs, the one with this process's number.

    Raises:
        UserError: CUDA asked for and absent; more processes on this machine than GPUs.
    """
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("DEVICE is cuda, but PyTorch sees no CUDA device here: set DEVICE auto or cpu")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    if distributed.local_rank() >= torch.cuda.device_count():
        raise UserError(
            f"{distributed.local_rank() + 1} or more processes on a machine with {torch.cuda.device_count()} GPUs: set "
            f"torchrun's --nproc_per_node to {torch.cuda.device_count()}, or DEVICE to cpu"
        )
    return torch.device("cuda", distributed.local_rank())


def prepare(cfg: "CfgNode") -> "torch.device":
    """Seed every generator, set cuDNN and TF32 as configured, join the other processes, and return the device.

    All processes of a job draw the same numbers: weights, paths, drop-path.

    Raises:
        UserError: CUDA asked for and absent.
    """
    import numpy as np
    import torch

    device = select_device(cfg.DEVICE)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    random.seed(cfg.SEED)
    np.random.seed(cfg.SEED)
    torch.manual_seed(cfg.SEED)
    torch.backends.cudnn.enabled = cfg.CUDNN.ENABLED
    torch.backends.cudnn.benchmark = cfg.CUDNN.BENCHMARK
    torch.backends.cudnn.deterministic = cfg.CUDNN.DETERMINISTIC
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = cfg.TRAIN.TF32
    distributed.start(device)
    return device


def autocast(device: "torch.device", precision: str) -> "torch.autocast":
    """The context that TRAIN.PRECISION asks for around a forward pass: bf16 autocast, or nothing for fp32."""
    import torch

    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def create_run_dir(cfg: "CfgNode", script: str, config_file: str) -> Path:
    """Make OUT_DIR/<script>/<config>-<time>/ with the settings in config.yaml."""
    stem = f"{Path(config_file).stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    for attempt in range(1000):
        run_dir = Path(cfg.OUT_DIR) / script / (stem if attempt == 0 else f"{stem}-{attempt}")
        try:
            run_dir.mkdir(parents=True)
            break
        except FileExistsError:  # another run began in the same second
            continue
        except OSError as error:
            raise UserError(f"OUT_DIR: cannot make {run_dir} ({error.strerror}); set OUT_DIR elsewhere") from error
    write_atomically(run_dir / "config.yaml", cfg.dump())
    return run_dir
