"""Training an encoder: a run that learns, that goes on where it was stopped or killed."""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nce_bias as nb
from nce_bias.retrieval import encoder_training, pool
from nce_bias.train import loop
from tests.retrieval import tiny_bert
from tests.retrieval import tiny_linking as tiny

CONFIG = nb.retrieval.EncoderConfig(
    batch=8, mine_every=2, learning_rate=2e-3, warm_up=2, epochs=2, mentions=24, seed=3
)
SAMPLER = nb.top(1) + nb.iid(nb.uniform(), 1)
DUAL = nb.scores.Dual()


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.small_blocks(monkeypatch.setattr)


def train(
    corpus: nb.retrieval.Corpus,
    folder: Any = None,
    score: nb.scores.Score = DUAL,
    **changed: Any,
) -> nb.train.Fit:
    given = {"sampler": SAMPLER, "config": CONFIG, "every": 1, "checkpoints": [2]} | changed
    return nb.retrieval.train_encoder(corpus, score, folder=folder, progress=False, **given)


def same(one: nb.train.Fit, two: nb.train.Fit) -> bool:
    return one.status == two.status and all(
        np.asarray(a).tobytes() == np.asarray(b).tobytes()
        for a, b in zip(*map(jax.tree.leaves, (one, two)), strict=True)
    )


