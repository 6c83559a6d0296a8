"""The channels that send messages: as a line in a file, or by POST to an address."""

import http.client
import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dagster_project.home.files import flush


class ChannelError(RuntimeError):
    """A message was not accepted. The text does not contain the webhook's address, which may contain a secret."""


class Channel(Protocol):
    """A way to send messages to people."""

    @property
    def name(self) -> str:
        """The channel's name in the policy."""

    def send(self, message_id: str, body: str) -> None:
        """Send one message.

        Raises:
            ChannelError: the message was not accepted.
        """


@dataclass(frozen=True)
class LogChannel:
    """Write messages to a file, one JSON line per message.

    A message that is already in the file, as can happen after a crash, is not written again.
    """

    path: Path
    name: str = "log"

    def send(self, message_id: str, body: str) -> None:
        """Append the message, and first remove an unfinished last line that a crash left."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            text = self.path.read_text() if self.path.exists() else ""
            lines = text.splitlines()
            if text and not text.endswith("\n"):  # a crash left an unfinished line
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
    """Send messages as JSON by POST.

    After a crash a message may be sent again. The header `Idempotency-Key` has its id, so the receiver can notice.
    """

    address: str
    timeout_seconds: float
    name: str = "webhook"

    def send(self, message_id: str, body: str) -> None:
        """POST the message. Any 2xx status means that it was accepted."""
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
    """The kind of failure. The error's own text is not used, because it may contain the address."""
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    return getattr(reason, "strerror", None) or type(reason).__name__
