"""What happens in a run as JSON, an object a line, for programs that follow it: `ibjax run --log-json [FILE]`."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

import ibjax
from ibjax.cli.options import UsageError
from ibjax.config import Config
from ibjax.progress import Progress

STDOUT = "-"
"""In place of the name of a file: standard output, where nothing else is printed then."""

_BEGIN = '{"event": "'
_PAUSE = 1.0  # seconds at least between two reports of progress


class Log:
    """The lines of one call of the program; without a stream, nothing.

    Attributes:
      file: that of the run in hand, which every event then names.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._began = self._told = -math.inf
        self.file: str | None = None

    def __bool__(self) -> bool:
        return self._stream is not None

    def write(self, event: str, **fields: Any) -> None:
        """A line. Where it cannot be written, that is said once: hours of training do not end for want of a reader."""
        if (stream := self._stream) is None:
            return
        facts = {"event": event, "time": datetime.now(UTC).isoformat(timespec="milliseconds")}
        facts |= {} if self.file is None else {"file": self.file}
        try:
            print(json.dumps(facts | _plain(fields), allow_nan=False), file=stream, flush=True)
        except OSError as error:
            self._stream = None
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # for what is still in the buffer
            _close(stream)
            print(f"ibjax run: --log-json: {error.strerror or error}; no more is logged", file=sys.stderr)

    def start(self, config: Config, needs: ibjax.Forecast | None) -> None:
        """A run begins; `progress` counts its seconds from here."""
        self._began, self._told = time.monotonic(), -math.inf
        forecast = needs and {"memory_bytes": needs.memory_bytes, "file_bytes": needs.file_bytes}
        self.write("start", networks=len(config.seed_list), forecast=forecast, config=dataclasses.asdict(config))

    def progress(self, state: Progress, networks: int) -> None:
        """How far the run is: at its beginning and its end, and about once a second between."""
        now = time.monotonic()
        if now - self._told < _PAUSE and state.done < state.total:
            return
        self._told = now
        self.write(
            "progress",
            epoch=state.epoch,
            epochs=state.last_epoch,
            share=state.done / state.total if state.total else 1.0,
            resumed=state.resumed / state.total if state.total else 0.0,
            seconds=round(now - self._began, 3),
            expected_seconds=round(state.seconds, 3),
            networks=networks,
            accuracy=state.accuracy,
            i_xt=state.i_xt,
        )

    def close(self) -> None:
        """Nothing more comes."""
        if self._stream is not None:
            _close(self._stream)
        self._stream = None


def open_log(target: str | None) -> Log:
    """The log of `--log-json`, appended to where there is one already.

    Raises:
      UsageError: the file cannot be written, or is something else than a log.
    """
    if target is None or target == STDOUT:
        return Log(None if target is None else sys.stdout)
    option = f"--log-json = {target!r}"
    try:
        if os.path.isfile(target):
            with open(target, "rb") as before:
                if before.read(len(_BEGIN)) not in (b"", _BEGIN.encode()):
                    raise UsageError(f"{option} is no log of ibjax; allowed: one, to go on with, or a new name")
        return Log(open(target, "a", encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{option} cannot be written: {error.strerror or error}") from error


def _close(stream: TextIO) -> None:
    if stream is not sys.stdout:
        stream.close()


def _plain(value: Any) -> Any:
    """As JSON has it, which knows no number that is not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
