"""Tests on an existing server use a schema of their own, and leave nothing behind."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from evonas.db import open_store
from tests import postgres
from tests.fakes import config


def test_a_server_that_is_pointed_at_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    with postgres.started() as server:
        outside = sa.create_engine(sa.make_url(server.url).set(drivername="postgresql+psycopg"))

        def there() -> tuple[list[str], list[str]]:
            found = sa.inspect(outside)
            return sorted(found.get_schema_names()), sorted(found.get_table_names())

        with outside.begin() as connection:
            connection.execute(sa.text("CREATE TABLE runs (precious TEXT)"))  # by our own name
            connection.execute(sa.text("INSERT INTO runs VALUES ('kept')"))
        before = there()
        monkeypatch.setenv(postgres.VARIABLE, server.url)
        with postgres.database() as url:
            with open_store(url) as store:
                assert store.create_run(config(), {}).id == 1
            with open_store(postgres.emptied(url)) as store:
                assert store.run_ids() == []
                assert store.create_run(config(), {}).id == 1
            assert len(there()[0]) == len(before[0]) + 1
        assert there() == before
        with outside.begin() as connection:
            assert connection.execute(sa.text("SELECT * FROM runs")).scalars().all() == ["kept"]
        outside.dispose()
