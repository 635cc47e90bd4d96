"""Run examples/quickstart.ipynb and store its outputs, without anything of this machine.

Run::

    .venv/bin/python scripts/notebook.py [FILE]

FILE is where to store it, by default the notebook itself. The environment variable ``GPO_QUICKSTART`` may
name the folder that ``gpo quickstart`` made, which the notebook reads.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import nbformat
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode

NOTEBOOK = Path(__file__).resolve().parents[1] / "examples" / "quickstart.ipynb"


def stored(path: Path = NOTEBOOK) -> NotebookNode:
    """Read a notebook with its stored outputs."""
    return nbformat.read(path, as_version=4)


def executed(seconds: int = 600) -> NotebookNode:
    """Run the notebook in its own folder, and return it with the outputs that its cells give now.

    Args:
        seconds: most seconds that a cell may take.

    Raises:
        CellExecutionError: if a cell fails.
    """
    with tempfile.TemporaryDirectory() as mine:
        # sockets in a folder of one's own, not ports that everybody on the machine may try
        kernel = KernelManager(kernel_name="python3", transport="ipc", ip=f"{mine}/kernel")
        try:
            client = NotebookClient(stored(), km=kernel, timeout=seconds)
            return cleaned(client.execute(cwd=str(NOTEBOOK.parent)))
        finally:
            kernel.shutdown_kernel(now=True)


def cleaned(notebook: NotebookNode) -> NotebookNode:
    """Return a notebook with no more metadata than its readers need, without what went to standard error."""
    notebook.metadata = NotebookNode(
        kernelspec={"display_name": "Python 3", "language": "python", "name": "python3"},
        language_info={"name": "python"},
    )
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        cell.metadata = NotebookNode()
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
            for output in cell.outputs:
                if "metadata" in output:
                    output.metadata = NotebookNode()
    return notebook


if __name__ == "__main__":
    nbformat.write(executed(), sys.argv[1] if len(sys.argv) > 1 else NOTEBOOK)
