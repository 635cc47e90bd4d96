"""Decide what reaches the terminal: the package's own lines and, with ``--verbose``, those of libraries."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from typing import TextIO

from gpo_ray.runtime.terminal_text import ShownFormatter

VERBOSE = "GPO_VERBOSE"
"""Environment variable that is set, to anything, if libraries may write; child processes inherit it."""
QUIET = {
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # Ray's C++ code reports harmless events as errors
    "TRANSFORMERS_VERBOSITY": "error",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "GLOG_minloglevel": "2",
}
"""Environment variables that silence libraries, which read them when they are imported or started."""

TALKATIVE = ("DeepSpeed", "torch.distributed", "torch.utils", "transformers", "ray")
"""Loggers of libraries that show only errors."""
EVERY = 30.0
"""Seconds between progress lines if standard error is not a terminal."""


def set_up(verbose: bool = False) -> None:
    """Decide what is shown, before any library is imported; for the command line only.

    Args:
        verbose: whether all that libraries write is shown.
    """
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING, stream=sys.stderr)
    for handler in logging.root.handlers:
        handler.setFormatter(ShownFormatter("%(levelname)s: %(message)s"))
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no usage statistics leave this machine
    if verbose:
        os.environ[VERBOSE] = "1"
    if is_verbose():
        logging.getLogger().setLevel(logging.INFO)
        return
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    for name in TALKATIVE:  # a filter, since some libraries set their own level when they are imported
        logging.getLogger(name).addFilter(_is_error)
    if not sys.warnoptions:  # warnings that -W or PYTHONWARNINGS asks for are kept
        warnings.simplefilter("ignore")


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


@contextlib.contextmanager
def without_lines(text: str) -> Iterator[None]:
    """Drop lines that contain ``text`` from standard error, including lines of libraries in other languages.

    This is for short blocks: the other lines appear at the end, or not at all if the process is killed
    before.
    """
    if is_verbose():
        yield
        return
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(original, 2)
            os.close(original)
            kept.seek(0)
            for line in kept:
                if text.encode() not in line:
                    os.write(2, line)


@contextlib.contextmanager
def _stream() -> Iterator[TextIO]:
    """Yield a copy of standard error as it is now, which stays open whatever happens to the original."""
    try:
        number = os.dup(sys.stderr.fileno())
    except (OSError, ValueError):  # no file descriptor, as in tests and notebooks
        yield sys.stderr
        return
    with os.fdopen(number, "w", encoding=sys.stderr.encoding, errors="replace") as stream:
        yield stream


def _say(text: str, stream: TextIO) -> None:
    with contextlib.suppress(OSError, ValueError):  # the reader may be gone; the work goes on
        print(text, file=stream, flush=True)


def is_verbose() -> bool:
    """Return whether all that libraries write is shown."""
    return VERBOSE in os.environ


class Steps:
    """The time-consuming steps of a command: each is numbered, and reports its result and its duration.

    On a terminal each step shows a bar with elapsed and remaining time; otherwise it prints a line every half
    minute. At its end each step prints one line. Everything goes to standard error.
    """

    def __init__(self, name: str, count: int, shown: bool = True) -> None:
        self._name, self._count, self._shown = name, count, shown
        self._number = 0

    @contextlib.contextmanager
    def step(self, text: str, total: float | None = None, unit: str = "", done: float = 0) -> Iterator[Step]:
        """Start the next step, which ends with the block.

        Args:
            text: what the step does.
            total: the amount of work, if it is known.
            unit: unit of the amount, in the plural.
            done: the part of the amount that was done before.
        """
        self._number += 1
        title = f"{self._name} {self._number}/{self._count}"
        step = Step(f"{title}: {text}", total, unit, done)
        if not self._shown:
            yield step
            return
        with _stream() as stream:
            with _follower(step, stream):
                yield step
            _say(f"{title}: {step.outcome or text} ({duration(step.elapsed)})", stream)

    def skip(self, text: str) -> None:
        """Print why the next step is not needed."""
        self._number += 1
        if self._shown:
            _say(f"{self._name} {self._number}/{self._count}: {text}", sys.stderr)


class Step:
    """A running step, and how far it is."""

    def __init__(self, title: str, total: float | None, unit: str, done: float) -> None:
        self.title, self.total, self.unit, self.done = title, total, unit, done
        self.note = ""
        """A text that is shown beside the bar."""
        self.outcome = ""
        """A text that is printed at the end instead of what the step does."""
        self._started = self._since = time.monotonic()
        self._before = done

    @property
    def elapsed(self) -> float:
        """Return the seconds since the step began."""
        return time.monotonic() - self._started

    def advance(self, by: float = 1) -> None:
        """Add ``by`` to the amount of work that is done."""
        self.reach(self.done + by)

    def reach(self, done: float) -> None:
        """Set the amount of work that is done in all; it never decreases."""
        first = self._since == self._started
        self.done = max(self.done, done)
        if first and self.done > self._before:  # the first piece includes the start-up time
            self._since, self._before = time.monotonic(), self.done

    @property
    def remaining(self) -> float | None:
        """Return the estimated seconds left, from the rate since the first piece of work; None if unknown."""
        if self.total is None or self.done <= self._before:
            return None
        rate = (self.done - self._before) / max(time.monotonic() - self._since, 1e-3)
        return (self.total - self.done) / rate

    def __str__(self) -> str:
        parts = [duration(self.elapsed)]
        if self.total is not None:
            parts.insert(0, f"{self.done:.0f} of {self.total:.0f} {self.unit}".rstrip())
        if self.remaining is not None:
            parts.append(f"about {duration(self.remaining)} left")
        return ", ".join(parts + [self.note] * bool(self.note))


def duration(seconds: float) -> str:
    """Return a duration in words, such as ``3.2 s``, ``45 s``, ``4 min 12 s`` or ``1 h 03 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


@contextlib.contextmanager
def _follower(step: Step, stream: TextIO) -> Iterator[None]:
    """Show how far a step is, until the block ends."""
    ended = threading.Event()
    show = _bar if stream.isatty() else _lines
    thread = threading.Thread(target=show, args=(step, stream, ended), name="gpo-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _lines(step: Step, stream: TextIO, ended: threading.Event) -> None:
    while not ended.wait(EVERY):
        _say(f"{step.title}: {step}", stream)


def _width(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except OSError:
        return 80


def _bar(step: Step, stream: TextIO, ended: threading.Event) -> None:
    """Draw a bar, often enough that the time does not seem to stand still."""
    from tqdm import tqdm

    # the bar shows numbers; what the step does stands in the line at its end
    drawn = "{desc} {percentage:3.0f}%|{bar}|{postfix}" if step.total else "{desc}{postfix}"
    name = step.title.partition(":")[0] if step.total else step.title
    bar = tqdm(desc=name, total=step.total, file=stream, bar_format=drawn, leave=False, ncols=_width(stream))
    with bar:
        while True:
            bar.ncols = _width(stream)
            bar.n = min(step.done, step.total) if step.total else step.done
            bar.set_postfix_str(str(step))
            if ended.wait(0.5):
                return
