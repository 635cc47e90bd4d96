"""A real PostgreSQL server in a folder of its own, for tests."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import psutil
import psycopg

USER, PASSWORD = "gpo-test", "s3cret-word"


def find_binaries():
    """Folder of ``initdb`` and ``postgres``, None if there is none."""
    found = shutil.which("postgres")
    if found is not None:
        return Path(found).resolve().parent
    return max(
        (p.parent for p in Path("/usr/lib/postgresql").glob("*/bin/postgres")),
        key=lambda p: int(p.parent.name),
        default=None,
    )


def why_not():
    """Why no server can be started here, None if one can."""
    if find_binaries() is None:
        return "no PostgreSQL server is installed"
    if os.geteuid() == 0 and "postgres" not in {u.pw_name for u in pwd.getpwall()}:
        return "PostgreSQL does not run as root, and there is no user postgres"
    return None


class PostgresServer:
    """One server on a free port; it listens on this machine only and asks for a password."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="gpo-postgres-"))
        self._as_user = {}
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self._as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._databases = 0
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        options = ["-U", USER, "-A", "scram-sha-256", f"--pwfile={secret}", "-E", "UTF8", "--locale=C"]
        options.append("--no-sync")
        self._run("initdb", "-D", self.folder / "data", *options).wait(timeout=120)
        self.start()

    def _run(self, program, *arguments):
        with (self.folder / f"{program}.log").open("a") as log:
            return subprocess.Popen(
                [find_binaries() / program, *map(str, arguments)],
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                **self._as_user,
            )

    def start(self):
        """Start, and wait until it answers."""
        # what is committed is in the kernel's hands and survives SIGKILL; only a loss of power needs fsync
        options = ("listen_addresses=127.0.0.1", "unix_socket_directories=", f"port={self.port}", "fsync=off")
        self._process = self._run("postgres", "-D", self.folder / "data", *(f"--{o}" for o in options))
        deadline = time.monotonic() + 60
        while True:
            try:
                self._connect().close()
            except psycopg.OperationalError:
                log = (self.folder / "postgres.log").read_text()[-2000:]
                assert self._process.poll() is None, log
                assert time.monotonic() < deadline, log
                time.sleep(0.1)
            else:
                return

    def kill(self):
        """SIGKILL all of it, as a lost machine would."""
        family = [psutil.Process(self._process.pid)]
        family += family[0].children(recursive=True)
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait(timeout=60)
        psutil.wait_procs(family[1:], timeout=60)

    def remove(self):
        """Leave nothing behind."""
        if self._process.poll() is None:
            self.kill()
        shutil.rmtree(self.folder)

    def _connect(self):
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user=USER, password=PASSWORD, dbname="postgres", autocommit=True
        )

    def url(self, database, password=PASSWORD):
        return f"postgresql://{USER}:{password}@127.0.0.1:{self.port}/{database}"

    def new_database(self, encoding="UTF8"):
        """URL of an empty database; where it can be, one that sorts as English readers do."""
        self._databases += 1
        name = f"test_{self._databases}"
        with self._connect() as connection:
            english = encoding == "UTF8" and connection.info.server_version >= 150_000
            locale = "LOCALE_PROVIDER icu ICU_LOCALE 'en-US'" if english else ""
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' {locale}")
        return self.url(name)
