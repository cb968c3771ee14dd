"""Where pictures and adapter snapshots are stored."""
