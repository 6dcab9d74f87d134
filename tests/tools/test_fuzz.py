"""tools/fuzz.py: faults of every kind are found and named, and a case can be run again."""

import argparse
import ctypes
import gc
import json
import os
import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pytest

from data_objects.audio import AudioError
from tools.fuzzing.judge import Bounds
from tools.fuzzing.mutations import Sample
from tools.fuzzing.run import choose, fuzz, keep_case, plan, run_fuzzer, run_one
from tools.fuzzing.targets import TARGETS, Target, make_case
from tools.fuzzing.workers import Work
from utils.system.errors import UserError

BOUNDS = Bounds(memory=100, seconds=0.2, hang=5.0)
FAULT = 7  # the number of the case that is broken
CASES = 12
TEXTS = [name for name, target in TARGETS.items() if target.group == "texts"]


def raise_error() -> None:
    raise KeyError("planted")


def write_natively() -> None:
    ctypes.CDLL(None).puts(b"planted")  # into the C library's buffer, not Python's


def refuse_in_two_lines() -> None:
    raise UserError("planted,\nand more")


def refuse_in_colour() -> None:
    raise UserError("planted \x1b[31m")


def compute() -> None:
    began = time.process_time()
    while time.process_time() - began < 0.3:
        pass


# what a case does -> the kind of failure, and a part of what is said of it
FAULTS: dict[str, tuple[Callable[[], object], str, str]] = {
    "exception": (raise_error, "exception", "KeyError in test_fuzz.py, raise_error: 'planted'"),
    "exit": (lambda: exit(3), "exception", "SystemExit"),
    "stderr": (lambda: os.write(2, b"planted"), "output", "planted"),
    "stdout": (lambda: os.write(1, b"planted"), "output", "planted"),
    "native": (write_natively, "output", "planted"),
    "warning": (lambda: warnings.warn("planted", SyntaxWarning, stacklevel=1), "warning", "planted"),
    "lines": (refuse_in_two_lines, "message", "several lines"),
    "colour": (refuse_in_colour, "message", "control characters"),
    "memory": (lambda: np.ones(30_000_000).sum(), "memory", "more than 100 MB"),
    "slow": (compute, "slow", "more than 0.2 s"),
    "hang": (lambda: time.sleep(60), "hang", "more than 5 s"),
    "death": (lambda: os.kill(os.getpid(), signal.SIGSEGV), "died", "exit status -11"),
    "end": (lambda: os._exit(0), "died", "exit status 0"),
}


def planted(fault: Callable[[], object]) -> Target:
    """A target whose case FAULT does this, and whose other cases are read or refused clearly in turn."""

    def mutate(draw: Random, seeds: object) -> Sample:
        broken = draw.random() == Random(f"0/planted/{FAULT}").random()
        return Sample(".txt", b"broken" if broken else draw.choice((b"good", b"bad")))

    def run(path: Path) -> None:
        if path.read_bytes() == b"bad":
            raise UserError("a clear refusal")
        if path.read_bytes() == b"broken":
            fault()

    return Target(lambda: [Sample(".txt", b"good")], run, mutate)


def work_of(target: Target, bounds: Bounds = BOUNDS) -> Work:
    return Work({"planted": target}, {"planted": target.seeds()}, 0, bounds)


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_named(name: str, tmp_path: Path) -> None:
    fault, kind, said = FAULTS[name]
    work = work_of(planted(fault))
    result = fuzz(work, plan(["planted"], work.targets, {"texts": CASES}), 2, tmp_path)
    assert [(key[1], numbers) for key, numbers in result.failures.items()] == [(kind, [FAULT])]
    assert said in next(iter(result.messages.values()))
    count = result.counts["planted"]
    assert (count.cases, count.failed, len(count.refusals)) == (CASES, 1, 1)
    assert count.accepted + count.refused == CASES - 1
    assert [path.name for path in tmp_path.iterdir()] == [f"planted-0-{FAULT}.txt"]


def test_garbage_of_the_process_before_hides_no_memory() -> None:
    """What the process that forked had yet to collect, freed while a case runs, once outweighed what the case took."""
    gc.disable()
    try:
        cycle: list[object] = [np.ones(30_000_000)]
        cycle.append(cycle)
        del cycle
        work = work_of(planted(lambda: (gc.collect(), np.ones(30_000_000).sum())))
        result = fuzz(work, plan(["planted"], work.targets, {"texts": CASES}), 1)
    finally:
        gc.enable()
    assert [key[1] for key in result.failures] == ["memory"]


