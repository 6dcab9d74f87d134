"""The speakers held out: what is recorded of them, and what is warned of."""

from types import SimpleNamespace

import pytest

from utils.training.choice import describe_choice, doubts_of_choice


def corpus(
    held_out: dict[str, int], others: dict[str, int], choice: str = "random", kind: str = "m"
) -> SimpleNamespace:
    """A corpus by its dev speakers' numbers of sessions."""
    return SimpleNamespace(
        validation_choice=choice,
        validation_speakers=sorted(held_out),
        validation_kinds=dict.fromkeys(held_out, kind) if choice == "hard" else {},
        dev_sessions=held_out | others,
        list_path=lambda name: f"DIR/{name}",
    )


MANY = {"d": 2, "e": 5, "f": 3, "g": 4}  # speakers trained on


@pytest.mark.parametrize(
    ("held_out", "others", "remedy"),
    [
        (
            {"a": 1, "b": 1, "c": 2},
            MANY,
            "DATASET.VAL_CHOICE hard holds out those with several first (5 dev speakers have)",
        ),
        ({"a": 1, "b": 1, "c": 2, "h": 2}, {"d": 1}, "only 2 dev speakers have several: set DATASET.VAL_SPEAKERS to 2"),
        ({"a": 1, "b": 1}, {"d": 1}, "nobody else could be held out"),
    ],
)
def test_speakers_of_one_session(held_out: dict[str, int], others: dict[str, int], remedy: str) -> None:
    """One line: how many, what follows, and what to do about it."""
    own = corpus(held_out, others)
    (doubt,) = doubts_of_choice(own)
    assert "\n" not in doubt
    assert doubt.startswith(f"2 of the {len(held_out)} speakers held out have one session only: ")
    assert remedy in doubt
    assert describe_choice(own) == {
        "validation_choice": "random",
        "validation_single_session": 2,
        "validation_kinds": {},
    }


def test_nothing_to_warn_of() -> None:
    """All of several sessions, most of whom are left to train on."""
    for choice in ("random", "hard"):
        assert doubts_of_choice(corpus({"a": 2, "b": 3}, MANY, choice)) == []


def test_doubts_of_a_hard_choice() -> None:
    """It takes most speakers of several sessions from the training, or knows nothing of them."""
    own = corpus({"a": 2, "b": 3}, {"c": 1, "d": 2}, "hard")
    (doubt,) = doubts_of_choice(own)
    assert "holds out 2 of the 3 dev speakers with several sessions, and leaves 1 to train on" in doubt
    assert describe_choice(own)["validation_kinds"] == {"a": "m", "b": "m"}
    (doubt,) = doubts_of_choice(corpus({"a": 2, "b": 3}, MANY, "hard", kind=""))
    assert "DIR/vox1_meta.csv knows no gender of the speakers held out" in doubt
    nobody = corpus({}, MANY, "hard")
    assert describe_choice(nobody) == {
        "validation_choice": "",
        "validation_single_session": 0,
        "validation_kinds": {},
    }
