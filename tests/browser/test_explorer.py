"""The explorer in a running JupyterLab, moved as a user moves it, by headless Chromium."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import nbformat
import pytest
from playwright.sync_api import (  # pyright: ignore[reportMissingImports]
    expect,
    sync_playwright,
)

from nce_bias._explore import State, answer
from nce_bias._explore.answer import IN_SIGHT

BROWSER = shutil.which("chromium")
LABELS = 1000
SETUP = f"""
import numpy as np, nce_bias as nb
rng = np.random.default_rng(0)
problem = nb.Problem(2 * rng.normal(size={LABELS}), rng.dirichlet(np.full({LABELS}, 0.2)))
""".strip()


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """A notebook with the explorer in its second cell, in a folder of its own."""
    cells = [SETUP, "widget = nb.explore(problem, m=4)\nwidget", "print('seconds', widget.seconds)"]
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    path = tmp_path_factory.mktemp("lab") / "explore.ipynb"
    nbformat.write(made, path)
    return path


@pytest.fixture(scope="module")
def lab(notebook):
    """The address of a JupyterLab that serves it."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}"),
        *("--IdentityProvider.token=", "--ServerApp.password=", "--LabApp.news_url="),
        *(
            f"--ServerApp.root_dir={notebook.parent}",
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        ),
    ]
    settings = os.environ | {"JUPYTER_CONFIG_DIR": str(notebook.parent / "config")}
    server = subprocess.Popen(command, env=settings, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            try:
                with urllib.request.urlopen(f"{address}/api") as answer_:
                    json.load(answer_)
                break
            except OSError:
                time.sleep(1)
        yield f"{address}/lab/tree/{notebook.name}"
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="module")
def page(lab):
    assert BROWSER is not None, "make test-browser needs chromium on the path"
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        view = browser.new_page(viewport={"width": 1440, "height": 1000})
        view.goto(lab)
        first = view.locator(".jp-Notebook .jp-CodeCell").first
        first.wait_for(timeout=180_000)
        view.get_by_text("| Idle").wait_for(timeout=120_000)  # the kernel has started
        first.locator(".cm-content").click()
        for _ in range(2):
            view.keyboard.press("Shift+Enter")
        view.locator(".nce-bias-explorer dd").first.wait_for(timeout=300_000)
        yield view
        browser.close()


def shown(page, name):
    return float(page.locator(f'[data-number="{name}"]').inner_text())


def move(page, name, steps):
    """By the keys of a focused slider."""
    control = page.locator(f'[data-control="{name}"]')
    control.focus()
    for _ in range(steps):
        control.press("ArrowRight")


def exactly(state):
    scope = {}
    exec(SETUP, scope)  # ours
    return answer(scope["problem"], state)


def test_it_begins_where_it_was_told(page):
    assert shown(page, "bias_norm") == pytest.approx(
        exactly(State(m=4)).numbers["bias_norm"], rel=1e-3
    )


def test_a_moved_slider_changes_the_numbers(page):
    """Each shown number is that of the code shown below it."""
    before = shown(page, "bias_norm")
    move(page, "share", 10)
    expect(page.locator(".nce-bias-explorer code")).to_contain_text("share=0.5", timeout=60_000)
    expected = exactly(State(m=4, share=0.5)).numbers
    assert shown(page, "bias_norm") == pytest.approx(expected["bias_norm"], rel=1e-3)
    assert shown(page, "cosine") == pytest.approx(expected["cosine"], rel=1e-3)
    assert shown(page, "bias_norm") != pytest.approx(before, rel=1e-2)


def test_the_picture_has_two_bars_and_a_difference_for_each_label(page):
    bars = page.locator(".nce-bias-explorer svg rect")
    assert bars.count() == 3 * IN_SIGHT


def test_it_says_how_long_a_change_took(page):
    """In the kernel, of the last of some moves."""
    move(page, "temperature", 3)
    expect(page.locator(".nce-bias-explorer code")).to_contain_text("temperature=1.75")
    page.locator(".jp-CodeCell").nth(2).click()
    page.keyboard.press("Control+Enter")
    output = page.locator(".jp-CodeCell").nth(2).locator(".jp-OutputArea-output")
    expect(output).to_contain_text("seconds")
    assert float(output.inner_text().split()[-1]) > 0
