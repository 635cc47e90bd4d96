"""The exceptions of this package, which form a tree.

GPOError
+-- ConfigError        a setting, option or configuration file is wrong
+-- DataError          survey data is missing, malformed or inconsistent
+-- EmbeddingError     an embedding store or a language model cannot be used
|   +-- QuestionTooLongError
+-- BundleError        a trained bundle is missing, damaged or does not fit
+-- UnknownGroupError  a group id is not known
+-- ResourceError      the cluster lacks what was asked for

Every message says what is wrong, where (file, row, key) and what to do. The command line prints it
on one line and exits with ``exit_code``.
"""

from __future__ import annotations

MAX_MESSAGE_CHARACTERS = 1_000
"""Most characters of an error's message."""


def shortened(text: str, most: int = MAX_MESSAGE_CHARACTERS) -> str:
    """Return a text that may repeat what others wrote, without its middle if it is longer than ``most``.

    Its beginning says what is wrong and where, its end what to do.
    """
    if len(text) <= most:
        return text
    gap = " [...] "
    end = most // 3
    return f"{text[: most - end - len(gap)]}{gap}{text[-end:]}"


class GPOError(Exception):
    """The base of all errors that a user can cause and repair."""

    exit_code = 2

    def __str__(self) -> str:
        """Return the message, of bounded length: it may repeat a label of a hundred thousand characters."""
        return shortened(super().__str__())


class ConfigError(GPOError):
    """A setting, an option or a configuration file is wrong."""


class DataError(GPOError):
    """Survey data is missing, malformed or inconsistent."""


class EmbeddingError(GPOError):
    """An embedding store or a language model cannot be used."""


class QuestionTooLongError(EmbeddingError):
    """A question is longer than the language model can read.

    Args:
        prompt: prompt of the question.
        reason: the length and its limit, without the question's text.
    """

    def __init__(self, prompt: str, reason: str) -> None:
        super().__init__(prompt, reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"question {shortened(self.args[0], 60)!r}: {self.reason}"


class BundleError(GPOError):
    """A trained bundle is missing, damaged or does not fit."""


class UnknownGroupError(GPOError):
    """A group id is not in the data set or registry."""


class ResourceError(GPOError):
    """The cluster does not have the resources that were asked for."""

    exit_code = 3


def reason_of(problem: BaseException, name: object = "") -> str:
    """Return what an exception says without the name of the file, with which the message begins already.

    Args:
        problem: the exception; those of the system end with the name.
        name: the name of the file as the message gives it.
    """
    said = problem.strerror if isinstance(problem, OSError) and problem.strerror else str(problem)
    return said.removeprefix(f"{name}: ")
