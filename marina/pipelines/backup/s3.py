"""A store in an S3-compatible service: five calls of its REST API, signed by AWS Signature Version 4.

Source of the signature: docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

import httpx

from marina.pipelines.backup.stores import StoreError
from marina.settings import Settings

TIMEOUT_S = 60.0
_SAFE = "-_.~"


class S3:
    """Objects of a bucket, under a prefix; addressed by path, which every such service understands."""

    def __init__(self, destination: str, settings: Settings) -> None:
        parts = urlsplit(destination)
        self._bucket, self._prefix = parts.netloc, parts.path.strip("/")
        self._region = settings.backup_region
        self._access = settings.backup_access_key.get_secret_value()
        self._secret = settings.backup_secret_key.get_secret_value()
        self._endpoint = (settings.backup_endpoint or f"https://s3.{self._region}.amazonaws.com").rstrip("/")
        self.place = destination
        if not self._bucket:
            raise StoreError(f"{destination!r}: expected s3://BUCKET/PREFIX")
        if not (self._access and self._secret):
            raise StoreError(f"{destination}: set MARINA_BACKUP_ACCESS_KEY and MARINA_BACKUP_SECRET_KEY")
        self._client = httpx.Client(timeout=TIMEOUT_S, transport=httpx.HTTPTransport(retries=2))

    def put(self, name: str, content: bytes) -> None:
        """Keep bytes under a name; the service compares their MD5 and SHA-256 with what it received."""
        self._ask("PUT", self._key(name), content=content)

    def get(self, name: str) -> bytes:
        """Return what is kept under a name."""
        return self._ask("GET", self._key(name)).content

    def holds(self, name: str, content: bytes) -> bool:
        """Say whether as many bytes are kept, with the ETag of these where the service has an MD5 there."""
        answer = self._ask("HEAD", self._key(name), missing_ok=True)
        if answer.status_code == 404 or int(answer.headers.get("content-length", -1)) != len(content):
            return False
        tag = answer.headers.get("etag", "").strip('"')
        return len(tag) != 32 or tag == hashlib.md5(content, usedforsecurity=False).hexdigest()

    def names(self, prefix: str) -> dict[str, float]:
        """Return the names that begin so, with when each was written, by the service's clock."""
        found: dict[str, float] = {}
        query = {"list-type": "2", "prefix": self._key(prefix)}
        while True:
            try:
                page = ET.fromstring(self._ask("GET", "", query).content)
                space = page.tag.partition("}")[0] + "}" if page.tag.startswith("{") else ""
                for one in page.iter(f"{space}Contents"):
                    key = one.findtext(f"{space}Key", "").removeprefix(f"{self._prefix}/" if self._prefix else "")
                    written = datetime.datetime.fromisoformat(one.findtext(f"{space}LastModified", ""))
                    found[key] = written.timestamp()
            except (ET.ParseError, ValueError) as error:
                raise StoreError(f"{self.place}: the list of objects cannot be read: {error}") from error
            more = page.findtext(f"{space}NextContinuationToken")
            if not more:
                return found
            query["continuation-token"] = more

    def delete(self, name: str) -> None:
        """Delete what is kept under a name."""
        self._ask("DELETE", self._key(name), missing_ok=True)

    def tidy(self) -> None:
        """Do nothing: the service has objects as a whole, or not at all."""

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name

    def _ask(
        self,
        method: str,
        key: str,
        query: Mapping[str, str] | None = None,
        content: bytes = b"",
        missing_ok: bool = False,
    ) -> httpx.Response:
        path = quote(f"/{self._bucket}/{key}" if key else f"/{self._bucket}", safe=f"/{_SAFE}")
        asked = "&".join(f"{quote(k, safe=_SAFE)}={quote(v, safe=_SAFE)}" for k, v in sorted((query or {}).items()))
        url = f"{self._endpoint}{path}" + (f"?{asked}" if asked else "")
        headers = self._signed(method, path, asked, content)
        try:
            answer = self._client.request(method, url, headers=headers, content=content)
        except httpx.HTTPError as error:
            raise StoreError(
                f"{self.place}: {self._endpoint} cannot be reached: {error}. See MARINA_BACKUP_ENDPOINT"
            ) from error
        if not answer.is_success and not (missing_ok and answer.status_code == 404):
            said = " ".join(answer.text.split())[:300]
            raise StoreError(
                f"{self.place}: {method} of {key or 'the bucket'} was answered {answer.status_code}: {said}. See the "
                "bucket, and MARINA_BACKUP_REGION, _ACCESS_KEY and _SECRET_KEY"
            )
        return answer

    def _signed(self, method: str, path: str, asked: str, content: bytes) -> dict[str, str]:
        moment = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
        digest = hashlib.sha256(content).hexdigest()
        headers = {
            "host": urlsplit(self._endpoint).netloc,
            "x-amz-content-sha256": digest,
            "x-amz-date": moment,
        }
        return headers | {
            "authorization": sign(
                method, path, asked, headers, digest, moment, self._region, self._access, self._secret
            )
        }


def sign(
    method: str, path: str, query: str, headers: Mapping[str, str], digest: str, moment: str,
    region: str, access: str, secret: str,
) -> str:  # fmt: skip
    """Return the header ``Authorization`` of a request.

    Parameters
    ----------
    path, query
        As they are sent, escaped; the query sorted.
    headers
        All that are signed, by their names in lower case.
    digest
        SHA-256 of the body.
    moment
        ``YYYYMMDDTHHMMSSZ``, the header ``x-amz-date``.
    """
    names = ";".join(sorted(headers))
    written = "".join(f"{name}:{headers[name].strip()}\n" for name in sorted(headers))
    request = "\n".join((method, path, query, written, names, digest))
    scope = f"{moment[:8]}/{region}/s3/aws4_request"
    text = "\n".join(("AWS4-HMAC-SHA256", moment, scope, hashlib.sha256(request.encode()).hexdigest()))
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    return f"AWS4-HMAC-SHA256 Credential={access}/{scope}, SignedHeaders={names}, Signature={signature}"
