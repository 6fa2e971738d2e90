"""``goverse shards`` and ``goverse nodes``: inspect a cluster and control the placement of its shards.

These commands read and write etcd only, so they work even while nodes are unreachable. They record the operator's
wishes (pins and drains), and the leader carries them out. ``nodes list`` also connects to each node to check that it
responds.
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

shards = Commands(no_args_is_help=True, help="Show and control the placement of shards on nodes.")
nodes = Commands(no_args_is_help=True, help="Show and drain the nodes of a cluster.")

Shard = Annotated[int, typer.Argument(metavar="SHARD", min=0, help="Number of the shard.")]
Node = Annotated[str, typer.Argument(metavar="NODE", help="Name of the node (node.id).")]


@shards.command("list", short_help="Show how shards are distributed over nodes.")
def list_shards(context: typer.Context) -> None:
    """Show how many shards each node serves, how many it should serve, and which shards are moving.

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
        f"shard {shard}: from {claimed.get(shard) or 'no node'} to {wanted[shard] or 'no node'}" for shard in moving
    ]
    lines += [f"shard {shard} is pinned to {node}" for shard, node in sorted(view.pins.items())]
    show(invocation, document, "\n".join(lines))


@shards.command(short_help="Pin a shard to a node.")
def pin(context: typer.Context, shard: Shard, node: Node) -> None:
    """Pin a shard to a node: the node serves it for as long as it is alive, whatever the plan says.

    Remove the pin with `goverse shards unpin`. To move a shard once without pinning it, use `goverse shards move`.

    \b
    Examples:
      goverse shards pin 17 node-1
    """
    invocation = invocation_of(context)
    view = _run(invocation, _view)
    _check_place(view, shard, node)
    _run(invocation, lambda coordinator, layout: _put(coordinator, layout.pin(shard), node.encode()))
    remark = f", which is draining: the shard moves there when the drain ends (goverse nodes drain {node} --undo)"
    text = f"shard {shard} is pinned to {node}" + (remark if _is_leaving(view, node) else "")
    show(invocation, {"shard": shard, "node": node, "draining": _is_leaving(view, node)}, text)


@shards.command(short_help="Remove the pin of a shard.")
def unpin(context: typer.Context, shard: Shard) -> None:
    """Remove the pin of a shard, so that the leader places it again.

    \b
    Examples:
      goverse shards unpin 17
    """
    invocation = invocation_of(context)
    pinned_to = _run(invocation, _view).pins.get(shard)
    _run(invocation, lambda coordinator, layout: _delete(coordinator, layout.pin(shard)))
    text = f"shard {shard} was not pinned" if pinned_to is None else f"shard {shard} is no longer pinned to {pinned_to}"
    show(invocation, {"shard": shard, "node": None, "was_pinned_to": pinned_to}, text)


@shards.command(short_help="Move a shard to a node once.")
def move(
    context: typer.Context,
    shard: Shard,
    node: Node,
    *,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the move.", min=2, max=3_600)] = 60.0,
) -> None:
    """Move a shard to a node once. No call fails because of the move.

    The shard stays on that node until the leader has a reason to move it again; use `goverse shards pin` to keep it
    there. If this command is interrupted, its request expires within 15 seconds.

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
    text = f"moved shard {shard} from {moved.source or 'no node'} to {node} in {moved.seconds:.1f} s"
    show(invocation, document, text if moved.source != node else f"shard {shard} is already served by {node}")


def _check_place(view: ClusterView, shard: int, node: str) -> None:
    """Check that the shard and the node exist.

    Raises:
        Failure: one of them does not exist; the message says which shards or nodes exist.
    """
    if view.shard_count is not None and shard >= view.shard_count:
        raise Failure(f"shard {shard} does not exist; this cluster has the shards 0 to {view.shard_count - 1}")
    _check_node(view, node)


def _check_node(view: ClusterView, node: str) -> None:
    """Check that the node is registered.

    Raises:
        Failure: it is not; the hint lists the registered nodes.
    """
    if node not in view.nodes:
        found = ", ".join(sorted(view.nodes)) or "none"
        raise Failure(f"node {node!r} is not registered in the cluster", hint=f"registered nodes: {found}")


def _is_leaving(view: ClusterView, node: str) -> bool:
    member = view.nodes.get(node)
    return node in view.drains or member is None or member.state is not MemberState.SERVING


@nodes.command("list", short_help="Show the registered nodes.")
def list_nodes(context: typer.Context) -> None:
    """Show each registered node with its address, state and number of shards, and which node is the leader.

    A node that does not respond within 3 seconds is marked DOES NOT ANSWER. It keeps its shards until its lease in etcd
    expires.

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


@nodes.command(short_help="Move all shards off a node.")
def drain(
    context: typer.Context,
    node: Node,
    *,
    undo: Annotated[bool, typer.Option(help="End the drain: the node may get shards again.")] = False,
) -> None:
    """Move all shards off a node. The node keeps running and gets no shards until you run the command with `--undo`.

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
        show(invocation, {"node": node, "draining": False}, f"the drain of {node} has ended; it may get shards again")
        return
    _check_node(view, node)
    _run(invocation, lambda coordinator, layout: _put(coordinator, layout.drain(node), b""))
    takers = [other for other in view.nodes if other != node and not _is_leaving(view, other)]
    text = f"draining {node}: its shards are moving to other nodes; check progress with `goverse nodes list`"
    if not takers:
        text = f"draining {node}: it keeps its shards for now, because no other node is serving"
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
    from goverse_cli.cluster.parts import coordinator_of, layout_of  # noqa: PLC0415 - keeps other commands fast

    values: Settings = invocation.settings(
        {"etcd.operation_timeout_s": ("the timeout of interactive commands", _TIMEOUT_S)}
    ).values

    async def run() -> T:
        coordinator = coordinator_of(values)
        try:
            return await work(coordinator, layout_of(values))
        except Unavailable as error:
            raise Failure(
                error.detail,
                hint=(
                    f"check that etcd is running at etcd.endpoints ({', '.join(values.etcd.endpoints)}); "
                    "set GOVERSE_ETCD__ENDPOINTS to use other members"
                ),
                exit_code=ExitCode.UNAVAILABLE,
                document={"code": error.code, "detail": error.detail},
            ) from error
        finally:
            await coordinator.close()

    return asyncio.run(run())


async def _view(coordinator: Any, layout: Any) -> ClusterView:
    snapshot = await coordinator.read(layout.prefix)
    view = ClusterView(layout)
    view.reload(snapshot.entries, snapshot.revision)
    return view


async def _view_and_silence(
    invocation: Invocation, coordinator: Any, layout: Any
) -> tuple[ClusterView, dict[str, str]]:
    from goverse_cli.cluster.reach import silent_nodes  # noqa: PLC0415 - keeps other commands fast

    view = await _view(coordinator, layout)
    return view, await silent_nodes(invocation.settings({}).values, view.nodes.values())


async def _put(coordinator: Any, key: str, value: bytes) -> None:
    from goverse.ports.coordinator import Put  # noqa: PLC0415

    await coordinator.write([], [Put(key, value)])


async def _delete(coordinator: Any, key: str) -> None:
    from goverse.ports.coordinator import Delete  # noqa: PLC0415

    await coordinator.write([], [Delete(key)])


_TIMEOUT_S = 5.0
