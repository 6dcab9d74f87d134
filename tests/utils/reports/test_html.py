"""The report: one file, whole, safe and legible, in a browser too."""

import base64
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from utils.pictures.confusion import plot_confusion
from utils.pictures.det import plot_det
from utils.pictures.scores import plot_histograms
from utils.reports.html import HEAVIEST_SVG, Picture, Section, Table, write_report

STRANGE = "<script>alert('1')</script> & \"quoted\" \udc80\ud800\x00\x0b\ufffe é 中"
SHOWN = "<script>alert('1')</script> & \"quoted\" \ufffd\ufffd\ufffd\ufffd\ufffd é 中"
VOID = {"meta", "img", "br", "hr", "link", "input", "col", "wbr", "source"}
ADDRESSES = {"src", "href", "srcset", "action", "data", "poster", "background", "cite", "formaction", "ping"}


class Page(HTMLParser):
    """A page as its elements, attributes and texts; it must be well nested."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        self.declaration = ""
        self.feed(source)
        self.close()
        assert not self.open

    def handle_decl(self, decl: str) -> None:
        self.declaration = decl

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs)
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1] if self.open else "", data))

    def all(self, tag: str) -> list[dict[str, str]]:
        """The attributes of every element of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]


def figures() -> list[Figure]:
    draw = np.random.default_rng(0)
    labels = np.arange(834) % 2
    scores = draw.normal(0.1 + 0.5 * labels, 0.15)
    decisions = draw.integers(30, size=(2, 2000))
    names = [f"<{STRANGE}> {number}" for number in range(30)]
    return [
        plot_det({STRANGE: (scores, labels)}),
        plot_histograms(scores, labels, 0.35),
        plot_confusion(*decisions, names),
    ]


def sections() -> list[Section]:
    table = Table(
        STRANGE,
        ["list", "trials", "EER", "interval", "minDCF", "note"],
        [
            [STRANGE, 37_720, "4.78 %", "[4.2, 5.3]", 0.41234567, "fine"],
            ["other", np.int64(581_480), "−1.5e-3 %", None, np.float32(0.5), 7],
            ["third", 3, "", "", float("nan"), True],
        ],
        note=STRANGE,
    )
    pictures = [Picture(f"{STRANGE} {number}", figure) for number, figure in enumerate(figures())]
    pictures[0] = Picture("A caption.", pictures[0].figure, f"What is seen: {STRANGE}")
    return [
        Section(STRANGE, f"First {STRANGE}.\n\nSecond.", [table], pictures[:2]),
        Section("Empty"),
        Section(
            "Last",
            tables=[Table("Nothing", ["a", "b"], []), Table("Numbers", ["bin", "trials"], [[1, 2]])],
            pictures=pictures[2:],
        ),
    ]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(path, STRANGE, warnings=[STRANGE, "Second warning."], sections=sections())
    return path


@pytest.fixture(scope="module")
def page(report: Path) -> Page:
    return Page(report.read_text(encoding="utf-8"))


def test_frame(page: Page) -> None:
    """HTML5 with a language, a character set, a viewport and a title; everything is closed in its order."""
    assert page.declaration == "DOCTYPE html"
    assert page.all("html") == [{"lang": "en"}]
    assert page.all("meta")[0] == {"charset": "utf-8"}
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")
    assert page.text("title") == page.text("h1") == [SHOWN]
    identities = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(identities)) == len(identities)


def test_nothing_from_elsewhere(report: Path, page: Page) -> None:
    """No scripts; every address is data or an anchor of this page, in the styles and in the pictures too."""
    forbidden = {"script", "link", "iframe", "object", "embed", "base", "form", "svg", "video", "audio"}
    assert not {tag for tag, _ in page.elements} & forbidden
    identities = {attributes.get("id") for _, attributes in page.elements}
    for _, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes)
        for name in ADDRESSES & attributes.keys():
            address = attributes[name]
            assert address.startswith("data:image/") or address[1:] in identities
    (style,) = page.text("style")
    assert not re.search(r"url\(|@import|@font-face", style)
    (policy,) = (meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    assert "default-src 'none'" in policy
    for content in pictures_of(page):
        tree = ElementTree.fromstring(content)
        for element in tree.iter():
            assert not element.tag.endswith(("}script", "}foreignObject"))
            for name, value in element.attrib.items():
                assert not name.endswith("href") or value.startswith(("#", "data:image/png;base64,"))
                assert "url(" not in value or "url(#" in value
    assert "http" not in re.sub(r"http-equiv", "", re.sub(r'"data:[^"]*"', "", report.read_text(encoding="utf-8")))


def pictures_of(page: Page) -> list[bytes]:
    return [base64.b64decode(image["src"].partition("base64,")[2], validate=True) for image in page.all("img")]


def test_all_text_is_shown_as_it_is(report: Path, page: Page) -> None:
    """Markup in a text is text, and what HTML cannot hold is replaced; the file is UTF-8."""
    content = report.read_bytes().decode("utf-8")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffe]", content)
    shown = [text for _, text in page.texts]
    assert shown.count(SHOWN) >= 5  # the title twice, a warning, the contents, a heading, a cell
    assert SHOWN in page.text("li")
    assert SHOWN in page.text("a")
    assert SHOWN in page.text("th")
    assert page.text("p")[:2] == [f"First {SHOWN}.", "Second."]
    assert [image["alt"] for image in page.all("img")] == [f"What is seen: {SHOWN}", f"{SHOWN} 1", f"{SHOWN} 2"]


