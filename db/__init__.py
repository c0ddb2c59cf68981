"""The store in a database, its tables as SQLAlchemy models, and their migrations."""

from evonas.db.connect import open_store
from evonas.db.store import DatabaseStore

__all__ = ["DatabaseStore", "open_store"]
