"""The two cells of a genotype as pictures."""

from pathlib import Path

from models.genotypes import PAPER_GENOTYPE, read_genotype
from utils.pictures.figure import save_figure
from utils.pictures.genotype import draw_genotype
from utils.system.errors import UserError


def draw_cells(genotype: str, out: str) -> list[Path]:
    """Draw a genotype, and return the pictures' paths.

    Args:
        genotype: its text, a file or a search's folder that holds it, or `paper` for the paper's.
        out: the picture, .png, .pdf or .svg; both .png and .pdf where it has no suffix.

    Raises:
        UserError: no genotype; a picture that cannot be written.
    """
    cells = PAPER_GENOTYPE if genotype == "paper" else read_genotype(genotype)
    path = Path(out)
    if not path.name:
        raise UserError(f"--out must be the name of a picture, not {out!r}")
    formats = (path.suffix.removeprefix("."),) if path.suffix else ("png", "pdf")
    try:
        return save_figure(draw_genotype(cells), path.with_suffix(""), formats)
    except OSError as error:
        raise UserError(f"--out: cannot write {path} ({error.strerror}); the folder must exist and be yours") from error
