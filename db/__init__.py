"""SQLAlchemy models, the database store and its migrations."""

from evonas.db.connect import open_store
from evonas.db.store import DatabaseStore

__all__ = ["DatabaseStore", "open_store"]
