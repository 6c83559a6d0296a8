"""Helpers that open pages of our own servers in Chromium and record errors on them.

Chromium must be installed on the system, for example with Debian's package. Nothing is downloaded, and requests to
other machines are blocked.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from dagster_project.defs.instance import open_instance
from dagster_project.home.settings import PROJECT_ROOT
from dagster_project.night.pipeline import Pipeline
from dagster_project.operations.servers import (
    dagster_command,
    end,
    free_port,
    mlflow_command,
    upgrade_mlflow,
    wait_until_up,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext

SIZE = {"width": 1400, "height": 900}
ABSENT = "chromium is not installed; the browser tests are skipped (apt-get install chromium)"

# What the servers' own pages (MLflow 3.17) complain of, each with its reason. Anything else is our fault.
HARMLESS = {
    "/ajax-api/2.0/mlflow/users/current: ": "MLflow asks who is signed in; without its login there is no such page",
    "ResizeObserver loop completed with undelivered notifications": "its tables are drawn one frame late",
}

# MLflow's state in a browser that was here before: models instead of chats, and no assistant over a third of the page.
_SEEN_BEFORE = """
if (location.protocol === 'http:') {
  localStorage.setItem('mlflow.workflowType_v1', '"machine_learning"');
  localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true');
}
"""


def chromium() -> str | None:
    """Return the path of the system's Chromium, or None if it is not installed."""
    return shutil.which("chromium")


@dataclass
class Troubles:
    """Errors on the pages of a browser context.

    They include console messages of level error, uncaught script errors, and failed requests to our own servers.
    Messages that match `HARMLESS` are ignored.
    """

    found: list[str] = field(default_factory=list)

    def watch(self, context: "BrowserContext") -> None:
        """Record all errors on the pages of a browser context, and block its requests to other machines."""
        context.route(lambda url: not _ours(url), lambda route: route.abort())
        context.on("console", lambda m: m.type == "error" and self._note(m.location.get("url", ""), m.text))
        context.on("weberror", lambda e: self.found.append(f"script: {e.error}"))
        context.on("response", lambda r: r.status >= 400 and self._note(r.url, f"status {r.status}"))
        context.on("requestfailed", lambda r: self._failed(r.url, r.failure))

    def _failed(self, url: str, why: str | None) -> None:
        if why != "net::ERR_ABORTED":  # the page was left before the answer came
            self._note(url, why or "failed")

    def _note(self, url: str, what: str) -> None:
        said = f"{url}: {what}"
        if _ours(url) and not any(harmless in said for harmless in HARMLESS):
            self.found.append(said)


def _ours(url: str) -> bool:
    """Return whether a URL belongs to this machine.

    A URL without a host name also counts, for example that of an inline picture.
    """
    return urlsplit(url).hostname in {"127.0.0.1", None}


@contextmanager
def started_browser() -> "Iterator[Browser]":
    """Start a headless Chromium, and close it when the context ends."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Without a sandbox, because tests may run as root; it sees nothing but our own pages.
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=chromium(), args=arguments)
        yield browser
        browser.close()


def new_context(browser: "Browser") -> "BrowserContext":
    """Return a browser context with the screenshots' window size, in the state that a returning visitor would have.

    In this state MLflow shows models instead of chats, and does not open its assistant.
    """
    context = browser.new_context(viewport=SIZE, locale="en-GB", timezone_id="UTC")
    context.add_init_script(_SEEN_BEFORE)
    context.set_default_timeout(45_000)  # two shared cores
    return context


@contextmanager
def mlflow_server(pipeline: Pipeline, logs: Path) -> Iterator[str]:
    """Start a real MLflow server for a home, yield its address, and stop the server when the context ends."""
    upgrade_mlflow(pipeline.settings)
    port = free_port(26000)
    with _served("MLflow", mlflow_command(pipeline.settings, port), port, pipeline, logs) as address:
        yield address


@contextmanager
def dagster_server(pipeline: Pipeline, logs: Path) -> Iterator[str]:
    """Start a real Dagster web server for a home, yield its address, and stop the server when the context ends.

    Dagster's daemon is not started.
    """
    open_instance(pipeline.settings).dispose()
    port = free_port(24000)
    with _served("Dagster", dagster_command(port), port, pipeline, logs) as address:
        yield address


@contextmanager
def _served(name: str, command: list[str], port: int, pipeline: Pipeline, logs: Path) -> Iterator[str]:
    settings = pipeline.settings
    environment = os.environ | settings.tool_environment | {"CREDITLOOM_POLICY": str(settings.policy)}
    with (logs / f"{name.lower()}.log").open("ab") as log:
        server = subprocess.Popen(
            command, env=environment, cwd=PROJECT_ROOT, stdout=log, stderr=log, start_new_session=True
        )
    try:
        address = f"http://127.0.0.1:{port}"
        wait_until_up(name, address, server)
        yield address
    finally:
        end({name: server})
