"""`/v1/usage`: what was made, and the GPU time that it took."""

from flask import Blueprint, Response, jsonify, request

from lorajobs.queries import UsageQuery
from web.caller import caller
from web.deps import deps

usage = Blueprint("usage", __name__, url_prefix="/v1/usage")


@usage.get("")
def index() -> Response:
    """Adds up the jobs that workers ended, those of the key that asks or for an admin all."""
    by = UsageQuery.parse(request.args.to_dict(flat=False)).by
    who = caller()
    used = deps().usage.usage(by, None if who.sees_all else who.owner)
    return jsonify(
        by=by,
        usage=[
            {by: one.name, "jobs": one.jobs, "pictures": one.pictures, "gpu_s": one.gpu_s}
            for one in used
        ],
    )
