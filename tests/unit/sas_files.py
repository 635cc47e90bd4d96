"""Files of SAS (.sas7bdat), written by the library inside pyreadstat, which does not offer it in Python."""

from __future__ import annotations

import ctypes
import math
from pathlib import Path

import pytest

TEXT, NUMBER = 0, 5
"""Types of variables in ReadStat's ``readstat_type_t``."""
_Writer = ctypes.CFUNCTYPE(ctypes.c_ssize_t, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)


def write_sas(path: Path, data, labels=None):
    """Write a data frame of numbers and texts as .sas7bdat; NaN is a missing value.

    The test is skipped where the library cannot be called.
    """
    library = _library()
    parts = []

    @_Writer
    def keep(place, length, _):
        parts.append(ctypes.string_at(place, length))
        return length

    writer = ctypes.c_void_p(library.readstat_writer_init())
    library.readstat_set_data_writer(writer, keep)
    variables = []
    for name in data:
        text = data[name].dtype.kind not in "fiu"
        width = max(map(len, data[name])) if text else 8
        added = library.readstat_add_variable(
            writer, str(name).encode(), TEXT if text else NUMBER, ctypes.c_size_t(width)
        )
        variables.append(ctypes.c_void_p(added))
        library.readstat_variable_set_label(variables[-1], (labels or {}).get(name, "").encode())
    _done(library.readstat_begin_writing_sas7bdat(writer, None, ctypes.c_long(len(data))))
    for row in data.itertuples(index=False):
        _done(library.readstat_begin_row(writer))
        for variable, cell in zip(variables, row, strict=True):
            if isinstance(cell, str):
                _done(library.readstat_insert_string_value(writer, variable, cell.encode()))
            elif math.isnan(cell):
                _done(library.readstat_insert_missing_value(writer, variable))
            else:
                _done(library.readstat_insert_double_value(writer, variable, ctypes.c_double(cell)))
        _done(library.readstat_end_row(writer))
    _done(library.readstat_end_writing(writer))
    library.readstat_writer_free(writer)
    path.write_bytes(b"".join(parts))


def _library():
    pyreadstat = pytest.importorskip("pyreadstat", reason="the surveys extra is not installed")
    for file in sorted(Path(pyreadstat.__file__).parent.glob("_readstat_writer*.so")):
        library = ctypes.CDLL(str(file))
        if hasattr(library, "readstat_begin_writing_sas7bdat"):
            library.readstat_writer_init.restype = ctypes.c_void_p
            library.readstat_add_variable.restype = ctypes.c_void_p
            return library
    pytest.skip("pyreadstat's library is not one that can be called")


def _done(code):
    assert code == 0, f"ReadStat's error {code}"
