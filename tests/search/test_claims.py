"""Only one of many processes gets a name, in a folder and in a database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from spinenet_tf.search.claims import Claims, DatabaseClaims, FolderClaims
from spinenet_tf.search.stores import database_url
from spinenet_tf.search.worker import new_number


@pytest.fixture(params=["folder", "sqlite", "postgres"])
def claims(request, tmp_path) -> Claims:
    if request.param == "folder":
        return FolderClaims(tmp_path / "claims")
    if request.param == "sqlite":
        return DatabaseClaims(create_engine(f"sqlite:///{tmp_path}/claims.db", connect_args={"timeout": 60}), "a")
    return DatabaseClaims(
        create_engine(database_url(request.getfixturevalue("postgres")), poolclass=NullPool), str(tmp_path)
    )


def test_the_first_owner_keeps_a_name(claims):
    assert claims.take("graph-1", "7") == "7"
    assert claims.take("graph-1", "8") == "7"
    assert claims.take("graph-1", "7") == "7"
    assert claims.take("graph-2", "8") == "8"


def test_exactly_one_of_many_gets_a_name(claims):
    with ThreadPoolExecutor(8) as threads:
        owners = list(threads.map(lambda number: claims.take("graph", str(number)), range(24)))
    assert len(set(owners)) == 1


def test_studies_in_one_database_have_separate_claims(tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path}/claims.db")
    assert [DatabaseClaims(engine, study).take("graph", study) for study in "ab"] == ["a", "b"]


def test_no_two_workers_have_a_number(claims):
    assert [new_number(claims) for _ in range(3)] == [0, 1, 2]
