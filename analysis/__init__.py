"""The questions asked with the library: one folder each, with its prediction, run and answer.

A question `NAME` is a folder with four files (``python -m analysis new NAME`` writes them):

``README.md``
    Question, prediction (written first), answer.
``run.py``
    ``run(out, *, quick)`` writes tables and ``meta.json`` into the folder `out`, with `quick` a
    small version in seconds; ``SECONDS = {"full": ..., "quick": ...}``, about what either takes on
    two cores. It may import the library and helpers of `analysis`.
``figure.py``
    ``draw(results, out)`` reads those tables, draws with `nce_bias.plot` alone, writes
    ``NAME.png`` into `out` and returns the paths.
``__init__.py``
    A docstring whose first line says what is asked.

``python -m analysis run`` switches float64 on, writes to ``build/`` and keeps what is finished;
``--in-place`` remakes ``results/`` and ``figures/``, which are committed.
"""
