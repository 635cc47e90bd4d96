"""A small OpenAI-compatible server on loopback, which misbehaves as it is told."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GOOD = "A: 60%\nB: 40%"


def chat(content, finish="stop", top=None, tokens=50, **message):
    """The body of a chat completion."""
    logprobs = None
    if top is not None:
        listed = [{"token": t, "logprob": p} for t, p in top.items()]
        logprobs = {"content": [{"token": "A", "logprob": -1.0, "top_logprobs": listed}]}
    choice = {"message": {"content": content} | message, "finish_reason": finish, "logprobs": logprobs}
    return {"choices": [choice], "usage": {"total_tokens": tokens}}


class ChatServer:
    """Answers with ``reply(body, request's number)``: a dictionary, (status, headers, text), "cut", or a
    function of the handler that writes an answer."""

    def __init__(self, reply):
        self.seen, self.headers = [], []
        lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    outer.seen.append(body)
                    outer.headers.append(dict(self.headers))
                    number = len(outer.seen)
                found = reply(body, number)
                if callable(found):
                    found(self)
                    self.close_connection = True
                    return
                if found == "cut":
                    self.send_response(200)
                    self.send_header("Content-Length", "1000")
                    self.end_headers()
                    self.wfile.write(b'{"choices": [')
                    self.close_connection = True
                    return
                status, headers, text = (200, {}, json.dumps(found)) if isinstance(found, dict) else found
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                data = text.encode()
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