def test_free_memory_of_the_process_before_hides_none() -> None:
    """A large block that lies free within the heap is resident: a case that is given it does not grow."""
    freed = np.ones(3_900_000)
    del freed  # from now on the allocator takes blocks of 30 MB from the heap
    blocks = [np.ones(3_750_000) for _ in range(12)]
    behind = [bytes(100_000) for _ in range(8)]  # so that the heap does not shrink
    del blocks
    work = work_of(planted(lambda: np.ones(30_000_000).sum()))
    result = fuzz(work, plan(["planted"], work.targets, {"texts": CASES}), 1)
    assert [key[1] for key in result.failures] == ["memory"]
    del behind


def test_a_seed_that_kills_is_told() -> None:
    target = Target(lambda: [Sample(".txt", b"")], lambda path: os._exit(5))
    work = work_of(target)
    with pytest.raises(RuntimeError, match=r"\(5\) before its first case"):
        fuzz(work, plan(["planted"], work.targets, {"texts": 1}), 1)


@pytest.mark.parametrize("name", TARGETS)
def test_a_case_is_its_seed_and_number(name: str) -> None:
    target, seeds, same = TARGETS[name], TARGETS[name].seeds(), TARGETS[name].seeds()
    cases = [make_case(target, name, seeds, 0, number) for number in range(40)]
    again = [make_case(target, name, same, 0, number) for number in reversed(range(40))]
    assert cases == again[::-1]
    assert cases != [make_case(target, name, seeds, 1, number) for number in range(40)]
    assert len(set(cases)) > 30


def test_texts_are_read_or_refused() -> None:
    work = Work(TARGETS, {name: TARGETS[name].seeds() for name in TEXTS}, 0, Bounds())
    result = fuzz(work, plan(TEXTS, TARGETS, {"texts": 50 * len(TEXTS)}), 2)
    assert {name: count.cases for name, count in result.counts.items()} == dict.fromkeys(TEXTS, 50)
    assert not result.failures
    assert all(count.accepted and count.refused for count in result.counts.values())


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_are_read(name: str, tmp_path: Path) -> None:
    refusals = []
    for number, sample in enumerate(TARGETS[name].seeds()):
        path = tmp_path / f"{number}{sample.suffix}"
        path.write_bytes(sample.data)
        try:
            TARGETS[name].run(path)
        except AudioError as error:
            refusals.append(str(error))
    # GSM 6.10 and G.721, which soundfile cannot seek in
    assert all("non-seekable" in refusal for refusal in refusals)
    assert len(refusals) <= 2


def arguments(**changed: object) -> argparse.Namespace:
    given = {"seed": 0, "texts": CASES, "files": 0, "workers": 1, "keep": None, "only": "", "case": "", "json": True}
    return argparse.Namespace(**(given | changed))


def test_a_case_is_run_again(capfd: pytest.CaptureFixture[str]) -> None:
    targets = {"planted": planted(lambda: os.write(2, b"said"))}
    assert run_fuzzer(arguments(case=f"planted:{FAULT}"), targets, BOUNDS) == 1
    out, err = capfd.readouterr()
    assert json.loads(out)["kind"] == "output"
    assert err == ""
    assert run_fuzzer(arguments(case=f"planted:{FAULT + 1}"), targets, BOUNDS) == 0


def test_a_kept_input_is_the_case(tmp_path: Path) -> None:
    work = Work(TARGETS, {"lists-meta": TARGETS["lists-meta"].seeds()}, 3, BOUNDS)
    path = keep_case(work, "lists-meta", 5, tmp_path / "kept")
    assert path.read_bytes() == work.case("lists-meta", 5).data
    assert path.name == "lists-meta-3-5.csv"


@pytest.mark.parametrize("text", ["planted", "planted:", "planted:x", "planted:-1", "other:1"])
def test_no_case(text: str) -> None:
    with pytest.raises(UserError, match="--case must be TARGET:NUMBER"):
        run_one(work_of(planted(raise_error)), text)


def test_the_table_and_the_status(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_fuzzer(arguments(json=False), {"planted": planted(raise_error)}, BOUNDS) == 1
    table = capfd.readouterr().out
    assert f"exception in 1 cases, planted:{FAULT} first" in table
    assert run_fuzzer(arguments(), {"planted": planted(lambda: None)}, BOUNDS) == 0
    assert json.loads(capfd.readouterr().out)["targets"]["planted"]["cases"] == CASES


def test_targets_are_chosen_by_name() -> None:
    assert choose("lists,audio", TARGETS) == ["lists-trials", "lists-split", "lists-meta", "audio"]
    assert choose("", TARGETS) == list(TARGETS)
    with pytest.raises(UserError, match="no target 'list'; valid are lists-trials"):
        choose("list", TARGETS)
