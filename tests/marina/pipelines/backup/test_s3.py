"""A store in a service like S3 does what a folder does."""

import contextlib
import hashlib
import http.server
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest

from marina.pipelines.backup import manifest
from marina.pipelines.backup.restore import restore
from marina.pipelines.backup.runs import prune, run, verify
from marina.pipelines.backup.s3 import S3, sign
from marina.pipelines.backup.stores import Store, StoreError, open_store
from tests.marina.pipelines.backup.installations import DAY_S, elsewhere, installation


class _Service(http.server.BaseHTTPRequestHandler):
    """As much of S3 as a store asks for, with signatures that are computed again and lists of two keys a page."""

    objects: dict[str, bytes] = {}  # noqa: RUF012 - one service at a time

    def _take(self) -> None:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        names = re.findall(r"SignedHeaders=([^,]+)", self.headers["authorization"])[0].split(";")
        digest = hashlib.sha256(body).hexdigest()
        expected = sign(
            self.command, parts.path, parts.query, {name: self.headers[name] for name in names}, digest,
            self.headers["x-amz-date"], "eu-west-3", "access", "secret",
        )  # fmt: skip
        key = unquote(parts.path).removeprefix("/bucket").removeprefix("/")
        if self.headers["authorization"] != expected or self.headers["x-amz-content-sha256"] != digest:
            return self._answer(403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>")
        if self.command == "PUT":
            self.objects[key] = body
            return self._answer(200, b"")
        if self.command == "DELETE":
            self.objects.pop(key, None)
            return self._answer(204, b"")
        if not key:
            return self._answer(200, self._page(parse_qs(parts.query)))
        if key not in self.objects:
            return self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        return self._answer(200, self.objects[key])

    def _page(self, asked: dict[str, list[str]]) -> bytes:
        after = asked.get("continuation-token", [""])[0]
        keys = [key for key in sorted(self.objects) if key.startswith(asked["prefix"][0]) and key > after]
        rows = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>2026-11-23T01:30:00.000Z</LastModified></Contents>"
            for key in keys[:2]
        )
        more = f"<NextContinuationToken>{keys[1]}</NextContinuationToken>" if len(keys) > 2 else ""
        space = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
        return f"<ListBucketResult {space}>{rows}{more}</ListBucketResult>".encode()

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.send_header("etag", f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_HEAD = do_DELETE = _take

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def service() -> Iterator[str]:
    _Service.objects = {}
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Service) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_a_store_in_an_s3_like_service_does_what_a_folder_does(tmp_path: Path) -> None:
    with service() as endpoint:
        settings = installation(
            tmp_path / "one", backup_endpoint=endpoint, backup_region="eu-west-3", backup_access_key="access",
            backup_secret_key="secret", backup_destination="s3://bucket/marina of ours",
        )  # fmt: skip
        store: Store = open_store(settings)
        assert isinstance(store, S3)
        first = run(settings, store)
        second = run(settings, store)
        assert manifest.ids(store) == [first.name, second.name] and second.new_bytes < first.new_bytes
        assert verify(store)[2] == []
        assert restore(elsewhere(settings, tmp_path / "two"), store).faults == []
        assert prune(store, 0.0, 1, time.time() + DAY_S) == [first.name]
        assert verify(store)[2] == []
        wrong = settings.model_copy(update={"backup_secret_key": type(settings.backup_secret_key)("other")})
        with pytest.raises(StoreError, match=r"403: .*SignatureDoesNotMatch"):
            manifest.ids(open_store(wrong))
    with pytest.raises(StoreError, match="cannot be reached"):
        manifest.ids(store)


def test_a_signature_is_the_one_of_amazons_example() -> None:
    """GET of an object, from docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html."""
    empty = hashlib.sha256(b"").hexdigest()
    headers = {
        "host": "examplebucket.s3.amazonaws.com", "range": "bytes=0-9", "x-amz-content-sha256": empty,
        "x-amz-date": "20130524T000000Z",
    }  # fmt: skip
    access, secret = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    found = sign("GET", "/test.txt", "", headers, empty, "20130524T000000Z", "us-east-1", access, secret)
    assert found.endswith("f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41")
