"""Real text that any machine has: files, folders, or the running Python's standard library."""

import re
import sysconfig
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from theory.checks import check_real

TOKEN = re.compile(r"\w+|[^\w\s]")
DEFAULT_MAX_BYTES = 4_000_000


@dataclass(frozen=True)
class BigramCounts:
    """How often one token follows another, kept apart by block of text for the bootstrap.

    Attributes:
        tokens: the vocabulary, most frequent first.
        pair: codes first * V + second of the pairs that occur, [m], ascending.
        block: occurrences of each pair in each block of text, [blocks, m].
    """

    tokens: tuple[str, ...]
    pair: np.ndarray
    block: np.ndarray

    @property
    def vocabulary(self) -> int:
        """V."""
        return len(self.tokens)

    @property
    def pairs(self) -> int:
        """Number of pairs counted."""
        return int(self.block.sum())


def text_files(path: str | Path | None = None) -> list[Path]:
    """A file alone, or all files of a folder in the order of their names.

    Args:
        path: a file or folder; left out or empty, the top-level modules of the standard library.

    Raises:
        FileNotFoundError: if there is no such file or folder.
    """
    source = Path(path or sysconfig.get_paths()["stdlib"])
    if source.is_dir():
        return sorted(f for f in source.glob("**/*" if path else "*.py") if f.is_file())
    if not source.is_file():
        raise FileNotFoundError(f"`path` must be a file or folder, there is no {source}.")
    return [source]


def read_text(path: str | Path | None = None, max_bytes: int = DEFAULT_MAX_BYTES) -> str:
    """Text of a file, or of all files of a folder in the order of their names.

    Args:
        path: a file or folder; left out, the top-level modules of the standard library.
        max_bytes: reading stops after the file that passes this many bytes.

    Returns:
        The text; bytes that are not UTF-8 become the replacement character.

    Raises:
        FileNotFoundError: if there is no such file or folder.
        ValueError: if there is no text in it.
    """
    check_real("max_bytes", max_bytes, at_least=1)
    parts, read = [], 0
    for file in text_files(path):
        content = file.read_bytes()
        parts.append(content.decode("utf-8", errors="replace"))
        read += len(content)
        if read >= max_bytes:
            break
    text = "\n".join(parts)
    if not text.strip():
        raise ValueError(f"`path` must hold text, {path or 'the standard library'} is empty.")
    return text


def count_bigrams(text: str, vocabulary: int, blocks: int = 40) -> BigramCounts:
    """Counts pairs of neighbouring tokens, both among the most frequent ones.

    Args:
        text: any text; tokens are words and single punctuation marks.
        vocabulary: V >= 2, how many of the most frequent tokens are kept. A pair with another
            token in it is left out.
        blocks: contiguous blocks of equal length the counts are kept apart by, at least 2.

    Returns:
        A `BigramCounts`.

    Raises:
        ValueError: if the text has fewer distinct tokens than `vocabulary`, fewer pairs than
            `blocks`, or no pair of frequent tokens.
    """
    check_real("vocabulary", vocabulary, at_least=2)
    check_real("blocks", blocks, at_least=2)
    words = TOKEN.findall(text)
    frequency = Counter(words)
    if len(frequency) < vocabulary:
        raise ValueError(
            f"`vocabulary` must be at most {len(frequency)}, the distinct tokens of the text, "
            f"got {vocabulary}."
        )
    check_real("blocks", blocks, at_most=len(words) - 1)
    # Ties are broken by the token itself, so that the order does not depend on the text's order.
    ranked = sorted(frequency.items(), key=lambda item: (-item[1], item[0]))[:vocabulary]
    tokens = tuple(token for token, _ in ranked)
    return _count(words, tokens, blocks)


def _count(words: Sequence[str], tokens: tuple[str, ...], blocks: int) -> BigramCounts:
    number = {token: rank for rank, token in enumerate(tokens)}
    codes = np.array([number.get(word, -1) for word in words])
    first, second = codes[:-1], codes[1:]
    kept = (first >= 0) & (second >= 0)
    if not np.any(kept):
        raise ValueError("`text` must hold at least one pair of frequent tokens, found none.")
    place = np.arange(first.size) * blocks // first.size
    pair, column = np.unique(first[kept] * len(tokens) + second[kept], return_inverse=True)
    block = np.zeros((blocks, pair.size), dtype=np.int64)
    np.add.at(block, (place[kept], column), 1)
    return BigramCounts(tokens, pair, block)
