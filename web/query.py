"""The query of a request."""

from flask import request

from lorajobs.queries import Query


def no_query() -> None:
    """Refuses any parameter, for pages that read none.

    Raises: ValidationFailed.
    """
    Query.parse(request.args.to_dict(flat=False))
