"""The text of a study, checked against its hash: another text is another record.

Chunks of one study may be computed on other days and other machines, where the same path, or the
running Python's standard library, can hold another text.
"""

import hashlib

from simulate.language import read_bytes
from simulate.text import read_text


def digest_of(text: bytes | str) -> str:
    """Hash of a text, 12 hexadecimal digits."""
    content = text.encode() if isinstance(text, str) else text
    return hashlib.sha256(content).hexdigest()[:12]


def stated_text(path: str, max_bytes: int, digest: str = "") -> str:
    """What `simulate.text.read_text` reads, if it has the hash.

    Args:
        path: a file or folder; empty, the standard library.
        max_bytes: read, about.
        digest: from `digest_of`; empty, any.

    Raises:
        FileNotFoundError: if there is no such file or folder.
        ValueError: if there is no text in it, or another one.
    """
    text = read_text(path or None, max_bytes)
    _check(path, text, digest)
    return text


def stated_bytes(path: str, max_bytes: int, digest: str = "") -> bytes:
    """What `simulate.language.read_bytes` reads, if it has the hash.

    Args:
        path: a file or folder; empty, the standard library.
        max_bytes: read at most.
        digest: from `digest_of`; empty, any.

    Raises:
        FileNotFoundError: if there is no such file or folder.
        ValueError: if there is no text in it, or another one.
    """
    text = read_bytes(path or None, max_bytes)
    _check(path, text, digest)
    return text


def _check(path: str, text: bytes | str, digest: str) -> None:
    found = digest_of(text)
    if digest not in ("", found):
        where = path or "the standard library of this Python"
        raise ValueError(
            f"`text_digest` must be {found}, that of the text now in {where}, or left out, got "
            f"{digest!r}; a study that was planned with another text needs that text."
        )
