"""Tests that need machine packages; `make test-system` installs those."""
