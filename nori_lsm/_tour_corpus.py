"""What the tour stores: the text files of the running interpreter's standard library, and the words in them."""

from __future__ import annotations

import os
import re
import sysconfig
from collections import Counter
from collections.abc import Iterator

__all__ = ["find_files", "read_text", "words_of"]

# Not the standard library's own text: what is installed beside it, and bytecode.
_SKIPPED_FOLDERS = frozenset(["site-packages", "dist-packages", "__pycache__"])
_WORD = re.compile(rb"[a-z_][a-z0-9_]{1,39}")


def find_files() -> tuple[str, list[tuple[str, int]]]:
    """The library's folder, and path below it and size of every file in it, sorted."""
    root = sysconfig.get_paths()["stdlib"]
    return root, sorted(_walk(root))


def _walk(root: str) -> Iterator[tuple[str, int]]:
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in _SKIPPED_FOLDERS]
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path):
                yield os.path.relpath(path, root), os.path.getsize(path)


def read_text(root: str, path: str) -> bytes | None:
    """The file's bytes; None if it is no text or cannot be read."""
    try:
        with open(os.path.join(root, path), "rb") as file:
            content = file.read()
        content.decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    return None if b"\0" in content else content


def words_of(content: bytes) -> Counter[bytes]:
    """How often each word occurs, letters in lower case."""
    return Counter(_WORD.findall(content.lower()))
