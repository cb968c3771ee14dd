"""Makes pictures: a warm base, adapters put on and taken off."""
