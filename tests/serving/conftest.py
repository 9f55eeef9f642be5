"""A server and a client that the tests of this folder share."""

import httpx
import pytest

from tests.serving.exports import write_export
from tests.serving.server_process import serving


@pytest.fixture(scope="session")
def shop(tmp_path_factory):
    """A server for one export of `exports.py`, called "shop", with version 7."""
    base = tmp_path_factory.mktemp("exports") / "shop"
    base.mkdir()
    write_export(base, 7)
    with serving(base, "--max-body-bytes", 1_000_000) as server:
        yield server


@pytest.fixture(scope="session")
def client(shop):
    """A client of that server."""
    with httpx.Client(base_url=shop.url, timeout=30) as client:
        yield client