def test_warnings_stand_on_top(page: Page) -> None:
    """Before the contents; without warnings there is no box."""
    tags = [tag for tag, _ in page.elements]
    assert tags.index("h1") < tags.index("aside") < tags.index("nav") < tags.index("main")
    assert "2 warnings" in page.text("h2")
    assert "Second warning." in page.text("li")


def test_without_anything(tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", "Title", warnings=[], sections=[])
    page = Page((tmp_path / "report.html").read_text())
    assert not page.all("aside")
    assert not page.all("nav")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]  # nothing partial


def test_contents_link_to_the_sections(page: Page) -> None:
    anchors = [link["href"] for link in page.all("a")]
    assert anchors == [f"#{section['id']}" for section in page.all("section")] == [f"#section-{n}" for n in (1, 2, 3)]
    assert page.text("a") == [SHOWN, "Empty", "Last"]


def test_tables(page: Page) -> None:
    """Numbers are formatted and their columns right-aligned; the others are not."""
    heads = [head for head in page.all("th") if head["scope"] == "col"]
    assert ["class" in head for head in heads[:6]] == [False, True, True, True, True, False]
    assert page.text("td")[:5] == ["37,720", "4.78 %", "[4.2, 5.3]", "0.4123", "fine"]
    assert page.text("td")[5:10] == ["581,480", "−1.5e-3 %", "–", "0.5", "7"]
    assert page.text("td")[-4:] == ["–", "True", "nothing", "2"]
    assert ["class" in head for head in heads[-2:]] == [False, True]  # the first column names the rows
    cells = page.all("td")
    assert ["class" in cell for cell in cells[:5]] == [True, True, True, True, False]
    assert page.text("b") == ["Table 1.", "Figure 1.", "Figure 2.", "Table 2.", "Table 3.", "Figure 3."]


def test_row_of_another_length(tmp_path: Path) -> None:
    """Nothing is written then."""
    section = Section("title", tables=[Table("of errors", ["a", "b"], [["1", "2"], ["3"]])])
    with pytest.raises(ValueError, match="a row of 1 cells in a table of 2 columns: of errors"):
        write_report(tmp_path / "report.html", "Title", warnings=[], sections=[section])
    assert not list(tmp_path.iterdir())


def test_same_bytes_twice(report: Path, tmp_path: Path) -> None:
    """Of figures made anew, and of the same figures a second time."""
    again, parts = tmp_path / "again.html", sections()
    for _ in range(2):
        write_report(again, STRANGE, warnings=[STRANGE, "Second warning."], sections=parts)
        assert again.read_bytes() == report.read_bytes()


