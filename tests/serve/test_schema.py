"""What /openapi.json promises, against the running server: requests that fit the schema and not."""

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("schemathesis")

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from recalign.serve.application import Limits, make_app
from tests.serve.running import StandIn, running

load_all_checks()
# An ID, or the name of a subset, is any text to the schema: the run alone knows whether it has one.
_OF_THE_RUN = [CHECKS.get_one("positive_data_acceptance")]
PATHS = {"/recommend": "POST", "/subsets": "POST", "/health": "GET", "/ready": "GET"}
PATHS["/metrics"] = "GET"


@pytest.fixture(scope="module")
def api():
    app = make_app(StandIn(), subsets={"in_stock": ["3"]}, limits=Limits(posted_subsets=8))
    with running(app) as (port, _):
        yield schemathesis.openapi.from_url(f"http://127.0.0.1:{port}/openapi.json")


def test_every_path_is_asked(api):
    assert {operation.ok().path for operation in api.get_all_operations()} == set(PATHS)


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        *((path, GenerationMode.POSITIVE) for path in PATHS),
        *((path, GenerationMode.NEGATIVE) for path, method in PATHS.items() if method == "POST"),
    ],
    ids=lambda it: getattr(it, "value", it),
)
def test_the_server_keeps_to_its_schema(api, path, mode):
    """No 5xx; the statuses, types and bodies of the schema; what does not fit it is refused."""
    operation, asked = api[path][PATHS[path]], []

    @settings(max_examples=60, deadline=None, database=None, suppress_health_check=HealthCheck)
    @given(operation.as_strategy(generation_mode=mode))
    def ask(case):
        response = case.call_and_validate(excluded_checks=_OF_THE_RUN)
        asked.append(response.status_code)

    ask()
    if mode is GenerationMode.NEGATIVE:
        assert set(asked) == {400}
    elif PATHS[path] == "GET":
        assert set(asked) == {200}
    else:
        assert set(asked) <= {200, 400}
