"""What `lorajobs` can be told on the command line, a file for each kind of command."""
