"""Files that are written whole or not at all."""

from __future__ import annotations

from pathlib import Path


class whole:  # noqa: N801  (reads as a word: `with whole(path) as temporary`)
    """Write a file whole or not at all: a temporary name inside the block, renamed at its end."""

    def __init__(self, path: Path) -> None:
        """`path` is the name at the end."""
        self.path, self.temporary = path, path.with_name(path.name + ".partial")

    def __enter__(self) -> Path:
        """Return the temporary path."""
        return self.temporary

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Rename, or remove after an error."""
        if kind is None:
            self.temporary.replace(self.path)
        else:
            self.temporary.unlink(missing_ok=True)
