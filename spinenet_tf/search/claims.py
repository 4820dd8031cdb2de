"""Names that only one of many processes gets: of graphs, so that none is trained twice, and of workers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from spinenet_tf._files.writing import write_first

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

_LONGEST = 200  # characters of a name and of an owner


class Claims(Protocol):
    """Names with owners; the first to take a name owns it for good."""

    def take(self, name: str, owner: str) -> str:
        """Return the owner of a name, which is `owner` if nobody had it."""
        ...


class FolderClaims:
    """Claims as files in a folder, which may be on a network file system."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def take(self, name: str, owner: str) -> str:
        """Write the file of a name, or read the one that is there."""
        path = self.folder / name
        return owner if write_first(path, owner) else path.read_text()


class DatabaseClaims:
    """Claims as rows of a table in the study's database, whose primary key allows each name once."""

    def __init__(self, engine: Engine, study: str):
        from sqlalchemy import Column, MetaData, String, Table, inspect
        from sqlalchemy.exc import SQLAlchemyError

        text = String(_LONGEST)
        keys = (Column("study", text, primary_key=True), Column("name", text, primary_key=True))
        self._table = Table("spinenet_tf_claims", MetaData(), *keys, Column("owner", text, nullable=False))
        self._engine, self._study = engine, study
        try:
            self._table.metadata.create_all(engine)
        except SQLAlchemyError:  # another process has just created it
            if not inspect(engine).has_table(self._table.name):
                raise

    def take(self, name: str, owner: str) -> str:
        """Insert a row, or read the one that is there."""
        from sqlalchemy import insert, select
        from sqlalchemy.exc import IntegrityError

        table = self._table
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(table).values(study=self._study, name=name, owner=owner))
        except IntegrityError:
            found = select(table.c.owner).where(table.c.study == self._study, table.c.name == name)
            with self._engine.connect() as connection:
                return connection.execute(found).scalar_one()
        return owner
