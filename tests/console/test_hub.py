"""The hub's messages."""

import httpx
import pytest

from embryofl.errors import UserError
from embryofl_console.hub import raise_for_error


def test_hubs_validation_error_becomes_one_readable_message():
    detail = [{"loc": ["body", "days"], "msg": "Input should be less than or equal to 366", "type": "x"}]
    with pytest.raises(UserError, match=r"^days: Input should be less than or equal to 366 \(H2: "):
        raise_for_error(httpx.Response(422, json={"detail": detail}))
    with pytest.raises(UserError, match=r"^There is no run \(H2: "):
        raise_for_error(httpx.Response(400, json={"error": "There is no run"}))
