"""SQLAlchemy models, the database store and its migrations."""
