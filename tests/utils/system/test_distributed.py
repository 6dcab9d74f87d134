"""What processes tell each other."""

from pathlib import Path

from tests.helpers import ROOT
from tests.runs import torchrun


def test_gathered_rows_keep_their_order(tmp_path: Path) -> None:
    """Also where processes have different numbers of rows, or none; and differing alphas are noticed."""
    program = tmp_path / "program.py"
    program.write_text(
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import torch\n"
        "from utils.system import distributed as d\n"
        "from utils.system.processes import is_main, part, rank\n"
        "d.start(torch.device('cpu'))\n"
        "rows = d.gather_rows(torch.arange(6.).view(3, 2)[rank() * 3:])\n"
        "other = d.gather_rows(torch.full((rank() + 1, 2), rank()))\n"
        "assert d.agree(rank(), -rank()) == (1, 0)\n"
        "d.check_alike([torch.zeros(2)], 'alpha')\n"
        "try:\n"
        "    d.check_alike([torch.full((2,), rank())], 'alpha')\n"
        "except Exception as error:\n"
        "    message = str(error)\n"
        "if is_main():\n"
        "    print(rows.tolist(), other.tolist(), message)\n"
        "part()\n"
    )
    done = torchrun(program, ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(
        "[[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]] [[0, 0], [1, 1], [1, 1]] alpha of rank 1 differs"
    )
