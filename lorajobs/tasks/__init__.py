"""The bodies of the Celery tasks; each calls one function."""
