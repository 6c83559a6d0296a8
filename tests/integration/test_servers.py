"""The test that `creditloom up` starts three servers, prints the addresses of two, and stops all three when it ends."""

import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

from dagster_project.operations.servers import free_port


def children_of(pid: int) -> set[int]:
    """Return the IDs of the processes whose parent process is `pid`."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.add(int(stat.parent.name))
    return found


def test_up_starts_three_servers_and_ends_them(home_after_night):
    ports = free_port(23000), free_port(25000)
    line = [
        sys.executable,
        "-m",
        "dagster_project.cli",
        "up",
        "--dagster-port",
        str(ports[0]),
        "--mlflow-port",
        str(ports[1]),
    ]
    environment = os.environ | {"CREDITLOOM_HOME": str(home_after_night)}
    server = subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True)
    said = []
    try:
        for spoken in server.stdout:
            said.append(spoken)
            if "Ctrl-C" in spoken:
                break
        addresses = re.findall(r"http://127\.0\.0\.1:\d+", "".join(said))
        assert len(addresses) == 2, said
        for address, path in zip(addresses, ("/server_info", "/health"), strict=True):
            with urllib.request.urlopen(address + path, timeout=10) as answer:
                assert answer.status == 200
        children = children_of(server.pid)
        assert len(children) == 3
        os.kill(server.pid, signal.SIGINT)
        assert server.wait(30) == 0
        assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
