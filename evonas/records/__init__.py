"""What is recorded of a run, the contract of a store, and how a record is read."""
