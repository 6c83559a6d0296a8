"""The channels through which messages are sent: a log file, and a webhook."""

import http.client
import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dagster_project.home.files import flush


class ChannelError(RuntimeError):
    """A channel did not accept a message.

    The text of the error does not contain the webhook's address, because the address may contain a secret.
    """


class Channel(Protocol):
    """A way to send messages to people. The classes in this module implement it."""

    @property
    def name(self) -> str:
        """Return the name that the policy uses for the channel."""

    def send(self, message_id: str, body: str) -> None:
        """Send one message, whose content is the JSON text `body`.

        Raises:
            ChannelError: the message was not accepted.
        """


@dataclass(frozen=True)
class LogChannel:
    """A channel that writes each message as one line of JSON to a file.

    After a crash, the same message may be sent twice. A message that is already in the file is not written again.
    """

    path: Path
    name: str = "log"

    def send(self, message_id: str, body: str) -> None:
        """Append the message to the file, unless the file already contains it.

        If a crash left an incomplete last line, that line is removed first.

        Raises:
            ChannelError: the file cannot be read or written.
        """
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
    """A channel that sends each message as JSON in a POST request.

    After a crash, the same message may be sent twice. The header `Idempotency-Key` contains the message's id, so that
    the receiver can ignore the second request.
    """

    address: str
    timeout_seconds: float
    name: str = "webhook"

    def send(self, message_id: str, body: str) -> None:
        """Send the message in a POST request. The message is accepted if the status of the response is 2xx.

        Raises:
            ChannelError: the webhook cannot be reached, does not answer in time, or answers with another status.
        """
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
    """Return a short description of a network error that does not reveal the webhook's address.

    The text of the error itself is not used, because it may contain the address.
    """
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    return getattr(reason, "strerror", None) or type(reason).__name__
