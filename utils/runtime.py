"""What every script does around its work: errors told in one line, device, seed, run folder."""

import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from utils.errors import UserError

if TYPE_CHECKING:  # torch is imported where it is used, so that --help answers at once
    import torch
    from yacs.config import CfgNode


def limit_spinning() -> None:
    """Let PyTorch's CPU threads wait politely for each other; to be called before torch is imported.

    GNU OpenMP's threads spin for milliseconds at every barrier. Where other programs share the cores, that keeps the
    awaited thread from running: of two trainings on the same two cores, each took ten to a hundred times as long. After
    1,000 turns a thread sleeps instead, which cost nothing measurable on idle cores (100 turns did). A value that the
    user has set stays.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def run_script(main: Callable[[], object]) -> None:
    """Run a script's `main`. A UserError becomes one line on standard error and exit status 2; Ctrl-C status 130."""
    limit_spinning()
    try:
        main()
    except UserError as error:
        # One line by contract; from a loader's process it comes with that process's traceback before it.
        message = str(error).strip().splitlines()[-1].removeprefix("utils.errors.UserError: ")
        print(f"{Path(sys.argv[0]).name}: error: {message}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"{Path(sys.argv[0]).name}: interrupted; a run goes on with --load_path and its folder", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # whoever read our standard output has had enough
        sys.stderr.close()
        sys.exit(141)


def select_device(name: str) -> "torch.device":
    """The device that DEVICE (auto, cpu or cuda) means here.

    Raises:
        UserError: CUDA asked for and absent.
    """
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("DEVICE is cuda, but PyTorch sees no CUDA device here: set DEVICE auto or cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def prepare(cfg: "CfgNode") -> "torch.device":
    """Seed every generator, set cuDNN as configured, and return the device.

    Raises:
        UserError: CUDA asked for and absent, or bf16 without it.
    """
    import numpy as np
    import torch

    device = select_device(cfg.DEVICE)
    if cfg.TRAIN.PRECISION == "bf16" and device.type != "cuda":
        raise UserError(
            "TRAIN.PRECISION bf16 needs a CUDA device: on CPUs, PyTorch's gradients of dilated depthwise convolutions "
            "in bfloat16 are not finite now and then; set it to fp32"
        )
    random.seed(cfg.SEED)
    np.random.seed(cfg.SEED)
    torch.manual_seed(cfg.SEED)
    torch.backends.cudnn.enabled = cfg.CUDNN.ENABLED
    torch.backends.cudnn.benchmark = cfg.CUDNN.BENCHMARK
    torch.backends.cudnn.deterministic = cfg.CUDNN.DETERMINISTIC
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
    (run_dir / "config.yaml").write_text(cfg.dump(), encoding="utf-8")
    return run_dir
