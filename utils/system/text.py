"""Text for messages: names, some of many; what comes from outside, made fit for a terminal; numbers in a setting."""

from collections.abc import Sequence
from fractions import Fraction


def some(names: Sequence[str], most: int) -> str:
    """Names in a line of a message; of more than `most`, the first ones, and that there are more."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def printable(text: str) -> str:
    """The text with everything that a terminal could obey, or could not print, written as an escape.

    Names of files may hold terminal sequences, marks that turn the direction of writing around, or bytes that are no
    text. Line ends and tabs stay.
    """
    return "".join(
        character if character.isprintable() or character in "\n\t" else character.encode("unicode_escape").decode()
        for character in text
    )


def align(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells, a line each, every column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def parse_factors(text: str) -> list[Fraction]:
    """Factors with spaces or commas between them, each to the hundredth.

    Raises:
        ValueError: something else.
        ZeroDivisionError: one over nothing.
    """
    return [Fraction(word).limit_denominator(100) for word in text.replace(",", " ").split()]
