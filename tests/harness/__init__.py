"""What the tests stand on: private PostgreSQL clusters and real homeservers."""
