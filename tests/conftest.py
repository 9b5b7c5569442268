"""What holds for every test: no network, no settings of the developer, no skip in CI that hides a missing tool."""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from collections.abc import Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.needs import HOST, required

# Tests do not depend on how fast the machine is.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.register_profile(
    "fuzz", settings.get_profile("house"), max_examples=int(os.environ.get("FUZZ_EXAMPLES", "5000"))
)
settings.load_profile("fuzz" if "FUZZ_EXAMPLES" in os.environ else "house")

for _name in [name for name in os.environ if name.startswith("FASTNESS_")]:
    del os.environ[_name]


class NetworkIsCut(RuntimeError):
    """A test tried to leave the machine."""


def _is_local(host: object) -> bool:
    if host is None or host in ("", b"", "localhost", b"localhost"):
        return True
    text = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host)
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _asks_a_server(host: object) -> bool:
    """A numeric address is looked up by nobody; connecting to it is judged by itself."""
    try:
        ipaddress.ip_address(str(host).partition("%")[0])
    except ValueError:
        return not _is_local(host)
    return False


def _cut(event: str, arguments: tuple[object, ...]) -> None:
    """Refuse to leave the machine. An audit hook sees every socket of the process, and no test can take it away."""
    if event in {"socket.connect", "socket.sendto", "socket.sendmsg"}:
        sock, address = arguments[0], arguments[1]
        inet = isinstance(sock, socket.SocketType) and sock.family in {socket.AF_INET, socket.AF_INET6}
        if inet and isinstance(address, tuple) and not _is_local(address[0]):
            raise NetworkIsCut(f"{event} to {address}: tests use no network but the loopback")
    elif event in {"socket.getaddrinfo", "socket.gethostbyname"} and _asks_a_server(arguments[0]):
        raise NetworkIsCut(f"{event} of {arguments[0]!r}: tests ask no name server")


sys.addaudithook(_cut)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if not hasattr(report, "wasxfail"):
        _fail_hidden(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _fail_hidden(report)
    return report


def _fail_hidden(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure where everything must be there."""
    if not report.skipped or not required() or not isinstance(report.longrepr, tuple):
        return
    reason = str(report.longrepr[2]).removeprefix("Skipped: ")
    if not reason.startswith(HOST):
        report.outcome = "failed"
        report.longrepr = f"skipped where REQUIRE_ALL=1: {reason}"


@pytest.fixture(autouse=True, scope="session")
def _home_of_the_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A home folder for the run: no test reads or writes the developer's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield
