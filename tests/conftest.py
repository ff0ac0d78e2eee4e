"""How the tests are shared out between the workers of pytest-xdist (`make test` starts one a core)."""

import pytest

CHECKOUT = {"docs", "test_demo_command.py"}  # these run `make` in the checkout, on the ports it uses by default


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file's tests stay together, because they share what they started; so do those that need the checkout alone."""
    for item in items:
        alone = CHECKOUT & set(item.path.parts)
        item.add_marker(pytest.mark.xdist_group("checkout" if alone else str(item.path)))
