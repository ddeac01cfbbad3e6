"""Compiled programs between two runs, so that the same configuration is not compiled for every call."""

from __future__ import annotations

import threading
from typing import Any


class Spares:
    """Compiled programs that nobody uses at the moment, the newest few; safe to share between threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._guard = threading.Lock()
        self._held: list[tuple[str, Any]] = []

    def take(self, key: str) -> Any:
        """What was put last under a key, which is then the caller's alone; None where there is nothing."""
        with self._guard:
            found = next((entry for entry in reversed(self._held) if entry[0] == key), None)
            if found is not None:
                self._held.remove(found)
        return found[1] if found is not None else None

    def put(self, key: str, value: Any) -> None:
        """Keep something for whoever asks next."""
        with self._guard:
            self._held = [*self._held, (key, value)][-self._most :]

    def clear(self) -> None:
        """Forget all."""
        with self._guard:
            self._held = []
