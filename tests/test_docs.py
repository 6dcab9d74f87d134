"""What README.md, CONTRIBUTING.md and docs/ name is there: links, files, names, commands, options, settings."""

import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from config import CHOICES, all_keys
from tests.helpers import ROOT, call_script

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
MOST_WORDS = 1100  # of the README
SUFFIXES = (".py", ".yaml", ".md", ".toml")  # a name that ends so is a file of the project, wherever it stands
# Paths that are not the project's, by how they begin: a user's, VoxCeleb1's, and what runs and preprocessing write.
FOREIGN = re.compile(
    r"/"  # /path/to/...
    r"|[A-Z]+(_[A-Z]+)*/"  # a placeholder: RUN/, OUT/, NOISE/
    r"|VoxCeleb1/|wav/|dev/wav/|test/wav/|id[N\d]{5}"
    r"|feature/|parts/|runs/|\.venv/"
    r"|https?:"
)
FOLDERS = ("models", "data_objects", "utils", "tools", "exps", "docs", "tests")
PLACEHOLDER = re.compile(r"\.\.\.|<|config\.yaml$")  # the last: of a run folder
WRITTEN = re.compile(r"[\w*.-]+(/[\w*.-]+)*/?")  # how a path may be written


# ------------------------------------------------------------------------------------------------------------------
# Reading pages
# ------------------------------------------------------------------------------------------------------------------
def code_blocks(text: str) -> list[str]:
    """The indented blocks, continued lines joined."""
    blocks = re.findall(r"(?:^|\n\n)((?:    .*(?:\n|$)|\n(?=    ))+)", text)
    return [block.replace("\\\n", " ") for block in blocks]


def code_spans(text: str) -> list[str]:
    """What stands in backticks; a span may go on in the next line."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)]


def code(text: str) -> list[str]:
    """All code of a page: spans, and the lines of blocks without their comments."""
    lines = [line for block in code_blocks(text) for line in block.splitlines()]
    return code_spans(text) + [re.sub(r"(^|\s)#.*", "", line).strip() for line in lines]


def links(text: str) -> list[str]:
    """The targets of links and pictures."""
    return re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'<img src="([^"]+)"', text)


def anchors(text: str) -> set[str]:
    """What GitHub calls a page's headings: lower case, blanks to hyphens, without punctuation."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# ------------------------------------------------------------------------------------------------------------------
# Complaints
# ------------------------------------------------------------------------------------------------------------------
def broken_links(page: Path, text: str) -> list[str]:
    """Links to files or headings that there are not."""
    broken = []
    for link in links(text):
        target, _, anchor = link.partition("#")
        file = page.parent / target if target else page
        if link.startswith("http"):
            continue
        if not file.exists() or (anchor and anchor not in anchors(file.read_text(encoding="utf-8"))):
            broken.append(link)
    return broken


def paths(text: str) -> Iterator[str]:
    """Every path of the project that the code of a page names."""
    for word in re.split(r"[\s,;()\"'{}]+", "\n".join(code(text))):
        path = re.sub(r"(::.*|[.:]+)$", "", word)
        is_path = "/" in path or path.endswith(SUFFIXES)
        if is_path and WRITTEN.fullmatch(path) and not FOREIGN.match(path) and not PLACEHOLDER.search(word):
            yield path


def missing_paths(text: str) -> list[str]:
    """Paths that lead nowhere; a file may be named without its folder."""
    return sorted({path for path in paths(text) if not any(ROOT.glob(path)) and not is_known_by_name(path)})


def is_known_by_name(path: str) -> bool:
    """Whether it is the bare name of a file somewhere in the project."""
    return "/" not in path and any(any((ROOT / folder).rglob(path)) for folder in FOLDERS)


def missing_names(text: str) -> list[str]:
    """Functions, classes and constants that a page puts into a file that has not got them.

    Written as `name` in `file.py`, `name` of `file.py`, or `file.py` (`name`).
    """
    flat = " ".join(text.split())
    pairs = re.findall(r"`(\w+)(?:\[[^`]*\])?` (?:in|of) `([\w/]+\.py)`", flat)
    pairs += [(name, file) for file, name in re.findall(r"`([\w/]+\.py)` \(`(\w+)`\)", flat)]
    return [f"{name} in {file}" for name, file in pairs if not defines(ROOT / file, name)]


def defines(file: Path, name: str) -> bool:
    """Whether a file of Python has this function, class or constant."""
    pattern = rf"^\s*(?:(?:def|class) {name}\b|{name}\s*[:=])"
    return file.is_file() and re.search(pattern, file.read_text(encoding="utf-8"), re.MULTILINE) is not None


WITH_COMMANDS = ("tools/benchmark.py", "tools/recognize.py")  # whose options follow a command
COMMAND = re.compile(r"(?:python|torchrun [^#]*?) ((?:[\w]+/)*\w+\.py)\b(.*)")


def wrong_commands(text: str) -> list[str]:
    """Commands of scripts that there are not, or with options that they do not take."""
    wrong = []
    for line in code(text):
        if match := COMMAND.match(line):
            script, rest = match.groups()
            if not (ROOT / script).is_file():
                wrong.append(script)
                continue
            words = re.sub(r'"[^"]*"', "TEXT", rest).split()
            command = words[0] if words and script in WITH_COMMANDS else ""
            used = {word for word in words if re.match(r"--?[a-z]", word)}
            wrong += [f"{script} {option}" for option in sorted(used - known_options(script, command))]
    return wrong


