"""Tokens of real text: the bytes that occur in it, then pairs of tokens merged by frequency.

Text is bytes throughout, so any file will do. Pieces (a word with the space before it, a number, a
run of spaces, a run of other bytes) are tokenised each by itself, as usual (Sennrich et al. 2016,
arXiv 1508.07909; bytes as in GPT-2): a merge is learned and applied within pieces only.
"""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simulate.text import DEFAULT_MAX_BYTES, text_files
from theory.checks import check_real, check_whole

# Every byte belongs to exactly one piece.
PIECE = re.compile(rb" ?[A-Za-z_]+| ?[0-9]+|\s+|[^A-Za-z_0-9\s]+")
END = -1  # closes a piece; no merge reaches across
LEARNED_BYTES = 1_000_000
MOST_TOKENS = 2**31 - 1  # pairs of tokens are numbered in int64


def read_bytes(path: str | Path | None = None, max_bytes: int = DEFAULT_MAX_BYTES) -> bytes:
    """Bytes of a file, or of all files of a folder in the order of their names.

    Args:
        path: a file or folder; left out or empty, the top-level modules of the standard library.
        max_bytes: the text is cut after so many bytes.

    Returns:
        The bytes as they are; they need not be UTF-8. Files are joined by a newline.

    Raises:
        FileNotFoundError: if there is no such file or folder.
        ValueError: if there is nothing in it but white space.
    """
    check_real("max_bytes", max_bytes, at_least=1)
    parts, read = [], 0
    for file in text_files(path):
        parts.append(file.read_bytes())
        read += len(parts[-1]) + 1
        if read > max_bytes:
            break
    text = b"\n".join(parts)[:max_bytes]
    if not text.strip():
        raise ValueError(f"`path` must hold text, {path or 'the standard library'} is empty.")
    return text


@dataclass(frozen=True)
class Tokenizer:
    """Tokens 0 ... V - 1: single bytes first, then one for each merge.

    Attributes:
        alphabet: the bytes there are tokens for, ascending.
        merges: pairs of earlier tokens, in the order they were learned.
    """

    alphabet: bytes
    merges: tuple[tuple[int, int], ...] = ()

    @property
    def vocabulary(self) -> int:
        """V."""
        return len(self.alphabet) + len(self.merges)

    @property
    def spellings(self) -> list[bytes]:
        """What each token stands for, [V]."""
        spelled = [bytes([value]) for value in self.alphabet]
        for first, second in self.merges:
            spelled.append(spelled[first] + spelled[second])
        return spelled

    def encode(self, text: bytes) -> np.ndarray:
        """Tokens of a text, [m].

        Raises:
            ValueError: if the text holds a byte that the alphabet lacks.
        """
        pieces = PIECE.findall(text)
        number = {piece: place for place, piece in enumerate(dict.fromkeys(pieces))}
        tokens = _lay_out(list(number), self.alphabet)
        for place, pair in enumerate(self.merges):
            tokens = _merge(tokens, pair, len(self.alphabet) + place)
        ends = np.flatnonzero(tokens == END)
        starts = np.concatenate([[0], ends[:-1] + 1]).astype(np.int64)
        order = np.array([number[piece] for piece in pieces], np.int64)
        lengths = (ends - starts)[order]
        # Place of each token of the result: the start of its piece plus its place within it.
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return tokens[np.repeat(starts[order], lengths) + within]

    def decode(self, tokens: np.ndarray) -> bytes:
        """The text of some tokens; undoes `encode`.

        Raises:
            ValueError: if there is no such token.
        """
        if len(tokens):
            check_real("tokens", tokens, at_least=0, below=self.vocabulary)
        spelled = self.spellings
        return b"".join(spelled[token] for token in tokens)


