"""What `lorajobs up` brings along: a Valkey of its own, on a free port."""
