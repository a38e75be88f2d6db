"""Asks the model for signs, as any client does: through the gateway, so that canaries, limits and the log apply."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import httpx
import numpy as np
import numpy.typing as npt
import orjson

from archives.errors import MarinaError

TOP_K: Final = 3
KEPT: Final = ("version", "predictions", "unusual", "confident", "embedding")
"""What of an answer the page is told."""

REST: Final = 3
"""After a guess none is asked for, by any session, for so many times as long as it took: answers find the model free,
and however many sessions there are, guesses take a quarter of one request's time at most."""

LONGEST_REST_S: Final = 5.0
"""But for no longer than this: one that took unusually long says little of the next one."""


class AskError(MarinaError):
    """The model gave no answer; the message is for the person who signs.

    Attributes
    ----------
    code
        The gateway's or the handler's.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Recogniser:
    """One model behind the gateway.

    Parameters
    ----------
    client
        With the gateway's address; one pool for all sessions.
    model
        The model's name there.
    monotonic
        A clock that is never set, in seconds.
    """

    def __init__(self, client: httpx.AsyncClient, model: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._client, self._monotonic = client, monotonic
        self._url = client.base_url.join(f"/predictions/{model}")
        self._in_flight = 0
        self._calm_from = float("-inf")

    @property
    def calm(self) -> bool:
        """Whether a guess may be asked for: no answer is awaited, and the last guess was long enough ago."""
        return not self._in_flight and self._monotonic() >= self._calm_from

    async def guess(
        self, frames: npt.NDArray[np.float32], group: str, token: str = "", calibration: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Ask as `ask` does, and leave the model to the answers for a while; not where it did not answer at all."""
        begun = self._monotonic()
        try:
            found = await self.ask(frames, group, token, calibration)
        except AskError as error:
            if error.code != "unavailable":
                self._rest(begun)
            raise
        self._rest(begun)
        return found

    def _rest(self, begun: float) -> None:
        now = self._monotonic()
        self._calm_from = now + min(REST * (now - begun), LONGEST_REST_S)

    async def ask(
        self,
        frames: npt.NDArray[np.float32],
        group: str,
        token: str = "",
        calibration: Mapping[str, Any] | None = None,
        embeds: bool = False,
        top_k: int = TOP_K,
    ) -> dict[str, Any]:
        """Return the handler's answer to a sequence.

        Parameters
        ----------
        frames
            float32 [T, 225].
        group
            Whose it is: one version answers all of one group.
        token
            The person's inference token, where the server asks for one.
        calibration
            The person's own takes, as a request brings them.
        embeds
            Whether to have the embedding.
        top_k
            How many signs.

        Raises
        ------
        AskError
            If it is refused, or the model does not answer.
        """
        headers = {"X-Session-Id": group, "Content-Type": "application/x-npy", "X-Top-K": str(top_k)}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if embeds:
            headers["X-Embedding"] = "true"
        if calibration:
            headers["Content-Type"] = "application/json"
            body = orjson.dumps({"frames": frames, **calibration}, option=orjson.OPT_SERIALIZE_NUMPY)
        else:
            array = io.BytesIO()
            np.save(array, frames, allow_pickle=False)
            body = array.getvalue()
        self._in_flight += 1
        try:
            answer = await self._client.post(self._url, content=body, headers=headers)
        except httpx.HTTPError as error:
            raise AskError("unavailable", f"the model did not answer ({type(error).__name__}); sign again") from error
        finally:
            self._in_flight -= 1
        return _read(answer)


def _read(answer: httpx.Response) -> dict[str, Any]:
    try:
        read = answer.json()
        if answer.is_success:
            float(read["predictions"][0]["probability"]), str(read["predictions"][0]["label"])
            return {key: read[key] for key in KEPT if key in read}
        refusal = AskError(str(read["error"]["code"]), str(read["error"]["message"]))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise AskError("unreadable", f"the model's answer ({answer.status_code}) cannot be read; sign again") from error
    raise refusal
