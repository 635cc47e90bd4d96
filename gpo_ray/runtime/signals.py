"""End a command after a signal: in order, within seconds, and with an exit code that names the signal.

SIGINT (Ctrl-C) and SIGTERM become :class:`Interrupted` in the main thread, so that unfinished work is
cleaned up, including Ray processes that this one started. Ray, Ray Train and Ray Tune set handlers of their
own. So each signal is also written to a file descriptor as it arrives, and a thread that reads it makes sure
that the process ends in time, whatever the main thread does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
READ = 0
"""A byte that this process itself writes, to learn that all bytes before it were read."""
PATIENCE = 8.0
"""Seconds for cleaning up after a signal, after which the process ends in any case."""


class Interrupted(KeyboardInterrupt):
    """A signal asked this process to end."""


_all: list[Noted] = []
"""The records that note signals at the moment."""


class Noted:
    """The signal that asked this process to end, if one did."""

    def __init__(self) -> None:
        self.number: int | None = None
        """Number of the signal; None if there was none."""
        self.serves = False
        """Whether this process is a service, which a signal is meant to end."""
        self.repeated = 0
        """Signals that this process has sent to itself and that are still to arrive."""
        self._sender: int | None = None
        self._read = threading.Event()

    def settle(self) -> None:
        """Wait until the watching thread has noted the signals that arrived before."""
        if self._sender is not None:
            self._read.clear()
            os.write(self._sender, bytes([READ]))
            self._read.wait(1.0)

    def all_read(self) -> None:
        """Report that all bytes up to :data:`READ` were read; the watching thread calls this."""
        self._read.set()

    def listen(self, sender: int | None) -> None:
        """Set the file descriptor to which signals are written as they arrive."""
        self._sender = sender

    @property
    def told(self) -> str:
        """Return the message for the user."""
        return "interrupted; the same command goes on from what is complete"

    def leave(self) -> NoReturn:
        """Print the message and end this process at once, with the exit code of one that a signal ended.

        The interpreter is not shut down in order, since it may abort while threads of Ray are at work.
        """
        with contextlib.suppress(OSError, ValueError):
            if not self.serves:
                sys.stderr.write(f"{self.told}\n")
            sys.stdout.flush()
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(0 if self.serves else 128 + (self.number or 0))


@contextlib.contextmanager
def noted() -> Iterator[Noted]:
    """Raise :class:`Interrupted` on signals during the block, and note them; only in the main thread."""
    found = Noted()
    if threading.current_thread() is not threading.main_thread():
        yield found
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    _all.append(found)
    receiver, sender = os.pipe()
    os.set_blocking(sender, False)
    previous = signal.set_wakeup_fd(sender, warn_on_full_buffer=False)
    found.listen(sender)
    hook, sys.unraisablehook = sys.unraisablehook, _unraisable
    threading.Thread(target=_watch, args=(receiver, found), name="gpo-signals", daemon=True).start()
    install()
    try:
        yield found
    finally:
        signal.set_wakeup_fd(previous)
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.unraisablehook = hook
        _all.remove(found)
        found.listen(None)
        os.close(sender)  # this ends the thread


def serves() -> None:
    """Mark this process as a service, which a signal ends with exit code 0."""
    for found in _all:
        found.serves = True


def install() -> None:
    """Set this module's handlers again, after a library replaced them; does nothing outside :func:`noted`."""
    if _all and threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, _interrupt)


def _interrupt(number: int, _: FrameType | None) -> None:
    for other in SIGNALS:  # the clean-up must not be interrupted; the watching thread limits its time
        signal.signal(other, _ignore)
    for found in _all:
        found.number = found.number or number
    raise Interrupted(signal.Signals(number).name)


def _unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    """Send a signal again if the interpreter dropped its :class:`Interrupted`, as it does in a destructor."""
    if not isinstance(unraisable.exc_value, Interrupted):
        sys.__unraisablehook__(unraisable)
        return
    install()
    for found in _all:
        if found.number is not None:
            threading.Timer(0.05, signal.pthread_kill, (threading.main_thread().ident, found.number)).start()
            found.repeated += 1
            return


def _ignore(*_: object) -> None:
    """Do nothing; unlike with SIG_IGN, the signal is still noted, and child processes do not inherit this."""


def _watch(receiver: int, found: Noted) -> None:
    """Note signals; end the process at the second one, or :data:`PATIENCE` seconds after the first."""
    came = 0
    while numbers := os.read(receiver, 64):
        for number in numbers:
            if number == READ:
                found.all_read()
            if number not in SIGNALS:
                continue
            if found.repeated:
                found.repeated -= 1
                continue
            came += 1
            found.number = found.number or number
            if came == 1:
                timer = threading.Timer(PATIENCE, _end, args=(found,))
                timer.daemon = True
                timer.start()
            else:
                _end(found)
    os.close(receiver)


def _end(found: Noted) -> None:
    if found in _all:
        found.leave()
