"""The contracts of the store and authority ports, run on every implementation."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from goverse.ports.clock import ManualClock
from goverse.testing.authority_contract import AuthorityContract, AuthorityStore
from goverse.testing.forgotten_receipt_contract import ForgetfulStore, ForgottenReceiptContract
from goverse.testing.outbox_contract import FencedOutboxContract, FencedOutboxStore, OutboxContract
from goverse.testing.outbox_harness import OutboxStore
from goverse.testing.store_contract import StoreContract
from goverse.testing.store_harness import CompleteStore
from goverse_node.stores.memory import MemoryStore
from goverse_node.stores.postgres.options import PostgresOptions
from goverse_node.stores.postgres.store import PostgresStore
from goverse_node.stores.wal.store import WalStore
from tests.simulation.store import Database, SimulatedStore
from tests.simulation.watchers import Watchers
from tests.simulation.world import World


@pytest.mark.requirement("DUR-5")
class TestMemoryStore(StoreContract):
    def make_store(self) -> CompleteStore:
        return MemoryStore(clock=self.clock)


@pytest.mark.requirement("CLU-2", "DUR-5")
class TestAuthorityOfTheMemoryStore(AuthorityContract):
    def make_authority(self) -> AuthorityStore:
        return MemoryStore()


@pytest.mark.requirement("DUR-5")
class TestOutboxOfTheMemoryStore(OutboxContract):
    def make_store(self) -> OutboxStore:
        return MemoryStore(clock=self.clock, call_retention=self.call_retention)


@pytest.mark.requirement("DUR-3")
class TestForgottenReceiptsOfTheMemoryStore(ForgottenReceiptContract):
    def make_store(self) -> ForgetfulStore:
        return MemoryStore(clock=self.clock)


@pytest.mark.requirement("CLU-2", "DUR-5")
class TestFencedOutboxOfTheMemoryStore(FencedOutboxContract):
    def make_authority(self) -> FencedOutboxStore:
        return MemoryStore()


@pytest.mark.requirement("CLU-12", "DUR-5")
class TestStoreOfTheSimulation(StoreContract):
    @pytest.fixture(autouse=True)
    def simulated(self) -> Iterator[None]:
        self.world = World(7)
        yield
        self.world.loop.close()

    def make_store(self) -> CompleteStore:
        database = Database(self.world, Watchers(), MemoryStore(clock=self.clock))
        return SimulatedStore(database, "node-0", "node-0.1")


@pytest.mark.requirement("CLU-12", "DUR-5")
class TestOutboxOfTheSimulation(OutboxContract):
    @pytest.fixture(autouse=True)
    def simulated(self) -> Iterator[None]:
        self.world = World(7)
        yield
        self.world.loop.close()

    def make_store(self) -> OutboxStore:
        memory = MemoryStore(clock=self.clock, call_retention=self.call_retention)
        return SimulatedStore(Database(self.world, Watchers(), memory), "node-0", "node-0.1")


@pytest.mark.requirement("CLU-2", "CLU-12")
class TestAuthorityOfTheSimulation(AuthorityContract):
    @pytest.fixture(autouse=True)
    def simulated(self) -> Iterator[None]:
        self.world = World(7)
        yield
        self.world.loop.close()

    def make_authority(self) -> AuthorityStore:
        return SimulatedStore(Database(self.world, Watchers(), MemoryStore()), "node-0", "node-0.1")


@pytest.mark.requirement("DUR-5")
class TestMemoryStoreWithAShortFeed(StoreContract):
    def make_store(self) -> CompleteStore:
        return MemoryStore(clock=self.clock, changes_kept=25)


@pytest.mark.requirement("DUR-1", "DUR-2", "DUR-5")
class TestWalStore(StoreContract):
    @pytest.fixture(autouse=True)
    def place(self, tmp_path: Path) -> None:
        self.directory = tmp_path / "data"

    def make_store(self) -> CompleteStore:
        return WalStore(self.directory, clock=self.clock)

    async def restart(self, store: CompleteStore) -> CompleteStore:
        await store.close()
        store = self.make_store()
        await store.open()
        return store


@pytest.mark.requirement("DUR-1", "DUR-2", "DUR-5", "WAL-1")
class TestWalStoreThatRotatesAllTheTime(TestWalStore):
    def make_store(self) -> CompleteStore:
        return WalStore(self.directory, clock=self.clock, segment_bytes=4300)


@pytest.mark.requirement("DUR-5", "WAL-2")
class TestWalStoreThatStartsFromASnapshot(TestWalStore):
    async def restart(self, store: CompleteStore) -> CompleteStore:
        assert isinstance(store, WalStore)
        await store.snapshot()
        await store.trim()
        return await super().restart(store)


class _OutboxOnDisk(OutboxContract):
    @pytest.fixture(autouse=True)
    def place(self, tmp_path: Path) -> None:
        self.directory = tmp_path / "data"

    def make_store(self) -> OutboxStore:
        return WalStore(self.directory, clock=self.clock, call_retention=self.call_retention)

    async def restart(self, store: CompleteStore) -> OutboxStore:
        await store.close()
        again = self.make_store()
        await again.open()
        return again


@pytest.mark.requirement("DUR-1", "DUR-2", "DUR-5")
class TestOutboxOfTheWalStore(_OutboxOnDisk):
    pass


@pytest.mark.requirement("DUR-5", "WAL-1")
class TestOutboxOfTheWalStoreThatRotatesAllTheTime(_OutboxOnDisk):
    def make_store(self) -> OutboxStore:
        return WalStore(self.directory, clock=self.clock, segment_bytes=4300, call_retention=self.call_retention)


@pytest.mark.requirement("DUR-5", "WAL-2")
class TestOutboxOfTheWalStoreThatStartsFromASnapshot(_OutboxOnDisk):
    async def restart(self, store: CompleteStore) -> OutboxStore:
        assert isinstance(store, WalStore)
        await store.snapshot()
        await store.trim()
        return await super().restart(store)


@pytest.mark.requirement("DUR-3", "WAL-2")
class TestForgottenReceiptsOfTheWalStore(ForgottenReceiptContract):
    @pytest.fixture(autouse=True)
    def place(self, tmp_path: Path) -> None:
        self.directory = tmp_path / "data"

    def make_store(self) -> ForgetfulStore:
        return WalStore(self.directory, clock=self.clock)

    async def restart(self, store: CompleteStore) -> ForgetfulStore:
        assert isinstance(store, WalStore)
        await store.snapshot()
        await store.trim()
        await store.close()
        again = self.make_store()
        await again.open()
        return again


class ServerClock(ManualClock):
    """A manual clock whose time the database uses as well."""

    def __init__(self, dsn: str) -> None:
        super().__init__()
        self._dsn = dsn
        self._set()

    def advance(self, seconds: float) -> None:
        super().advance(seconds)
        self._set()

    def _set(self) -> None:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(asyncio.run, self._replace_clock()).result(20)

    async def _replace_clock(self) -> None:
        connection = await asyncpg.connect(self._dsn)
        await connection.execute(
            "CREATE OR REPLACE FUNCTION goverse.now_ms() RETURNS bigint LANGUAGE sql VOLATILE AS "
            f"'SELECT {self.wall_ms()}::bigint'"
        )
        await connection.close()


@pytest.mark.requirement("DUR-1", "DUR-2", "DUR-5")
class TestPostgresStore(StoreContract):
    @pytest.fixture(autouse=True)
    def place(self, database: str) -> None:
        self.options = PostgresOptions(dsn=database)

    def make_clock(self) -> ManualClock:
        return ServerClock(self.options.dsn)

    def make_store(self) -> CompleteStore:
        return PostgresStore(self.options, clock=self.clock)

    async def restart(self, store: CompleteStore) -> CompleteStore:
        await store.close()
        store = self.make_store()
        await store.open()
        return store


@pytest.mark.requirement("DUR-3", "DUR-5")
class TestOutboxOfPostgres(OutboxContract):
    @pytest.fixture(autouse=True)
    def place(self, database: str) -> None:
        self.options = PostgresOptions(dsn=database)

    def make_clock(self) -> ManualClock:
        return ServerClock(self.options.dsn)

    def make_store(self) -> OutboxStore:
        return PostgresStore(replace(self.options, call_retention=self.call_retention), clock=self.clock)

    async def restart(self, store: CompleteStore) -> OutboxStore:
        await store.close()
        again = self.make_store()
        await again.open()
        return again


@pytest.mark.requirement("DUR-3")
class TestForgottenReceiptsOfPostgres(ForgottenReceiptContract):
    @pytest.fixture(autouse=True)
    def place(self, database: str) -> None:
        self.options = PostgresOptions(dsn=database)

    def make_store(self) -> ForgetfulStore:
        return PostgresStore(self.options)

    async def restart(self, store: CompleteStore) -> ForgetfulStore:
        await store.close()
        again = self.make_store()
        await again.open()
        return again


@pytest.mark.requirement("CLU-2", "DUR-3")
class TestFencedOutboxOfPostgres(FencedOutboxContract):
    @pytest.fixture(autouse=True)
    def place(self, database: str) -> None:
        self.options = PostgresOptions(dsn=database)

    def make_authority(self) -> FencedOutboxStore:
        return PostgresStore(self.options, owner="a")


@pytest.mark.requirement("CLU-2")
class TestAuthorityOfPostgres(AuthorityContract):
    @pytest.fixture(autouse=True)
    def place(self, database: str) -> None:
        self.options = PostgresOptions(dsn=database)

    def make_authority(self) -> AuthorityStore:
        return PostgresStore(self.options, owner="a")