def test_many_trials_are_light(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    labels = np.arange(581_480) % 2
    scores = draw.normal(0.1 + 0.4 * labels, 0.15)
    pictures = [Picture("DET", plot_det({"E": (scores, labels)})), Picture("scores", plot_histograms(scores, labels))]
    write_report(tmp_path / "report.html", "E", warnings=[], sections=[Section("E", pictures=pictures)])
    assert (tmp_path / "report.html").stat().st_size < 300_000


def test_heavy_pictures_become_pixels(tmp_path: Path) -> None:
    """Of so many lines that their text would be heavier."""
    figure = Figure(figsize=(4, 3))
    figure.add_subplot().scatter(*np.random.default_rng(2).random((2, 20_000)))
    write_report(tmp_path / "r.html", "T", warnings=[], sections=[Section("S", pictures=[Picture("many", figure)])])
    page = Page((tmp_path / "r.html").read_text())
    (image,) = page.all("img")
    assert image["src"].startswith("data:image/png;base64,")
    assert (image["width"], image["height"]) == ("384", "288")
    (content,) = pictures_of(page)
    assert content.startswith(b"\x89PNG")
    assert len(content) < HEAVIEST_SVG


# ------------------------------------------------------------------------------------------------------------------
# In a browser
# ------------------------------------------------------------------------------------------------------------------
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
# Written into a copy of the page; the report itself holds no script, and its policy would not run one.
PROBE = """<script>
addEventListener("load", async () => {
  const found = [];
  for (const image of document.images) {
    const state = await image.decode().then(() => "decoded", () => "broken");
    const card = image.closest(".card").getBoundingClientRect();
    found.push([state, image.naturalWidth, Math.round(image.getBoundingClientRect().width), Math.round(card.right),
      image.className]);
  }
  const root = document.documentElement;
  found.push(["page", root.scrollWidth, root.clientWidth]);
  parent.postMessage(found.map(values => values.join(" ")).join("\\n"), "*");
});
</script>"""
# Windows cannot be as narrow as a phone; a frame can. What the page finds in itself it tells the frame's page.
FRAME = """<!DOCTYPE html><title>frame</title><body>
<iframe src="copy.html" style="width: {width}px; height: 2000px; border: 0"></iframe>
<pre id="probe"></pre>
<script>addEventListener("message", event => {{ document.getElementById("probe").textContent = event.data; }});</script>
"""
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no chromium, chromium-browser or google-chrome here")


def browse(page: Path, profile: Path, *options: str) -> str:
    """Open a page and return what the browser printed; a new profile every time."""
    command = [BROWSER, *QUIET, f"--user-data-dir={profile}", *options, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def probe(source: str, folder: Path, width: int) -> list[list[str]]:
    """What a script finds in a page: an image a line, then how wide the page is and its window."""
    source, policies = re.subn(r"<meta http-equiv[^>]*>", "", source)
    assert policies == 1
    (folder / "copy.html").write_text(source.replace("</body>", PROBE + "</body>"), encoding="utf-8")
    (folder / "frame.html").write_text(FRAME.format(width=width))
    printed = browse(folder / "frame.html", folder / "profile", "--virtual-time-budget=20000", "--dump-dom")
    (found,) = re.findall(r'<pre id="probe">(.*?)</pre>', printed, re.DOTALL)
    return [line.split() for line in found.splitlines()]


@needs_browser
@pytest.mark.parametrize("width", [390, 1280])
def test_pictures_are_decoded_and_fit(report: Path, tmp_path: Path, width: int) -> None:
    """On a phone and on a desktop: every picture is seen, and only cards and tables are moved sideways."""
    *images, page = probe(report.read_text(encoding="utf-8"), tmp_path, width)
    assert len(images) == 3
    for state, natural, shown, right, *kind in images:
        assert state == "decoded"
        assert int(natural) > 400
        assert int(shown) >= 0.6 * min(int(natural), width)
        assert int(right) <= width
        assert int(shown) <= width or kind == ["wide"]
    assert page[1:] == [str(width)] * 2


@needs_browser
def test_broken_pictures_would_be_noticed(report: Path, tmp_path: Path) -> None:
    """The test above can fail."""
    source = report.read_text(encoding="utf-8").replace("svg+xml;base64,", "svg+xml;base64,AAAA", 1)
    assert [image[0] for image in probe(source, tmp_path, 1280)[:-1]] == ["broken", "decoded", "decoded"]


@needs_browser
def test_page_is_seen(report: Path, tmp_path: Path) -> None:
    """The report itself, as it is: its text is in the page, the box of warnings and the white cards are painted."""
    picture = tmp_path / "page.png"
    dom = Page(browse(report, tmp_path / "first", "--dump-dom"))
    assert dom.text("h1") == [SHOWN]
    assert not dom.all("script")
    dark = "--blink-settings=preferredColorScheme=0"
    for options, paper in (((), (255, 255, 255)), ((dark,), (0x17, 0x18, 0x1B))):
        profile = tmp_path / f"profile-{len(options)}"
        browse(report, profile, "--window-size=1280,2600", f"--screenshot={picture}", *options)
        with Image.open(picture) as image:
            pixels = np.asarray(image.convert("RGB"))
        assert pixels.shape == (2600, 1280, 3)
        assert tuple(pixels[3, 3]) == paper
        assert (pixels == (0xE0, 0x8A, 0x00)).all(axis=-1).sum() > 1_000  # the box of warnings
        assert (pixels == (0x00, 0x72, 0xB2)).all(axis=-1).sum() > 500  # a DET curve
        assert (pixels == 255).all(axis=-1).sum() > 300_000  # the cards
