"""Processes in one supervised group: all of `lorajobs up`, or one worker for each GPU."""
