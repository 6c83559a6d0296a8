"""Tests of a webhook that fails: no error contains its address, and a silent receiver causes a timeout."""

import pytest
from pydantic import ValidationError

from dagster_project.early_warning.channels import ChannelError, WebhookChannel
from dagster_project.home.settings import Settings


def test_no_error_names_the_address(tmp_path, receiver):
    for address in (receiver.address, "http://127.0.0.1:9/x?token=secret"):
        receiver.answers = [403]
        with pytest.raises(ChannelError) as error:
            WebhookChannel(address, 1).send("1", "{}")
        assert "secret" not in str(error.value) and "127.0.0.1" not in str(error.value)
    assert "secret" not in repr(Settings(home=tmp_path, warnings_webhook=receiver.address))
    with pytest.raises(ValidationError) as wrong:
        Settings(home=tmp_path, warnings_webhook="ftp://x/secret")
    assert wrong.value.errors()[0]["msg"] == "Value error, this is not an address that begins with https:// or http://"


def test_a_receiver_that_says_nothing_is_given_up(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(ChannelError, match="no answer in time"):
        WebhookChannel(f"http://127.0.0.1:{silent.getsockname()[1]}/", 0.2).send("1", "{}")
