"""Ending a command by a signal: in order, within seconds, with an exit code that says which.

SIGINT (Ctrl-C) and SIGTERM become :class:`Interrupted` in the main thread, so that what was begun is cleaned
up, Ray processes that this one started included. Libraries set handlers of their own (Ray, its Train, its
Tune); so a signal is also noted as it arrives, on a file descriptor, by a thread that sees to it that the
process ends in time whatever the main thread does.
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
"""Written by this process itself, to learn that all before it was read."""
PATIENCE = 8.0
"""Seconds to clean up before the process ends all the same."""


class Interrupted(KeyboardInterrupt):
    """A signal asked this process to end."""


_all: list[Noted] = []
"""Where signals are noted at the moment."""


class Noted:
    """The signal that asked this process to end, if one did."""

    def __init__(self) -> None:
        self.number: int | None = None
        """Which."""
        self.serves = False
        """Whether this process serves until a signal, so that one ends it as it should."""
        self.repeated = 0
        """Signals of our own making that are still to come."""
        self._sender: int | None = None
        self._read = threading.Event()

    def settle(self) -> None:
        """Wait until what came before is noted, which happens in another thread."""
        if self._sender is not None:
            self._read.clear()
            os.write(self._sender, bytes([READ]))
            self._read.wait(1.0)

    def all_read(self) -> None:
        """Called by that thread."""
        self._read.set()

    def listen(self, sender: int | None) -> None:
        """Where signals are written as they arrive."""
        self._sender = sender

    @property
    def told(self) -> str:
        """What the user should know."""
        return "interrupted; the same command goes on from what is complete"

    def leave(self) -> NoReturn:
        """Say so, and end this process as a shell expects of one that a signal ended, and at once.

        Nothing is left to do: an interpreter that is taken down while threads of Ray's are at work may abort.
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
    """Within this, signals raise :class:`Interrupted` and are noted; only for the main thread."""
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
        os.close(sender)  # which ends the thread


def serves() -> None:
    """This process serves from now on until a signal: that is its end, with exit code 0."""
    for found in _all:
        found.serves = True


def install() -> None:
    """Handle signals here again, after a library took them; nothing outside :func:`noted`."""
    if _all and threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, _interrupt)


def _interrupt(number: int, _: FrameType | None) -> None:
    for other in SIGNALS:  # the clean-up shall not be interrupted; the thread bounds it
        signal.signal(other, _ignore)
    for found in _all:
        found.number = found.number or number
    raise Interrupted(signal.Signals(number).name)


def _unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    """Where the interpreter drops :class:`Interrupted`, as in a destructor: raise it again a moment later."""
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
    """Unlike SIG_IGN this leaves a note, and processes that are started meanwhile do not inherit it."""


def _watch(receiver: int, found: Noted) -> None:
    """Note signals; at the second end the process, or some seconds after the first."""
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
