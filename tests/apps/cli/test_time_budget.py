"""--time-budget: hours, minutes and seconds, or an error that shows how to write them."""

import pytest

from lib.apps.cli.training import parse_budget
from lib.config import ConfigError


def test_budgets_are_read():
    assert [parse_budget(text) for text in ("11h30m", "20m", "90s", "1h1m1s")] == [41400, 1200, 90, 3661]
    for text in ("soon", "", "12", "0m"):
        with pytest.raises(ConfigError, match="11h30m"):
            parse_budget(text)
