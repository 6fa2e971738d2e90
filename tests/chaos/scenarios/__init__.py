"""All scenarios, in the order in which they run."""

from tests.chaos.scenario import Scenario
from tests.chaos.scenarios.kills import KILLS
from tests.chaos.scenarios.restarts import RESTARTS

SCENARIOS: list[Scenario] = [*RESTARTS, *KILLS]
