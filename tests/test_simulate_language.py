"""Tokens of real text: exact round trips, merges as a naive implementation makes them."""

import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulate.language import PIECE, Tokenizer, learn_tokens, read_bytes

# Few letters, so that pairs repeat and overlap; all bytes, so that no text is special.
TEXTS = st.one_of(
    st.binary(min_size=1, max_size=60),
    st.lists(
        st.sampled_from([b"a", b"b", b"aa", b" ", b"\xff", b"1", b"\n", b"."]), min_size=1
    ).map(b"".join),
)


def naive_merge(piece, pair, new):
    """One pass from the left."""
    out, place = [], 0
    while place < len(piece):
        if place + 1 < len(piece) and (piece[place], piece[place + 1]) == pair:
            out.append(new)
            place += 2
        else:
            out.append(piece[place])
            place += 1
    return out


def naive_learn(text, merges):
    """Byte-pair merges by recounting every pair of every piece of the text, one by one."""
    alphabet = sorted(set(text))
    pieces = [[alphabet.index(byte) for byte in piece] for piece in split(text)]
    learned = []
    for new in range(len(alphabet), len(alphabet) + merges):
        counts = Counter(pair for piece in pieces for pair in pairwise(piece))
        most = max(counts.values(), default=0)
        if most < 2:
            break
        pair = min(pair for pair, count in counts.items() if count == most)
        learned.append(pair)
        pieces = [naive_merge(piece, pair, new) for piece in pieces]
    return learned, [token for piece in pieces for token in piece]


def split(text):
    """Pieces by a scan that knows no regular expression for the whole text."""
    pieces = []
    while text:
        match = re.match(rb" ?[A-Za-z_]+| ?[0-9]+|\s+|[^A-Za-z_0-9\s]+", text)
        assert match is not None
        pieces.append(match.group())
        text = text[match.end() :]
    return pieces


@settings(max_examples=150, deadline=None)
@given(TEXTS, st.integers(0, 6))
def test_merges_are_those_of_a_naive_implementation(text, merges):
    learned, tokens = naive_learn(text, merges)
    tokenizer = learn_tokens(text, len(set(text)) + len(learned))
    assert list(tokenizer.merges) == learned
    encoded = tokenizer.encode(text)
    assert encoded.tolist() == tokens
    assert tokenizer.decode(encoded) == text
    if len(learned) < merges:
        with pytest.raises(ValueError, match=f"at most {tokenizer.vocabulary}"):
            learn_tokens(text, len(set(text)) + merges)


@settings(max_examples=100, deadline=None)
@given(TEXTS, st.data())
def test_decoding_undoes_encoding_of_any_text_over_the_alphabet(text, data):
    tokenizer = learn_tokens(text)
    assert tokenizer.vocabulary == len(set(text))
    other = bytes(data.draw(st.lists(st.sampled_from(sorted(set(text))), max_size=40)))
    known = bytes(range(256))
    table = Tokenizer(known, ((97, 97), (256, 97), (32, 98)))
    for one, sample in ((tokenizer, other), (table, text), (table, other)):
        encoded = one.encode(sample)
        assert one.decode(encoded) == sample
        assert encoded.size == 0 or encoded.max() < one.vocabulary
    assert b"".join(PIECE.findall(text)) == text


def test_byte_level_tokens_are_ranks_of_bytes():
    text = b"bca\xff\xfe b"
    tokens = learn_tokens(text).encode(text)
    assert tokens.tolist() == [sorted(set(text)).index(byte) for byte in text]


def test_merges_stay_within_words():
    tokenizer = learn_tokens(b"ab cd " * 50, 9)
    assert set(tokenizer.spellings[5:]) == {b"ab", b" c", b" cd", b" ab"}


def test_real_text_shrinks_by_its_merges():
    text = read_bytes(max_bytes=100_000)
    assert len(text) == 100_000
    byte_level, pairs = learn_tokens(text), learn_tokens(text, 160)
    assert byte_level.encode(text).size == len(text)
    encoded = pairs.encode(text)
    assert encoded.size < 0.75 * len(text)
    assert pairs.decode(encoded) == text
    # Frequency of the first merge, counted in the text itself.
    first = pairs.spellings[byte_level.vocabulary]
    assert text.count(first) > len(text) / 200


def test_bytes_are_read_as_they_are(tmp_path):
    (tmp_path / "b.bin").write_bytes(b"\xff\x00two")
    (tmp_path / "a.txt").write_bytes(b"one\xc3")
    assert read_bytes(tmp_path) == b"one\xc3\n\xff\x00two"
    assert read_bytes(str(tmp_path / "b.bin"), 3) == b"\xff\x00t"
    assert read_bytes("", 10) == read_bytes(None, 10)
    text = read_bytes(tmp_path)
    tokenizer = learn_tokens(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_bad_input_is_named(tmp_path):
    empty = tmp_path / "empty"
    empty.write_bytes(b" \n\t")
    tokenizer = learn_tokens(b"abab")
    cases = [
        ("path", lambda: read_bytes(empty)),
        ("path", lambda: read_bytes(tmp_path / "none")),
        ("max_bytes", lambda: read_bytes(None, 0)),
        ("text", lambda: learn_tokens(b"")),
        ("vocabulary", lambda: learn_tokens(b"abc", 2)),
        ("vocabulary", lambda: learn_tokens(b"abcabc", 300)),
        ("vocabulary", lambda: learn_tokens(b"abab", 2.7)),
        ("vocabulary", lambda: learn_tokens(b"abab", float("nan"))),
        ("vocabulary", lambda: learn_tokens(b"abab", float("inf"))),
        ("vocabulary", lambda: learn_tokens(b"abab", "3")),
        ("text", lambda: tokenizer.encode(b"abz")),
        ("tokens", lambda: tokenizer.decode(np.array([0, 2]))),
        ("tokens", lambda: tokenizer.decode(np.array([-1]))),
    ]
    for name, call in cases:
        with pytest.raises((ValueError, TypeError, FileNotFoundError), match=f"`{name}`") as caught:
            call()
        assert "\n" not in str(caught.value)
