"""Pydantic aliases are written and read in arguments, results, states, references and the OpenAPI document."""

from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from goverse import Object, call
from goverse.errors import InvalidArguments
from goverse.objects.spec import TypeSpec
from goverse.testing import ObjectHost


class Lenient(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)
    first_name: str


class Strict(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)
    first_name: str


class ByNameOnly(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=False)
    first_name: str


class Aliased(Object):
    lenient: Lenient | None = None
    strict: Strict | None = None
    by_name: ByNameOnly | None = None
    from_: str = Field("", alias="from")
    to_: Annotated[str, Field(alias="to")] = ""

    @call
    async def keep(self, lenient: Lenient, strict: Strict, by_name: ByNameOnly) -> dict[str, Strict]:
        self.lenient, self.strict, self.by_name = lenient, strict, by_name
        self.from_ = self.to_ = "x"
        return {"back": strict}

    @call(readonly=True)
    async def look(self) -> Lenient | None:
        return self.lenient

    @call(readonly=True)
    async def found(self) -> dict[str, list[Lenient | None]]:
        return {"found": [self.lenient]}

    @call
    async def post(self, from_: Annotated[str, Field(alias="from")], to: str = Field("you", alias="toWhom")) -> str:
        return f"{from_}-{to}"


class Relay(Object):
    @call
    async def pass_on(self, name: str) -> Strict:
        back = await self.ref(Aliased, "1").keep(
            Lenient(first_name=name), Strict.model_validate({"firstName": name}), ByNameOnly(first_name=name)
        )
        again = await self.ref(Aliased, "1").look()
        assert again == Lenient(first_name=name)
        assert await self.ref(Aliased, "1").post(from_="me", to="her") == "me-her"
        return back["back"]


@pytest.mark.requirement("OBJ-1", "OBJ-8", "OBJ-13")
async def test_states_and_references_use_aliases() -> None:
    async with ObjectHost(Aliased, Relay) as host:
        assert await host.ref(Relay, "1").pass_on("ann") == Strict.model_validate({"firstName": "ann"})
        await host.passivate()
        assert await host.ref(Aliased, "1").look() == Lenient(first_name="ann")
        assert await host.ref(Aliased, "1").found() == {"found": [Lenient(first_name="ann")]}
        ann = {"firstName": "ann"}
        state = {"lenient": ann, "strict": ann, "by_name": ann, "from": "x", "to": "x"}
        assert await host.state(Aliased, "1") == state


@pytest.mark.requirement("OBJ-1")
async def test_a_state_that_was_written_by_field_names_is_read() -> None:
    async with ObjectHost(Aliased) as host:
        await host.store_state(Aliased, "1", {"strict": {"first_name": "bob"}, "from_": "y"}, state_version=1)
        await host.ref(Aliased, "1").post(from_="a")
        state = await host.state(Aliased, "1")
        assert state is not None
        assert state["strict"] == {"firstName": "bob"}
        assert state["from"] == "y"


@pytest.mark.requirement("OBJ-1")
def test_arguments_results_and_schemas_use_aliases() -> None:
    spec = TypeSpec.of(Aliased)
    post, look = spec.methods["post"], spec.methods["look"]

    assert post.arguments.decode(b'{"from":"me"}') == {"from_": "me", "to": "you"}
    assert post.arguments.decode(b'{"from":"me","toWhom":"b"}') == {"from_": "me", "to": "b"}
    with pytest.raises(InvalidArguments, match="it takes: from, toWhom"):
        post.arguments.decode(b'{"from_":"me"}')
    assert post.arguments.json_schema("{model}")["properties"].keys() == {"from", "toWhom"}
    assert post.arguments.json_schema("{model}")["properties"]["toWhom"]["default"] == "you"
    assert look.result.encode(Lenient(first_name="a")) == b'{"firstName":"a"}'
    assert spec.state.json_schema("{model}")["required"] == ["lenient", "strict", "by_name", "from", "to"]


class Adder(Object):
    total: int = 0

    @call
    async def add(self, by: int = Field(default=5, ge=1, description="how much")) -> int:
        self.total += by
        return self.total

    @call
    async def collect(
        self,
        items: list[int] = [],  # noqa: B006
        tags: list[str] = Field(default_factory=list),  # noqa: B008
    ) -> list[Any]:
        items.append(1)
        tags.append("a")
        return [items, tags]


@pytest.mark.requirement("OBJ-1")
async def test_field_as_the_default_of_a_parameter_gives_default_and_bounds() -> None:
    schema = TypeSpec.of(Adder).methods["add"].arguments.json_schema("{model}")["properties"]["by"]
    assert (schema["default"], schema["minimum"], schema["description"]) == (5, 1, "how much")
    async with ObjectHost(Adder) as host:
        assert await host.ref(Adder, "1").add() == 5
        with pytest.raises(InvalidArguments):
            await host.ref(Adder, "1").add(by=-7)


@pytest.mark.requirement("OBJ-1")
async def test_no_call_sees_the_default_that_another_call_changed() -> None:
    async with ObjectHost(Adder) as host:
        for _ in range(2):
            assert await host.ref(Adder, "1").collect() == [[1], ["a"]]
