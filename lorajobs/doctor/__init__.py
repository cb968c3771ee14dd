"""What `lorajobs doctor` looks at: each check by itself, none leaves anything behind."""
