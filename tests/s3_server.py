"""A real S3 server (moto's) as a process of its own, for whatever processes a test starts."""

import itertools
import os
import socket
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import httpx

PYTHON = Path(sys.prefix, "s3-server", "bin", "python")
"""scripts/install makes it."""


def why_not():
    """Why the server cannot be started here; None if it can."""
    return None if PYTHON.exists() else "the tests' S3 server is not installed (scripts/install dev)"


class S3Server:
    """A server on a free port of this machine; ``stop`` it.

    Args:
        open_requests: how many requests may come before keys are checked; None: never.
    """

    def __init__(self, open_requests=None):
        with socket.create_server(("127.0.0.1", 0)) as held:
            self.port = held.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "AKIATEST",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        # moto reads no more than the service and region of a signature, until it checks keys
        signed = "AWS4-HMAC-SHA256 Credential=AKIATEST/20260101/us-east-1/s3/aws4_request"
        headers = {"authorization": signed}
        self._client = httpx.Client(base_url=self.url, headers=headers, timeout=60, trust_env=False)
        self._names = itertools.count()
        checks = {} if open_requests is None else {"INITIAL_NO_AUTH_ACTION_COUNT": str(open_requests)}
        self._process = subprocess.Popen(
            [str(PYTHON), "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | checks,
        )
        deadline = time.monotonic() + 60
        while not self._answers():
            assert self._process.poll() is None
            assert time.monotonic() < deadline, "the S3 server does not answer"
            time.sleep(0.1)

    def _answers(self):
        try:
            socket.create_connection(("127.0.0.1", self.port)).close()
        except OSError:
            return False
        return True

    def bucket(self):
        """The name of a new bucket."""
        name = f"bucket-{next(self._names)}"
        self._request("PUT", name).raise_for_status()
        return name

    def keys(self, bucket):
        """All objects of a bucket, markers of empty folders excluded."""
        found, after = [], ""
        while True:
            reply = self._request("GET", f"{bucket}?list-type=2&start-after={after}")
            page = [e.text for e in ET.fromstring(reply.content).iter() if e.tag.endswith("}Key")]
            if not page:
                return [k for k in found if not k.endswith("/")]
            found += page
            after = page[-1]

    def read(self, bucket, key):
        """The bytes of an object."""
        reply = self._request("GET", f"{bucket}/{key}")
        reply.raise_for_status()
        return reply.content

    def put(self, bucket, key, data):
        """Write an object."""
        self._request("PUT", f"{bucket}/{key}", data).raise_for_status()

    def uploads(self, bucket):
        """Keys of uploads that were begun and neither completed nor given up."""
        reply = self._request("GET", f"{bucket}?uploads")
        return [e.text for e in ET.fromstring(reply.content).iter() if e.tag.endswith("Key")]

    def _request(self, method, path, data=None):
        return self._client.request(method, f"/{path}", content=data)

    def stop(self):
        """End it."""
        self._client.close()
        self._process.terminate()
        self._process.wait()
