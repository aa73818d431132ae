"""`nb.text.hashed`: n-grams of words in a table of buckets, by the definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nce_bias as nb
from tests.refusals import refusal


def crc32(content):
    """The definition, bit by bit: the reflected polynomial 0x04C11DB7."""
    register = 0xFFFFFFFF
    for byte in content:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0xEDB88320 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


def test_bags_by_definition():
    grams = ["<dö", "dög", "ögs", "gs>", "<dög", "dögs", "ögs>", "<dögs", "dögs>", "<dögs>"]
    expected = sorted({crc32(gram.encode()) % 1000 for gram in grams})
    encoder = nb.text.hashed(2, 1000)
    bags, mask = encoder.bags(["Dögs, A", "", "a"])
    assert bags.shape == (3, 2, len(expected)) and bags.dtype == np.int32
    assert bags[0, 0].tolist() == expected
    alone = crc32(b"<a>") % 1000
    assert bags[0, 1].tolist() == bags[2, 0].tolist() == [alone] + [-1] * (len(expected) - 1)
    assert mask.tolist() == [[True, True], [False, False], [True, False]]
    assert (bags[~mask] == -1).all()
    fixed, mask = encoder.bags(["Dögs, A", "a"], length=1, grams=3)
    assert fixed.tolist() == [[expected[:3]], [[alone, -1, -1]]] and mask.all()
    assert encoder.bags([], length=2, grams=3)[0].shape == (0, 2, 3)
    assert encoder.bags([""])[0].shape == (1, 0, 0)


def test_a_state_is_the_mean_over_a_words_buckets():
    encoder = nb.text.hashed(3, 7, (2, 3))  # few buckets: some coincide within a word
    texts = ["running dogs run", "", "dogs"]
    bags, mask = encoder.bags(texts)
    states = jax.jit(lambda e, b: e(b))(encoder, bags)
    table = np.asarray(encoder.table)
    for at in zip(*np.nonzero(mask), strict=True):
        own = [bucket for bucket in bags[at] if bucket >= 0]
        assert len(set(own)) == len(own)
        assert np.asarray(states[at]) == pytest.approx(table[own].mean(0), abs=1e-12)
    assert not np.asarray(states)[~mask].any()
    kept = encoder.encode(texts)
    assert kept.padded([0, 1, 2])[0] == pytest.approx(np.asarray(states), abs=1e-6)  # float32
    assert kept.ids.tolist() == [
        crc32(f"<{word}>".encode()) % 7 for word in ("running", "dogs", "run", "dogs")
    ]
    assert kept.vocabulary == 7


def test_the_table_learns():
    """Gradients reach the buckets of the words and no others; descent finds the target."""
    encoder = nb.text.hashed(2, 500)
    bags, mask = encoder.bags(["dog", "big cats"])
    target = jnp.where(mask[..., None], jnp.array([3.0, -1.0]), 0)

    def loss(table):
        return jnp.square(type(encoder)(table, encoder.ngrams)(bags) - target).sum()

    step = jax.jit(jax.grad(loss))
    gradient = step(encoder.table)
    assert sorted(np.flatnonzero(np.abs(gradient).sum(1))) == sorted({*bags[bags >= 0].tolist()})
    table = encoder.table
    for _ in range(60):
        table = table - 1.0 * step(table)
    assert loss(table) < 1e-6 < 1 < loss(encoder.table)


def test_a_table_is_its_keys_and_its_fingerprint_the_tables():
    first, again = nb.text.hashed(4, 50), nb.text.hashed(4, 50)
    other = nb.text.hashed(4, 50, key=jax.random.key(1))
    assert (first.table == again.table).all() and first.fingerprint == again.fingerprint
    wider = nb.text.hashed(4, 50, (3, 6))
    assert len({first.fingerprint, other.fingerprint, wider.fingerprint}) == 3
    rows = np.linalg.norm(nb.text.hashed(64, 400).table, axis=1)
    assert np.mean(rows**2) == pytest.approx(1, abs=5 * np.sqrt(2 / (64 * 400)))  # 5 std. errors


def test_errors_of_hashed():
    assert refusal(lambda: nb.text.hashed(ngrams=(5, 3))) == (
        "ngrams: got (5, 3); expected (shortest, longest), both >= 1. Pass ngrams=(3, 5)."
    )
    assert refusal(lambda: nb.text.hashed(0)) == (
        "size: got 0; expected a whole number >= 1. Pass size=1."
    )
