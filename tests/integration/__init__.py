"""Tests with processes, sockets and HTTP servers of their own, but no other service."""
