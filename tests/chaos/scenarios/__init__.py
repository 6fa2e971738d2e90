"""All scenarios, in the order in which they run."""

from tests.chaos.scenario import Scenario
from tests.chaos.scenarios.etcd import ETCD
from tests.chaos.scenarios.kills import KILLS
from tests.chaos.scenarios.nested import NESTED
from tests.chaos.scenarios.partitions import PARTITIONS
from tests.chaos.scenarios.pauses import PAUSES
from tests.chaos.scenarios.postgres import POSTGRES
from tests.chaos.scenarios.reliable import RELIABLE
from tests.chaos.scenarios.restarts import RESTARTS
from tests.chaos.scenarios.steps import STEPWISE

SCENARIOS: list[Scenario] = [
    *RESTARTS,
    *KILLS,
    *PAUSES,
    *PARTITIONS,
    *ETCD,
    *POSTGRES,
    *NESTED,
    *RELIABLE,
    *STEPWISE,
]
