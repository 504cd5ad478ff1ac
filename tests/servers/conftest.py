"""Fixtures: one server of a kind for the package, started when the first test asks for it.

Not for the session: a Druid that waits takes a tenth of a core from the tests that come after.
"""

import os
import re
from collections.abc import Iterator
from itertools import count

import pytest

from servers.builds import missing_tools
from servers.faults import FaultProxy
from servers.servers import DruidServer, MongoServer, start_druid, start_mongo

NUMBERS = count(1)


@pytest.fixture(scope="session")
def java() -> None:
    """Skip where a user has no Java or Maven; in CI, that is a failure."""
    if missing := missing_tools():
        reason = f"{', '.join(missing)} not found: real servers need a JDK 17 and Maven"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(scope="package")
def druid(java: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DruidServer]:
    """Druid, for all tests of the package: a test uses a `datasource` of its own."""
    with start_druid(tmp_path_factory.mktemp("druid")) as server:
        yield server


@pytest.fixture(scope="package")
def druid_with_login(java: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DruidServer]:
    """Druid that asks for user and password, for all tests of the package."""
    with start_druid(tmp_path_factory.mktemp("druid_with_login"), auth=True) as server:
        yield server


@pytest.fixture
def druid_proxy(druid: DruidServer) -> Iterator[FaultProxy]:
    """A proxy in front of Druid that this test may arm."""
    with FaultProxy(druid.url) as proxy:
        yield proxy


@pytest.fixture(scope="package")
def mongo(java: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoServer]:
    """A standalone MongoDB server, for all tests of the package."""
    with start_mongo(tmp_path_factory.mktemp("mongo")) as server:
        yield server


@pytest.fixture(scope="package")
def mongo_replica_set(
    java: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MongoServer]:
    """The primary of a replica set of one, for all tests of the package."""
    with start_mongo(tmp_path_factory.mktemp("mongo"), replica_set="films") as server:
        yield server


@pytest.fixture
def datasource(request: pytest.FixtureRequest) -> str:
    """The name of a datasource that no other test uses."""
    return unique_name(request)


@pytest.fixture
def mongo_database(request: pytest.FixtureRequest) -> str:
    """The name of a database that no other test uses."""
    return unique_name(request)


def unique_name(request: pytest.FixtureRequest) -> str:
    """The name of the test with a number, short enough for MongoDB."""
    return f"{re.sub(r'[^a-z0-9]+', '_', request.node.name.lower())[:40]}_{next(NUMBERS)}"
