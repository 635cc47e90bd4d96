"""The stored notebook: its outputs are there, small, and say nothing of the machine that made them."""

import json
import re

import notebook

STORED = notebook.stored()


def test_it_is_small():
    assert notebook.NOTEBOOK.stat().st_size < 300_000


def test_it_holds_nothing_of_a_machine():
    text = re.sub(r'"image/png": "[^"]*"', "", json.dumps(STORED))
    assert "image/png" not in text
    assert not re.search(r"[\s'\"](/|~|[A-Z]:\\)\w", text)  # no absolute path
    assert "site-packages" not in text


def test_its_metadata_are_clean():
    assert notebook.cleaned(notebook.stored()) == STORED


def test_every_cell_was_run_in_order_and_none_failed():
    code = [cell for cell in STORED.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    kinds = [output.output_type for cell in code for output in cell.outputs]
    assert "error" not in kinds
    assert kinds.count("display_data") == 2  # its figures
