"""What reaches the terminal: our own lines, and with ``--verbose`` those of the libraries too."""

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
"""Set, to anything, where the libraries may speak; processes that are started here inherit it."""
QUIET = {
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # Ray's C++ parts write errors that are none straight to the terminal
    "TRANSFORMERS_VERBOSITY": "error",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "GLOG_minloglevel": "2",
}
"""Settings of libraries that have them in the environment, read when they are imported or started."""

TALKATIVE = ("DeepSpeed", "torch.distributed", "torch.utils", "transformers", "ray")
"""Loggers of libraries, of which only errors are shown."""
EVERY = 30.0
"""Seconds between lines where there is no terminal."""


def set_up(verbose: bool = False) -> None:
    """Settle, before any library looks, what is shown; for the command line, never for a library's user.

    Args:
        verbose: whether libraries may say what they like.
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
    for name in TALKATIVE:  # a filter, as some set their own level when they are imported
        logging.getLogger(name).addFilter(_is_error)
    if not sys.warnoptions:  # who asked for warnings, by -W or PYTHONWARNINGS, gets them
        warnings.simplefilter("ignore")


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


@contextlib.contextmanager
def without_lines(text: str) -> Iterator[None]:
    """Keep lines that hold ``text`` from standard error, where libraries that are not Python write them.

    For a short while: the others appear at its end, and none if the process is killed meanwhile.
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
    """Standard error as it is now, whatever becomes of it until the end."""
    try:
        number = os.dup(sys.stderr.fileno())
    except (OSError, ValueError):  # not a file: a test's, or a notebook's
        yield sys.stderr
        return
    with os.fdopen(number, "w", encoding=sys.stderr.encoding, errors="replace") as stream:
        yield stream


def _say(text: str, stream: TextIO) -> None:
    with contextlib.suppress(OSError, ValueError):  # whoever read it may be gone: the work goes on
        print(text, file=stream, flush=True)


def is_verbose() -> bool:
    """Whether what libraries say is shown."""
    return VERBOSE in os.environ


class Steps:
    """The steps of a command that take time: numbered, with what they did and how long it took.

    On a terminal each shows a bar with elapsed and remaining time; otherwise there is a line every half
    minute. Both end in one line. Everything goes to standard error.
    """

    def __init__(self, name: str, count: int, shown: bool = True) -> None:
        self._name, self._count, self._shown = name, count, shown
        self._number = 0

    @contextlib.contextmanager
    def step(self, text: str, total: float | None = None, unit: str = "", done: float = 0) -> Iterator[Step]:
        """Take the next step.

        Args:
            text: what it does.
            total: how much there is to do, if that is known.
            unit: of what, in the plural.
            done: how much of it was done before.
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
        """Say why the next step is not needed."""
        self._number += 1
        if self._shown:
            _say(f"{self._name} {self._number}/{self._count}: {text}", sys.stderr)


class Step:
    """What is being done, and how far it is."""

    def __init__(self, title: str, total: float | None, unit: str, done: float) -> None:
        self.title, self.total, self.unit, self.done = title, total, unit, done
        self.note = ""
        """Shown beside the bar."""
        self.outcome = ""
        """What is said at the end instead of the step's title."""
        self._started = self._since = time.monotonic()
        self._before = done

    @property
    def elapsed(self) -> float:
        """Seconds."""
        return time.monotonic() - self._started

    def advance(self, by: float = 1) -> None:
        """So much more is done."""
        self.reach(self.done + by)

    def reach(self, done: float) -> None:
        """So much is done in all."""
        first = self._since == self._started
        self.done = max(self.done, done)
        if first and self.done > self._before:  # what came first also waited for everything to start
            self._since, self._before = time.monotonic(), self.done

    @property
    def remaining(self) -> float | None:
        """Seconds, by what was done since the first of it; None where nobody knows."""
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
    """A time as one says it, such as ``3.2 s``, ``45 s``, ``4 min 12 s`` or ``1 h 03 min``."""
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
    """Show how far a step is, until it ends."""
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
    """Redrawn often enough that the time does not seem to stand still."""
    from tqdm import tqdm

    # the numbers say what is done; what the step is called stands in the line at its end
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
