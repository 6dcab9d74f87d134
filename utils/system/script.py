"""What every script does around its work: what a user can mend is told in one line.

Scripts import this before they have read their command line, so that --help answers at once: no PyTorch here.
"""

import errno
import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from utils.system.errors import RunStoppedError, UserError
from utils.system.processes import ignore_ends, is_lost, is_main, part, processes, rank
from utils.system.shortage import explain_shortage
from utils.system.text import printable


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

UNLOADABLE = "Could not load this library"  # what PyTorch says where torchaudio was made for another one


def run_script(main: Callable[[], object]) -> None:
    """Run a script's `main`. What a user can mend becomes one line on standard error and an exit status.

    A UserError, a full disk, a file that may not be touched and a torchaudio of another torch: status 2, but 3 where a
    training's loss is no number; Ctrl-C: 130; a run that a signal stopped: 128 and the signal's number; where several
    processes share the job and another one is gone: 1.
    """
    limit_spinning()
    try:
        main()
        part()
    except KeyboardInterrupt:
        _exit("interrupted; a run goes on with --load_path and its folder", 130)
    except BrokenPipeError:  # whoever read our standard output has had enough
        sys.stderr.close()
        sys.exit(141)
    except RunStoppedError as error:
        _exit(str(error) if is_main() else "", error.status)
    except Exception as error:
        message, status = _explain(error)
        if not message and processes() == 1:
            raise
        _exit(message or traceback.format_exc(), status)


def _explain(error: Exception) -> tuple[str, int]:
    """The line that tells a user what to mend, empty for an error of ours; and the exit status."""
    if isinstance(error, UserError):
        # One line by contract; from a loader's process it comes with that process's traceback before it.
        own_name = f"{UserError.__module__}.{UserError.__name__}: "
        return f"error: {str(error).strip().splitlines()[-1].removeprefix(own_name)}", error.status
    if shortage := explain_shortage(error):
        return f"error: {shortage}; a run goes on with --load_path", 2
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        file = error.filename or "a file"
        return f"error: cannot write {file} ({error.strerror}): make room; a run goes on with --load_path", 2
    if isinstance(error, PermissionError) and error.filename:
        return f"error: no permission for {error.filename} ({error.strerror}): give it, or name another place", 2
    if isinstance(error, OSError) and str(error).startswith(UNLOADABLE):
        versions = " and ".join(f"{name} {version(name)}" for name in ("torch", "torchaudio"))
        remedy = "install the pair that requirements.txt names: python -m pip install -r requirements.txt"
        return f"error: {versions} do not go together ({error.__cause__ or error}): {remedy}", 2
    if is_lost(error):
        message = "another process of the job is gone: its own message, or torchrun's, says why"
        return f"error: {message}; go on with --load_path", 1
    return "", 1


def _end_children() -> None:
    """End loader processes: one that hangs would be waited for."""
    if children := multiprocessing.active_children():
        ignore_ends()
        for child in children:
            child.kill()


def _exit(message: str, status: int) -> None:
    number = f" (rank {rank()})" if processes() > 1 else ""
    if message:
        print(printable(f"{Path(sys.argv[0]).name}{number}: {message}"), file=sys.stderr, flush=True)
    _end_children()
    if processes() > 1:
        sys.stdout.flush()
        os._exit(status)  # ending in an orderly way would wait for the others
    sys.exit(status)
