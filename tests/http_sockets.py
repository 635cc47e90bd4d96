"""HTTP over a bare socket, for callers that do not keep to its rules."""

import contextlib


def request(path="/", *headers):
    """A GET request with some lines of headers."""
    return b"\r\n".join([f"GET {path} HTTP/1.1".encode(), b"Host: here", *headers, b"", b""])


def is_closed(s, seconds=2.0):
    """Whether the other side closes a connection."""
    s.settimeout(seconds)
    try:
        return s.recv(1) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


def read_all(s):
    """What the other side sends until it closes a connection."""
    found = b""
    with contextlib.suppress(ConnectionError, TimeoutError):
        while piece := s.recv(65536):
            found += piece
    return found
