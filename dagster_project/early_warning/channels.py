"""The channels that send messages: a line in a file, or a POST to an address. A failed channel gives the reason."""

import http.client
import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dagster_project.home.files import flush


class ChannelError(RuntimeError):
    """A message was not accepted. The error names no address, because that may hold a secret."""


class Channel(Protocol):
    """A way to send messages to people."""

    @property
    def name(self) -> str:
        """Its name in the policy."""

    def send(self, message_id: str, body: str) -> None:
        """Send one message.

        Raises:
            ChannelError: it was not accepted.
        """


@dataclass(frozen=True)
class LogChannel:
    """One JSON line per message. A message that is in the file already, after a crash, is not written again."""

    path: Path
    name: str = "log"

    def send(self, message_id: str, body: str) -> None:
        """Append the line, whole or not at all."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            text = self.path.read_text() if self.path.exists() else ""
            lines = text.splitlines()
            if text and not text.endswith("\n"):  # a crash in the middle of a line
                text = "".join(f"{line}\n" for line in lines[:-1])
                self.path.write_text(text)
            if any(json.loads(line)["message_id"] == message_id for line in text.splitlines()):
                return
            with self.path.open("a") as handle:
                handle.write(body + "\n")
            flush(self.path)
        except OSError as error:
            raise ChannelError(f"{self.path}: {error.strerror}") from None


@dataclass(frozen=True)
class WebhookChannel:
    """A POST of the message as JSON. `Idempotency-Key` is its id: after a crash it may be sent again."""

    address: str
    timeout_seconds: float
    name: str = "webhook"

    def send(self, message_id: str, body: str) -> None:
        """Post it; any status of 2xx means that it was accepted."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": message_id, "User-Agent": "creditloom"}
        request = urllib.request.Request(self.address, body.encode(), headers, method="POST")  # noqa: S310 - see Settings
        try:
            with urllib.request.urlopen(request, timeout=self.timeout_seconds) as answer:  # noqa: S310
                status = answer.status
        except urllib.error.HTTPError as error:
            raise ChannelError(f"it answered {error.code}") from None
        except urllib.error.URLError as error:
            raise ChannelError(f"it cannot be reached: {_why(error.reason)}") from None
        except (OSError, http.client.HTTPException) as error:
            raise ChannelError(f"it cannot be reached: {_why(error)}") from None
        if not 200 <= status < 300:
            raise ChannelError(f"it answered {status}")


def _why(reason: object) -> str:
    """The kind of failure; the error's own text may quote the address."""
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    return getattr(reason, "strerror", None) or type(reason).__name__