@functools.cache
def known_options(script: str, command: str) -> set[str]:
    """The options in a script's --help."""
    outcome = call_script(script, *filter(None, [command]), "--help")
    assert outcome.status == 0, outcome.stderr
    lines = re.findall(r"^  (-.*?)(?:  |$)", outcome.stdout, re.MULTILINE)
    return {option for line in lines for option in re.findall(r"(?<![\w-])--?\w[\w-]*", line)}


def wrong_settings(text: str) -> list[str]:
    """Keys that config.py has not, and values that it does not let them have."""
    known, wrong = set(all_keys()), []
    for key, value in re.findall(r"\b([A-Z]+\.[A-Z][A-Z0-9_]+)\b(?:[ ]([a-z]\w*)\b)?", "\n".join(code(text))):
        if key not in known:
            wrong.append(key)
        elif value and value not in CHOICES.get(key, (value,)):
            wrong.append(f"{key} {value}")
    return wrong


def missing_targets(text: str) -> list[str]:
    """What `make` is asked for and cannot."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {match[1] for line in code(text) if (match := re.match(r"make (\w+)", line))}
    return sorted(target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE))


CHECKS = {
    "links": lambda text: broken_links(ROOT / "README.md", text),
    "paths": missing_paths,
    "names": missing_names,
    "commands": wrong_commands,
    "settings": wrong_settings,
    "targets": missing_targets,
}


# ------------------------------------------------------------------------------------------------------------------
# The pages
# ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    """Pages, headings, pictures."""
    page = ROOT / name
    assert broken_links(page, page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("check", [check for check in CHECKS if check != "links"])
@pytest.mark.parametrize("name", NAMES)
def test_what_a_page_names_is_there(name: str, check: str) -> None:
    """Files and folders; functions in them; scripts and their options; settings; make's targets."""
    assert CHECKS[check]((ROOT / name).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_left_to_fill_in(name: str) -> None:
    """No placeholder."""
    assert not re.search(r"@@|TODO|TBD|FIXME", (ROOT / name).read_text(encoding="utf-8"))


def test_the_readme_is_the_short_way_in() -> None:
    """It begins with the two commands, has few words, and links every page and the setting file."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    first = code_blocks(text)[0]
    assert first.split("make ")[1].startswith("demo")
    assert first.split("make ")[2].startswith("test")
    assert len(text.split()) <= MOST_WORDS
    linked = {link.partition("#")[0] for link in links(text)}
    assert {name for name in NAMES if name != "README.md"} | {"config.py"} <= linked


def test_the_pages_have_commands_and_paths() -> None:
    """What is checked above is found in the first place."""
    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    commands = {match[1] for text in texts for line in code(text) if (match := COMMAND.match(line))}
    scripts = {"search.py", "train.py", "train_baseline.py", "data_preprocess.py", "evaluate_verification.py"}
    assert {*scripts, "evaluate_identification.py", "tools/benchmark.py", "tools/summarize.py"} <= commands
    found = {path for text in texts for path in paths(text)}
    assert {"models/supernet.py", "utils/search/loop.py", "exps/search.yaml", "utils/system/", "tests/golden"} <= found


# ------------------------------------------------------------------------------------------------------------------
# The checks
# ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("check", "text", "complaints"),
    [
        ("links", "[a](docs/data.md#the-layout) [b](#results)", []),
        ("links", "[a](docs/none.md)", ["docs/none.md"]),
        ("links", "[a](docs/data.md#no-such-heading)", ["docs/data.md#no-such-heading"]),
        ("links", "![a](docs/pictures/none.png)", ["docs/pictures/none.png"]),
        ("links", '<img src="docs/pictures/none.png">', ["docs/pictures/none.png"]),
        (
            "paths",
            "`models/supernet.py`, `exps/baseline/`, `state.py`, `RUN/report.md`, `/path/to/a.py`, `a/.../b`",
            [],
        ),
        ("paths", "`models/supernets.py` and `exps/none/`", ["exps/none/", "models/supernets.py"]),
        ("paths", "`nobody.py`", ["nobody.py"]),
        ("paths", "a block:\n\n    models/          what\n      utils/none/   what\n", ["utils/none/"]),
        ("paths", "a block:\n\n    python -m pytest tests/test_none.py::test_a -k a\n", ["tests/test_none.py"]),
        ("names", "`is_better` in `utils/training/state.py`, `data_objects/lists.py` (`read_trials`)", []),
        ("names", "`CHOICES['A']` in\n`config.py`", []),
        ("names", "`is_worse` in `utils/training/state.py`", ["is_worse in utils/training/state.py"]),
        ("names", "`data_objects/lists.py` (`read_none`)", ["read_none in data_objects/lists.py"]),
        ("commands", "`python search.py --cfg A` and `python data_preprocess.py A -s`", []),
        ("commands", "`python none.py`", ["none.py"]),
        (
            "commands",
            "a block:\n\n    python search.py --cfg A \\\n        --none B  # --comment\n",
            ["search.py --none"],
        ),
        ("commands", "a block:\n\n    torchrun --nnodes 2 train.py --cfg A --none\n", ["train.py --none"]),
        ("commands", "`python tools/benchmark.py data --data_dir A --curve 3`", ["tools/benchmark.py --curve"]),
        ("settings", "`TRAIN.LR 0.1`, `SEARCH.GRADIENT exact`, `OUT_DIR`, TRAIN.NONE", []),
        ("settings", "`TRAIN.NONE`", ["TRAIN.NONE"]),
        ("settings", "`SEARCH.GRADIENT none`", ["SEARCH.GRADIENT none"]),
        ("targets", "`make demo` and `make none`", ["none"]),
    ],
)
def test_a_mistake_is_found(check: str, text: str, complaints: list[str]) -> None:
    """Each check complains of what is wrong, and of nothing else."""
    assert CHECKS[check](text) == complaints
