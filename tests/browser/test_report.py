"""The page of an audit as a browser shows it: two widths, two colour schemes, no request."""

import re
import shutil
import subprocess

import matplotlib.image
import numpy as np
import pytest

import nce_bias as nb

BROWSER = shutil.which("chromium")
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
#: What the page cannot say itself, as it has no script: put into a copy of it.
PROBE = """<script>document.title = [
  document.documentElement.scrollWidth, window.innerWidth,
  performance.getEntriesByType("resource").length,
  ...[...document.querySelectorAll("svg")].map(svg => Math.round(svg.getBoundingClientRect().width))
].join(" ")</script></body>"""
#: (dark, width in pixels); Chromium's own windows are no narrower than 500.
VIEWS = [(dark, width) for dark in (False, True) for width in (500, 1100)]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    assert BROWSER is not None, "make test-browser needs chromium on the path"
    rng = np.random.default_rng(0)
    problem = nb.Problem.from_golds(2 * rng.normal(size=(6, 12)), rng.integers(0, 12, 6))
    names = ["in_batch_infonce", "tf_sampled_softmax_repeats", "blanc_rendle", "word2vec"]
    folder = tmp_path_factory.mktemp("report")
    return nb.audit(problem, (2, 8), names).report(folder / "report.html")


def browse(page, folder, *, dark, width, arguments):
    settings = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    call = [BROWSER, *QUIET, settings, f"--window-size={width},1600", f"--user-data-dir={folder}"]
    done = subprocess.run(
        [*call, *arguments, page.as_uri()], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("dark", "width"), VIEWS)
def test_it_fits_its_width_and_asks_for_nothing(page, tmp_path, dark, width):
    probed = tmp_path / "probed.html"
    probed.write_text(page.read_text().replace("</body>", PROBE))
    text = browse(probed, tmp_path / "user", dark=dark, width=width, arguments=["--dump-dom"])
    title = re.search("<title>(.*?)</title>", text)
    assert title is not None
    whole, seen, requests, *figures = map(int, title[1].split())
    assert whole <= seen <= width
    assert requests == 0
    assert len(figures) == 2
    assert all(300 < figure <= seen for figure in figures)


@pytest.mark.parametrize(("dark", "width"), VIEWS)
def test_text_and_figures_stand_out_from_the_paper(page, tmp_path, dark, width):
    shot = tmp_path / "shot.png"
    arguments = [f"--screenshot={shot}", "--hide-scrollbars"]
    browse(page, tmp_path / "user", dark=dark, width=width, arguments=arguments)
    image = matplotlib.image.imread(shot)[..., :3]
    paper = np.median(image.reshape(-1, 3), axis=0)
    assert (paper.mean() < 0.2) if dark else (paper.mean() > 0.9)
    # dark ink on light paper, light ink on dark: enough of it far from the paper
    ink = np.abs(image - paper).max(axis=-1) > 0.6
    assert 0.005 < ink.mean() < 0.3
    # and the figures' colours, blue and orange, are there
    red, _, blue = np.moveaxis(image - image.mean(axis=-1, keepdims=True), -1, 0)
    assert (red > 0.3).sum() > 50
    assert (blue > 0.2).sum() > 50
