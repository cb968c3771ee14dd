"""`/v1/usage`: what was made, and the GPU time that it took."""

import time

from flask import Blueprint, Response, jsonify, request

from lorajobs.errors import FieldError, ValidationFailed
from lorajobs.queries import UsageQuery
from lorajobs.usage import KEPT_DAYS, Period, day_of, first_day_kept
from web.caller import whose
from web.deps import deps

usage = Blueprint("usage", __name__, url_prefix="/v1/usage")


@usage.get("")
def index() -> Response:
    """Adds up the jobs that workers ended, those of the key that asks or for an admin all."""
    query = UsageQuery.parse(request.args.to_dict(flat=False))
    by, period = query.by, _period(query)
    used = deps().usage.usage(by, whose(query.owner), period)
    return jsonify(
        by=by,
        since=period.since.isoformat() if period else None,
        until=period.until.isoformat() if period else None,
        usage=[
            {by: one.name, "jobs": one.jobs, "pictures": one.pictures, "gpu_s": one.gpu_s}
            for one in used
        ],
    )


def _period(query: UsageQuery) -> Period | None:
    """The days that are asked for, to this one at most.

    Raises: ValidationFailed for days of which not all is known any more.
    """
    if query.since is None:
        return None
    today = day_of(int(time.time() * 1000))
    first = first_day_kept(today)
    if query.since < first:
        problem = f"use is known by the day for {KEPT_DAYS} days: give a day from {first} on"
        raise ValidationFailed("", FieldError("/since", problem))
    # A day that has begun only where the client is has no use yet.
    return Period(query.since, max(query.since, min(query.until or today, today)))