@pytest.mark.parametrize(
    ("name", "call", "begun"),
    [("update", 4, False), ("mine_negatives", 2, False), ("update", 2, True)],
)
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(
    bert_corpus: nb.retrieval.Corpus, tmp_path: pathlib.Path, name: str, call: int, begun: bool
) -> None:
    """Stopped between two minings, and in one; 2 epochs of 3 steps, mined at 0, 2, 3 and 5.

    Begun anew, or from another run's model.
    """
    given = {"start": train(bert_corpus, sampler=None).model} if begun else {}
    whole = train(bert_corpus, **given)
    assert whole.losses.shape == (6,) and whole.status == "ok"
    module = loop if name == "update" else encoder_training
    function, calls = getattr(module, name), []

    def interrupting(*given: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return function(*given, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, name, interrupting)
        part = train(bert_corpus, tmp_path, **given)
    assert part.status.startswith("interrupted") and 0 < len(part.losses) < 6
    assert same(train(bert_corpus, tmp_path, **given), whole)
    other = train(bert_corpus, config=dataclasses.replace(CONFIG, seed=4), **given)
    assert not same(other, whole)


KILLED = """
import os, pathlib, signal, sys
from tests.retrieval import test_encoder_runs, tiny_bert
from tests.retrieval import tiny_linking as tiny
import nce_bias as nb
from nce_bias.train import loop
class Killing(loop.Bar):
    def advance(self, steps=1, note=None):
        super().advance(steps)
        if self._done == 4:
            os.kill(os.getpid(), signal.SIGKILL)
loop.Bar = Killing
tiny.small_blocks(setattr)
encoder = tiny_bert.encoder(pathlib.Path(sys.argv[1]))
corpus = nb.retrieval.corpus(tiny.data(), encoder, learn=True)
test_encoder_runs.train(corpus, sys.argv[2], every=3)
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bits(
    bert_corpus: nb.retrieval.Corpus, bert_folder: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """SIGKILL in step 4, of which nothing is kept: from step 3 on, which was mined at step 2."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(bert_folder), str(tmp_path)],
        cwd=pathlib.Path(nb.__file__).parents[1],
        env=os.environ | {"JAX_ENABLE_X64": "1", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    seen, update = [], loop.update
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "update", lambda *given: (seen.append(1), update(*given))[1])
        assert same(train(bert_corpus, tmp_path, every=3), train(bert_corpus, every=3))
    assert len(seen) == 3 + 6


def test_a_run_learns_and_takes_each_mention_once(bert_corpus: nb.retrieval.Corpus) -> None:
    config = dataclasses.replace(CONFIG, epochs=12, mentions=None, dropout=0.0)
    run = train(bert_corpus, sampler=None, config=config)
    assert run.losses[-5:].mean() < 0.5 * run.losses[:5].mean()
    untrained = nb.retrieval.encoder_retriever(bert_corpus, nb.scores.Dual(), seed=3)
    before = np.mean(1 / nb.retrieval.rank(untrained, bert_corpus["test"]))
    assert np.mean(1 / nb.retrieval.rank(run.model, bert_corpus["test"])) > before + 0.2
    plan = encoder_training._Plan(bert_corpus["train"], None, nb.infonce, config)
    rows = [plan.coming(1, step, 1).rows for step in range(plan.steps)]
    assert sorted(np.concatenate(rows)) == [*range(40)]
    assert not np.array_equal(rows[0], plan.coming(0, 0, 1).rows)


def test_a_run_goes_on_from_a_model(
    bert_corpus: nb.retrieval.Corpus, tmp_path: pathlib.Path
) -> None:
    """Step 0 is that model, with the new run's dropout; which one it was is part of the run."""
    first = train(bert_corpus, sampler=None).model
    config = dataclasses.replace(CONFIG, seed=4, epochs=1, dropout=0.0)
    given = {"config": config, "start": first}
    second = train(bert_corpus, tmp_path, checkpoints=[0], **given)
    begun = second.at(0)
    assert begun.encoder.rate == 0.0 and first.encoder.rate == CONFIG.dropout > 0
    assert all(map(np.array_equal, *map(jax.tree.leaves, (begun, first))))
    plan = encoder_training._Plan(bert_corpus["train"], SAMPLER, nb.infonce, config)
    loss = pool.PoolLoss(nb.infonce)(begun, plan.batch(0, plan.mine(first, 0, 0)))
    assert second.losses[0] == pytest.approx(float(loss), rel=1e-5)  # float32
    assert second.losses[0] < train(bert_corpus, config=config).losses[0]
    assert same(train(bert_corpus, tmp_path, checkpoints=[0], **given), second)
    other = dataclasses.replace(first, scale=10.0)
    for start, said in ((second.model, r"start = '\w{16}'"), (other, "scale = ")):
        with pytest.raises(ValueError, match=said):
            train(bert_corpus, tmp_path, checkpoints=[0], **given | {"start": start})


def test_both_encoders_go_on_with_all_their_layers(bert_corpus: nb.retrieval.Corpus) -> None:
    config = dataclasses.replace(CONFIG, epochs=1, dropout=0.0, remat=True)
    two = nb.retrieval.encoder_retriever(bert_corpus, DUAL, shared=False)
    run = train(bert_corpus, config=config, start=two.frozen(1), checkpoints=[0])
    begun, ended = run.at(0), run.model
    for name in ("encoder", "label_encoder"):
        one, other, first = (getattr(model, name) for model in (begun, ended, two))
        assert (one.rate, one.remat, one.constant) == (0.0, True, 0)
        assert np.array_equal(one.weights["words"], first.weights["words"])
        # a vector of the lowest layer, which does not decay
        before, after = (found.weights["layers"]["norm"][0][0] for found in (one, other))
        assert not np.array_equal(before, after)


def test_codes_that_have_learnt_go_on(bert_corpus: nb.retrieval.Corpus) -> None:
    codes = np.random.default_rng(0).normal(size=(2, tiny_bert.HIDDEN)).astype("f4")
    poly = nb.scores.Poly(jnp.asarray(codes))
    first = train(bert_corpus, score=poly, sampler=None).model
    assert not np.array_equal(first.score.codes, codes)
    begun = train(bert_corpus, score=poly, start=first, checkpoints=[0]).at(0)
    assert np.array_equal(begun.score.codes, first.score.codes)


def test_a_start_that_does_not_fit(
    bert_corpus: nb.retrieval.Corpus, tmp_path: pathlib.Path
) -> None:
    begun = nb.retrieval.encoder_retriever(bert_corpus, nb.scores.Som())
    with pytest.raises(ValueError, match="a model of som; expected one of dual"):
        train(bert_corpus, start=begun)
    more = nb.text.bert(tiny_bert.write(tmp_path, [*tiny_bert.MARKS, "[unused2]"]), max_tokens=64)
    other = nb.retrieval.corpus(tiny.data(), more, learn=True)
    begun, words = nb.retrieval.encoder_retriever(other, nb.scores.Dual()), len(tiny_bert.words())
    said = rf"16 and 24 columns, {words + 7} words.* expected 2 layers of .* {words + 6} words"
    with pytest.raises(ValueError, match=said):
        train(bert_corpus, start=begun)


def test_accumulation_is_the_mean_of_gradients() -> None:
    """Two steps of half a gradient each are one update; what decays are matrices alone."""
    config = nb.retrieval.EncoderConfig(accumulate=2, warm_up=1, weight_decay=0.5, clip=1e9)
    params = {"layers": {"a": jnp.ones((2, 3))}, "words": jnp.ones((3, 2)), "scale": jnp.ones(())}
    decays = encoder_training._matrices(params)
    assert json.dumps(decays, sort_keys=True) == (
        '{"layers": {"a": false}, "scale": false, "words": true}'
    )
    optimizer = encoder_training.optimizer(config, 4)
    state, none = optimizer.init(params), jax.tree.map(jnp.zeros_like, params)
    updates, state = optimizer.update(none, state, params)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(updates))
