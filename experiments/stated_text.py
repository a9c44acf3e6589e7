"""The text of a study, checked against its hash: another text is another record.

Chunks of one study may be computed on other days and other machines, where the same path, or the
running Python's standard library, can hold another text.
"""

import hashlib
from collections.abc import Callable
from typing import TypeVar

Text = TypeVar("Text", bytes, str)


def digest_of(text: bytes | str) -> str:
    """Hash of a text, 12 hexadecimal digits."""
    content = text.encode() if isinstance(text, str) else text
    return hashlib.sha256(content).hexdigest()[:12]


def stated(read: Callable[[str, int], Text], path: str, max_bytes: int, digest: str) -> Text:
    """What `simulate.text.read_text` or `simulate.language.read_bytes` reads, if it has the hash.

    Args:
        read: one of the two.
        path: a file or folder; empty, the standard library.
        max_bytes: as `read` takes it.
        digest: from `digest_of`; empty, any.

    Raises:
        FileNotFoundError: if there is no such file or folder.
        ValueError: if there is no text in it, or another one.
    """
    text = read(path, max_bytes)
    found = digest_of(text)
    if digest not in ("", found):
        where = path or "the standard library of this Python"
        raise ValueError(
            f"`text_digest` must be {found}, that of the text now in {where}, or left out, got "
            f"{digest!r}; a study that was planned with another text needs that text."
        )
    return text