def learn_tokens(text: bytes, vocabulary: int | None = None) -> Tokenizer:
    """Byte-pair tokens of a text: again and again the most frequent pair becomes a token.

    Ties go to the pair of the smallest tokens. Merges are learned on the first million bytes.

    Args:
        text: any bytes.
        vocabulary: V, at least the number of distinct bytes; left out, exactly that (byte level).

    Returns:
        A `Tokenizer` for all bytes of the text.

    Raises:
        TypeError: if `vocabulary` is no number.
        ValueError: if the text is empty, has more distinct bytes than `vocabulary`, no pair occurs
            twice any more before there are `vocabulary` tokens, or that is no whole number.
    """
    if not text:
        raise ValueError("`text` must hold at least one byte, got none.")
    if vocabulary is not None:
        check_whole("vocabulary", vocabulary, 1, MOST_TOKENS)
    alphabet = bytes(np.flatnonzero(np.bincount(np.frombuffer(text, np.uint8))).tolist())
    size = len(alphabet) if vocabulary is None else vocabulary
    if size < len(alphabet):
        raise ValueError(
            f"`vocabulary` must be at least {len(alphabet)}, the distinct bytes of the text, "
            f"got {vocabulary}."
        )
    counted = Counter(PIECE.findall(text[:LEARNED_BYTES]))
    tokens = _lay_out(list(counted), alphabet)
    times = np.repeat(list(counted.values()), [len(piece) + 1 for piece in counted])
    merges: list[tuple[int, int]] = []
    for new in range(len(alphabet), int(size)):
        pair = _most_frequent(tokens, times, new)
        if pair is None:
            raise ValueError(
                f"`vocabulary` must be at most {new}, what the text supports, got {vocabulary}."
            )
        merges.append(pair)
        kept = _kept(tokens, pair)
        tokens, times = _merge(tokens, pair, new), times[kept]
    return Tokenizer(alphabet, tuple(merges))


def _lay_out(pieces: list[bytes], alphabet: bytes) -> np.ndarray:
    """Byte-level tokens of all pieces, each closed by `END`."""
    code = np.full(256, len(alphabet), np.int64)
    code[list(alphabet)] = np.arange(len(alphabet))
    flat = code[np.frombuffer(b"".join(pieces), np.uint8)]
    if np.any(flat == len(alphabet)):
        raise ValueError("`text` must hold bytes of the alphabet only, found another.")
    ends = np.cumsum([len(piece) for piece in pieces]).astype(np.int64)
    return np.insert(flat, ends, END)


def _most_frequent(tokens: np.ndarray, times: np.ndarray, size: int) -> tuple[int, int] | None:
    """The pair that occurs most often, weighted by how often its piece does; None below twice."""
    first, second = tokens[:-1], tokens[1:]
    inside = (first != END) & (second != END)
    codes = first[inside] * size + second[inside]
    totals = np.bincount(codes, weights=times[:-1][inside], minlength=1)
    best = int(np.argmax(totals))
    return divmod(best, size) if totals[best] >= 2 else None


def _places(tokens: np.ndarray, pair: tuple[int, int]) -> np.ndarray:
    """Where the pair is merged: from the left, without overlap."""
    found = np.flatnonzero((tokens[:-1] == pair[0]) & (tokens[1:] == pair[1]))
    if pair[0] != pair[1] or not found.size:
        return found
    # In a run a a a ... every second place counts, from the first of the run.
    begins = np.concatenate([[True], np.diff(found) > 1])
    first = found[np.flatnonzero(begins)[np.cumsum(begins) - 1]]
    return found[(found - first) % 2 == 0]


def _kept(tokens: np.ndarray, pair: tuple[int, int]) -> np.ndarray:
    kept = np.ones(tokens.size, bool)
    kept[_places(tokens, pair) + 1] = False
    return kept


def _merge(tokens: np.ndarray, pair: tuple[int, int], new: int) -> np.ndarray:
    merged = tokens.copy()
    merged[_places(tokens, pair)] = new
    return merged[_kept(tokens, pair)]
