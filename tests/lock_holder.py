"""Process that writes in a folder until it is killed: ``python lock_holder.py FOLDER``."""

import sys
from pathlib import Path

from gpo_ray.runtime.local_files import replacing
from gpo_ray.runtime.storage import Folder

folder = Folder(sys.argv[1])
with folder.writing(), replacing(Path(folder.absolute, "file")) as half:
    half.write_bytes(b"half")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.read()
