"""``goverse shards`` and ``goverse nodes``: what a cluster looks like, and what its operator wants of it.

Both read and write etcd alone, so they work whatever the nodes are doing; the leader carries out what is written there.
``nodes list`` also asks each node whether it answers.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, TypeVar

import typer

from goverse.cluster.member import MemberState
from goverse.cluster.view import ClusterView
from goverse.errors import Unavailable
from goverse.settings import Settings
from goverse_cli.failure import ExitCode, Failure
from goverse_cli.invocation import Invocation, invocation_of
from goverse_cli.single_options import Commands
from goverse_cli.terminal import show

T = TypeVar("T")

shards = Commands(no_args_is_help=True, help="Which node serves which shard, and which one should.")
nodes = Commands(no_args_is_help=True, help="The nodes of a cluster.")

Shard = Annotated[int, typer.Argument(metavar="SHARD", min=0, help="Number of the shard.")]
Node = Annotated[str, typer.Argument(metavar="NODE", help="Name of the node.")]


@shards.command("list", short_help="Show who serves which shards.")
def list_shards(context: typer.Context) -> None:
    """Show for each node how many shards it serves and should serve, and which ones are on their way.

    \b
    Examples:
      goverse shards list
      goverse -o json shards list
    """
    invocation = invocation_of(context)
    view = _run(invocation, _view)
    total = view.shard_count or 0
    claimed = {shard: node for node, claims in view.claims.items() for shard in claims.epochs}
    wanted = view.targets.owners() if view.targets is not None else [None] * total
    moving = [shard for shard in range(total) if claimed.get(shard) != wanted[shard]]
    serving, intended = Counter(claimed.values()), Counter(node for node in wanted if node is not None)
    document: dict[str, Any] = {
        "shards": total,
        "claimed": len(claimed),
        "nodes": {
            node: {"serves": serving[node], "should_serve": intended[node]}
            for node in sorted({*view.nodes, *serving, *intended})
        },
        "moving": {str(shard): {"from": claimed.get(shard), "to": wanted[shard]} for shard in moving},
        "pins": {str(shard): node for shard, node in sorted(view.pins.items())},
    }
    lines = [f"claimed {len(claimed)} of {total} shards"]
    lines += [f"{node}: serves {serving[node]}, should serve {intended[node]}" for node in document["nodes"]]
    lines += [
        f"shard {shard}: from {claimed.get(shard) or 'nobody'} to {wanted[shard] or 'nobody'}" for shard in moving
    ]
    lines += [f"shard {shard} is pinned to {node}" for shard, node in sorted(view.pins.items())]
    show(invocation, document, "\n".join(lines))


@shards.command(short_help="Have a node serve a shard, whatever the plan says.")
def pin(context: typer.Context, shard: Shard, node: Node) -> None:
    """Have a node serve a shard as long as it lives.

    \b
    Examples:
      goverse shards pin 17 node-1
    """
    invocation = invocation_of(context)
    view = _run(invocation, _view)
    _check_place(view, shard, node)
    _run(invocation, lambda coordinator, layout: _put(coordinator, layout.pin(shard), node.encode()))
    remark = f", which is draining: the shard comes when that ends (goverse nodes drain {node} --undo)"
    text = f"shard {shard} is pinned to {node}" + (remark if _is_leaving(view, node) else "")
    show(invocation, {"shard": shard, "node": node, "draining": _is_leaving(view, node)}, text)


@shards.command(short_help="Let the plan decide about a shard again.")
def unpin(context: typer.Context, shard: Shard) -> None:
    """Let the plan decide about a shard again.

    \b
    Examples:
      goverse shards unpin 17
    """
    invocation = invocation_of(context)
    pinned_to = _run(invocation, _view).pins.get(shard)
    _run(invocation, lambda coordinator, layout: _delete(coordinator, layout.pin(shard)))
    text = f"shard {shard} was not pinned" if pinned_to is None else f"shard {shard} is no longer pinned to {pinned_to}"
    show(invocation, {"shard": shard, "node": None, "was_pinned_to": pinned_to}, text)


@shards.command(short_help="Move a shard to a node now; the plan decides later on.")
def move(
    context: typer.Context,
    shard: Shard,
    node: Node,
    *,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for it.", min=2, max=3_600)] = 60.0,
) -> None:
    """Move a shard to a node once. No call fails meanwhile. Unlike a pin, the wish ends when it came true.

    The shard stays there as long as the plan has no reason to move it again (see `goverse shards pin` for a lasting
    wish). If this command is stopped, the wish ends by itself.

    \b
    Examples:
      goverse shards move 17 node-2
      goverse shards move 17 node-2 --timeout 10
    """
    from goverse_cli.cluster.moving import move as carry  # noqa: PLC0415

    invocation = invocation_of(context)
    _check_place(_run(invocation, _view), shard, node)
    moved = _run(invocation, lambda coordinator, layout: carry(coordinator, layout, shard, node, timeout_s=timeout))
    document = {"shard": shard, "from": moved.source, "node": node, "seconds": round(moved.seconds, 3)}
    before = f"from {moved.source}" if moved.source != node else "already"
    show(invocation, document, f"shard {shard} is served by {node}, {before}, after {moved.seconds:.1f} s")


def _check_place(view: ClusterView, shard: int, node: str) -> None:
    """Pass if there are such a shard and such a node.

    Raises:
        Failure: there is none; says which there are.
    """
    if view.shard_count is not None and shard >= view.shard_count:
        raise Failure(f"there is no shard {shard}; there are {view.shard_count}, from 0 on")
    _check_node(view, node)


def _check_node(view: ClusterView, node: str) -> None:
    """Pass if there is such a node.

    Raises:
        Failure: there is none; says which there are.
    """
    if node not in view.nodes:
        raise Failure(f"there is no node {node!r} now", hint=f"there are {', '.join(sorted(view.nodes)) or 'none'}")


def _is_leaving(view: ClusterView, node: str) -> bool:
    member = view.nodes.get(node)
    return node in view.drains or member is None or member.state is not MemberState.SERVING


@nodes.command("list", short_help="Show the nodes that are there.")
def list_nodes(context: typer.Context) -> None:
    """Show each node with its address, its state and its shards, and who leads.

    A node that does not answer within 3 s is marked. It keeps its shards until its lease in etcd ends.

    \b
    Examples:
      goverse nodes list
    """
    invocation = invocation_of(context)
    view, silent = _run(invocation, lambda coordinator, layout: _view_and_silence(invocation, coordinator, layout))
    leader = view.leader.value.decode(errors="replace").partition(" ")[0] if view.leader is not None else ""
    document = {
        node: {
            "address": member.address,
            "state": "draining" if node in view.drains else member.state.value,
            "release": member.release,
            "weight": member.weight,
            "shards": len(view.claims[node].epochs) if node in view.claims else 0,
            "leader": node == leader,
            "admin": member.admin,
            "load": _load(view, node),
            "answers": node not in silent,
        }
        for node, member in sorted(view.nodes.items())
    }
    lines = [
        f"{node}  {each['address']}  {each['state']}  {each['shards']} shards{'  leader' if each['leader'] else ''}"
        + (f"  DOES NOT ANSWER: {silent[node]}" if node in silent else "")
        for node, each in document.items()
    ]
    show(invocation, document, "\n".join(lines) or "no node is registered")


@nodes.command(short_help="Move all shards away from a node.")
def drain(
    context: typer.Context, node: Node, *, undo: Annotated[bool, typer.Option(help="Let it have shards again.")] = False
) -> None:
    """Move all shards away from a node; it stays, and gets none until `--undo`.

    \b
    Examples:
      goverse nodes drain node-2
      goverse nodes drain node-2 --undo
    """
    invocation = invocation_of(context)
    view = _run(invocation, _view)
    if undo:
        if node not in view.drains:
            _check_node(view, node)
        _run(invocation, lambda coordinator, layout: _delete(coordinator, layout.drain(node)))
        show(invocation, {"node": node, "draining": False}, f"{node} may have shards again")
        return
    _check_node(view, node)
    _run(invocation, lambda coordinator, layout: _put(coordinator, layout.drain(node), b""))
    takers = [other for other in view.nodes if other != node and not _is_leaving(view, other)]
    text = f"the shards of {node} move away; see `goverse nodes list`"
    if not takers:
        text = f"{node} keeps its shards until there is a node that takes them: no other one is serving"
    show(invocation, {"node": node, "draining": True, "takers": takers}, text)


def _load(view: ClusterView, node: str) -> dict[str, float] | None:
    load = view.loads.get(node)
    if load is None:
        return None
    return {
        "activations": load.activations,
        "calls_per_s": load.calls_per_s,
        "processor": load.processor,
        "memory": load.memory,
    }


def _run(invocation: Invocation, work: Callable[[Any, Any], Coroutine[Any, Any, T]]) -> T:
    from goverse_cli.cluster.parts import coordinator_of, layout_of  # noqa: PLC0415 - other commands start faster

    values: Settings = invocation.settings(
        {"etcd.operation_timeout_s": ("the time that people wait", _PATIENCE_S)}
    ).values

    async def run() -> T:
        coordinator = coordinator_of(values)
        try:
            return await work(coordinator, layout_of(values))
        except Unavailable as error:
            raise Failure(
                error.detail,
                hint=(
                    f"are the members up that etcd.endpoints names ({', '.join(values.etcd.endpoints)})? "
                    "GOVERSE_ETCD__ENDPOINTS names others"
                ),
                exit_code=ExitCode.UNAVAILABLE,
                document={"code": error.code, "detail": error.detail},
            ) from error
        finally:
            await coordinator.close()

    return asyncio.run(run())


async def _view(coordinator: Any, layout: Any) -> ClusterView:
    from goverse.cluster.view import Entry  # noqa: PLC0415

    snapshot = await coordinator.read(layout.prefix)
    view = ClusterView(layout)
    view.reload((Entry(*entry) for entry in snapshot.entries), snapshot.revision)
    return view


async def _view_and_silence(
    invocation: Invocation, coordinator: Any, layout: Any
) -> tuple[ClusterView, dict[str, str]]:
    from goverse_cli.cluster.reach import silent_nodes  # noqa: PLC0415 - other commands start faster

    view = await _view(coordinator, layout)
    return view, await silent_nodes(invocation.settings({}).values, view.nodes.values())


async def _put(coordinator: Any, key: str, value: bytes) -> None:
    from goverse.ports.coordinator import Put  # noqa: PLC0415

    await coordinator.write([], [Put(key, value)])


async def _delete(coordinator: Any, key: str) -> None:
    from goverse.ports.coordinator import Delete  # noqa: PLC0415

    await coordinator.write([], [Delete(key)])


_PATIENCE_S = 5.0
