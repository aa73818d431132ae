"""The box above tables as a browser runs it: which rows of which tables a few words leave."""

import pathlib
import re
import shutil
import subprocess

import pytest

BROWSER = shutil.which("chromium")
SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "docs" / "_static" / "filter.js"
QUIET = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run")
PAGE = """<!doctype html><body><section>
<table><tbody><tr><td>above, bpr</td></tr></tbody></table>
<div class="filter-rows"></div>
<div><table><thead><tr><th>name</th></tr></thead><tbody>
<tr><td>dns</td><td>best of 32 uniform</td><td>BPR</td></tr>
<tr><td>bpr</td><td>uniform</td><td>bpr</td></tr></tbody></table>
<table><tbody><tr><td>word2vec</td><td>popularity</td></tr></tbody></table></div>
<table><tbody><tr><td>below, bpr</td></tr></tbody></table>
</section><script>{script}</script><script>
document.addEventListener("DOMContentLoaded", () => {{
  const box = document.querySelector("div.filter-rows input");
  if (box) {{ box.value = {words!r}; box.dispatchEvent(new Event("input")); }}
  const rows = [...document.querySelectorAll("tr")].filter(row => row.checkVisibility());
  document.title = rows.map(row => row.cells[0].textContent).join("|")
    + "#" + (document.querySelector("output")?.textContent ?? "no box");
}});
</script></body>"""


def left(tmp_path, words, page=PAGE):
    """First cells of the rows that are seen, and what the box counts."""
    assert BROWSER is not None, "make test-browser needs chromium on the path"
    file = tmp_path / "page.html"
    file.write_text(page.format(script=SCRIPT.read_text(), words=words))
    call = [BROWSER, *QUIET, f"--user-data-dir={tmp_path / 'user'}", "--dump-dom", file.as_uri()]
    done = subprocess.run(call, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    title = re.search("<title>(.*?)</title>", done.stdout)
    assert title is not None
    rows, count = title[1].split("#")
    return rows.split("|"), count


@pytest.mark.parametrize(
    ("words", "rows", "count"),
    [
        ("", ["name", "dns", "bpr", "word2vec"], ""),
        ("bpr", ["name", "dns", "bpr"], "2 of 3"),
        ("  UNIFORM best ", ["name", "dns"], "1 of 3"),
        ("word2vec", ["word2vec"], "1 of 3"),
        ("popularity bpr", [], "0 of 3"),
    ],
)
def test_rows_with_all_words_remain(tmp_path, words, rows, count):
    """Other tables are left alone; one without a row goes with its column names."""
    assert left(tmp_path, words) == (["above, bpr", *rows, "below, bpr"], count)


def test_a_page_without_a_place_has_no_box(tmp_path):
    page = PAGE.replace('class="filter-rows"', "")
    rows = ["above, bpr", "name", "dns", "bpr", "word2vec", "below, bpr"]
    assert left(tmp_path, "bpr", page) == (rows, "no box")
