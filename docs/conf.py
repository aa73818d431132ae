"""The site: MyST pages, notebooks executed while it is built, the API from the docstrings.

Nothing here needs the network: no page of another project is looked up.
"""

import hashlib
import os
import pathlib
import re

import nce_bias

HERE = pathlib.Path(__file__).resolve().parent

# For the notebooks' kernels: compilation is most of their time, and each program runs once.
os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0".strip()
)

project = "nce-bias"
author = "The nce-bias developers"
project_copyright = "The nce-bias developers. Apache-2.0"
version = release = nce_bias.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx-mathjax-offline",  # formulas without a network
    "sphinxcontrib.bibtex",
]
exclude_patterns = ["_build", "jupyter_execute", "**.ipynb_checkpoints"]
html_theme = "furo"
html_title = f"nce-bias {release}"
html_copy_source = False
html_static_path = ["_static"]
html_js_files = ["filter.js"]  # a page without a div.filter-rows is as it was
html_css_files = ["wide.css"]

myst_enable_extensions = ["amsmath", "deflist", "dollarmath"]
myst_heading_anchors = 3


def library() -> str:
    """A digest of all that a notebook's numbers depend on besides its own text."""
    digest = hashlib.sha256()
    package = (HERE.parent / "nce_bias").rglob("*.py")
    for file in sorted([*package, HERE.parent / "constraints.txt"]):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


# A cache is keyed by a notebook's text; the library's digest keys the cache.
nb_execution_mode = "cache"
nb_execution_cache_path = str(HERE.parent / "build" / "notebooks" / library())
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_execution_show_tb = True
nb_merge_streams = True

bibtex_bibfiles = ["../nce_bias/references.bib"]
bibtex_reference_style = "author_year"

autosummary_generate = False
autodoc_typehints = "none"  # shapes and types are in the text, in the field's own notation
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_custom_sections = [("Attributes", "params_style")]  # several names on one line
napoleon_use_rtype = False
default_role = "py:obj"  # `exact` in a docstring is a link where there is such an object


def bars_are_mathematics(app, what, name, obj, options, lines):
    """In a docstring | is "given" or a norm, never the substitution that reST makes of it."""
    lines[:] = [
        "".join(
            part if part.startswith("``") else part.replace("|", r"\|")
            for part in re.split(r"(``.*?``)", line)
        )
        for line in lines
    ]


def setup(app):
    app.connect("autodoc-process-docstring", bars_are_mathematics)
